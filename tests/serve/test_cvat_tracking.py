"""CVAT's tracker: rectangles followed, and the states that its server holds names of."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest

pytest.importorskip("fastapi")

from fastapi.testclient import TestClient

from gsam.inputs.image import Picture
from gsam.inputs.video import open_frames
from gsam.predictors.video import VideoPredictor
from gsam.serve.config import MB, ServeConfig
from gsam.serve.cvat import functions, shapes
from gsam.serve.cvat.following import Followed, Follower
from gsam.serve.cvat.states import States
from gsam.serve.engine import Engine
from gsam.serve.problems import ServeError

from .conftest import CLIP
from .cvat_calls import BAD_NUMBERS, b64, call, png, refused


@pytest.fixture(scope="module")
def frames() -> list[np.ndarray]:
    return [frame.pixels for frame, _ in zip(open_frames(str(CLIP)).walk(), range(6), strict=False)]


BOX = [88.0, 38.0, 116.0, 72.0]


@pytest.mark.long
def test_rectangles_are_followed_as_the_library_does(
    cvat: TestClient, engine: Engine, frames: list[np.ndarray]
) -> None:
    predictor = VideoPredictor(engine.pipe.tracker, redraw=engine.pipe.segmenter, progress=False)
    state = predictor.init_state(iter(frames))  # as many as there will be
    predictor.add_new_points_or_box(state, 0, "it", box=BOX)
    expected = [shapes.box_of(masks[0, 0] > 0) for _, _, masks in predictor.propagate_in_video(state)]

    begun = call(cvat, "gsam-track", {"image": png(frames[0]), "shapes": [BOX, BOX], "states": []}).json()
    assert begun["shapes"] == [BOX, BOX]
    assert len(set(begun["states"])) == 2
    found = begun
    for frame, box in zip(frames[1:], expected[1:], strict=True):
        body = {"image": png(frame), "shapes": found["shapes"], "states": found["states"]}
        found = call(cvat, "gsam-track", body).json()
        assert found["shapes"] == [box, box]
    # an answer that was lost is asked for again, with the same states
    again = call(cvat, "gsam-track", body).json()
    assert again["shapes"] == found["shapes"]
    assert again["states"] != found["states"]
    # and a new object joins where CVAT has no state for it
    body = {"image": png(frames[-1]), "shapes": [*found["shapes"], BOX], "states": [*found["states"], None]}
    assert call(cvat, "gsam-track", body).json()["shapes"][2] == BOX


@pytest.mark.long
def test_the_tracker_is_compiled_when_cvat_lists_it(cvat: TestClient, frames: list[np.ndarray]) -> None:
    cvat.get("/api/functions")
    cvat.get("/api/functions")
    gateway = cvat.app.state.cvat  # type: ignore[attr-defined]
    gateway._pool.submit(lambda: None).result(300)
    before = gateway._follower._compiled.compilations
    assert before > 0
    begun = call(cvat, "gsam-track", {"image": png(frames[0]), "shapes": [BOX]}).json()
    body = {"image": png(frames[1]), "shapes": [BOX], "states": begun["states"]}
    assert call(cvat, "gsam-track", body).status_code == 200
    assert gateway._follower._compiled.compilations == before


@pytest.mark.long
def test_a_thing_that_is_gone_stays_where_it_was(cvat: TestClient, frames: list[np.ndarray]) -> None:
    begun = call(cvat, "gsam-track", {"image": png(frames[0]), "shapes": [BOX]}).json()
    empty = np.full_like(frames[0], 255)
    gone = call(cvat, "gsam-track", {"image": png(empty), "shapes": [BOX], "states": begun["states"]})
    assert gone.status_code == 200
    (shape,) = gone.json()["shapes"]
    assert len(shape) == 4  # CVAT's page reads numbers of it, whatever became of the thing
    assert shape[0] < shape[2]


@pytest.mark.long
def test_states_mean_nothing_elsewhere(
    cvat: TestClient, client_of: Callable[..., TestClient], frames: list[np.ndarray]
) -> None:
    begun = call(cvat, "gsam-track", {"image": png(frames[0]), "shapes": [BOX]}).json()
    body = {"image": png(frames[1]), "shapes": [BOX], "states": begun["states"]}
    other = client_of(cvat=True)
    assert refused(call(other, "gsam-track", body)) == (404, "state_unknown")
    smaller = {**body, "image": png(frames[1][:100])}
    assert refused(call(cvat, "gsam-track", smaller)) == (422, "shapes_invalid")
    assert call(cvat, "gsam-track", body).status_code == 200


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"shapes": "all"}, 422, "shapes_invalid"),
        ({"shapes": [[1, 2, 3]]}, 422, "shapes_invalid"),
        *[({"shapes": [[1, 2, bad, 4]]}, 422, "shapes_invalid") for bad in BAD_NUMBERS],
        ({"shapes": [[1, 1, 9, 9]] * 300}, 422, "shapes_invalid"),
        ({"shapes": [[1, 1, 9, 9]], "states": ["a", "b"]}, 422, "shapes_invalid"),
        ({"shapes": [None]}, 422, "shapes_invalid"),
        ({"shapes": [[100, 100, 120, 120]]}, 422, "shapes_invalid"),
        ({"shapes": [[1, 1, 9, 9]], "states": ["gASVCgAAAAAAAABLAS4="]}, 404, "state_unknown"),
        ({"shapes": [[1, 1, 9, 9]], "states": [{"py/object": "os.system"}]}, 404, "state_unknown"),
    ],
)
def test_shapes_and_states_that_are_none(
    cvat: TestClient, small: bytes, fields: dict[str, object], status: int, code: str
) -> None:
    assert refused(call(cvat, "gsam-track", {"image": b64(small), **fields})) == (status, code)


def test_no_shapes_are_no_shapes(cvat: TestClient, small: bytes) -> None:
    assert call(cvat, "gsam-track", {"image": b64(small), "shapes": []}).json() == {"shapes": [], "states": []}


def followed(engine: Engine) -> Followed:
    follower = Follower.of(engine.pipe.tracker)
    return follower.begin(follower.look(Picture(np.full((32, 48, 3), 90, np.uint8))), [5.0, 5.0, 20.0, 20.0])


@pytest.mark.long
def test_states_have_limits_of_memory_number_and_age(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    one = followed(engine)
    now = 0.0
    few = States(ServeConfig(max_session_bytes=4 * (3 * one.nbytes + 1), session_age=60), clock=lambda: now)
    names = [few.keep(one, BOX) for _ in range(5)]
    assert (len(few), few.bytes) == (3, 3 * one.nbytes)
    for gone in names[:2]:
        with pytest.raises(ServeError):
            few.find(gone)
    now = 50.0
    assert few.find(names[2]).box == BOX
    now = 100.0
    few.find(names[2])  # it was used meanwhile, the others were not
    assert len(few) == 1

    monkeypatch.setattr("gsam.serve.cvat.states.MOST", 2)
    many = States(ServeConfig(max_session_bytes=1024 * MB))
    for _ in range(4):
        many.keep(one, BOX)
    assert len(many) == 2


@pytest.mark.long
def test_of_a_chain_of_states_two_are_kept(engine: Engine) -> None:
    one = followed(engine)
    states = States(ServeConfig())
    first = states.keep(one, BOX)
    second = states.keep(one, BOX, first)
    third = states.keep(one, BOX, second)
    assert len(states) == 2
    states.find(second)
    states.find(third)
    with pytest.raises(ServeError):
        states.find(first)
    with pytest.raises(ServeError):
        states.find(["a list"])


def test_masks_become_digits() -> None:
    for mask in (np.eye(3, 5, dtype=bool), np.zeros((1, 1), bool), np.ones((4, 1), bool)):
        assert json.loads(functions.digits(mask)) == mask.astype(int).tolist()
