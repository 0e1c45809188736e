"""Following objects through videos over HTTP: the same as in Python, and its end in every way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("av")

from fastapi.testclient import TestClient

from gsam.inputs.video import open_frames
from gsam.inputs.video.part import Part
from gsam.predictors.video import VideoPredictor
from gsam.results.masks import rle
from gsam.serve.app import create_app
from gsam.serve.config import ServeConfig
from gsam.serve.engine import Engine
from tests.serve import clips

CLIP = Path(__file__).parents[2] / "notebooks" / "clip.mp4"
QUERY = "cow. cactus. blue circle"
FRAMES = 5
CLICKS = [
    {"frame": 2, "object": 7, "label": "cow", "points": [[60, 80], [5, 5]], "labels": [1, 0]},
    {"frame": 3, "object": "other", "box": [90, 60, 140, 130]},
]
Clients = Callable[..., TestClient]


@pytest.fixture(scope="module")
def client(engine: Engine) -> Iterator[TestClient]:
    """One server for all tests of models, so that its programs are compiled once."""
    with TestClient(create_app(ServeConfig(), engine=engine), base_url="http://127.0.0.1:8000") as found:
        yield found


@pytest.fixture(scope="module")
def path(client: TestClient) -> str:
    """The shipped clip, uploaded."""
    return clips.uploaded(client, CLIP.read_bytes())


@pytest.fixture(scope="module")
def reference(engine: Engine) -> VideoPredictor:
    """As a user makes it, with the tracker of nano, whose masks its segmenter draws again."""
    return VideoPredictor(engine.pipe.tracker, redraw=engine.pipe.segmenter, progress=False)


def mask_of(entry: Any) -> np.ndarray:
    return rle.decode(entry["mask"])


@pytest.mark.long
def test_words_are_followed_as_in_python(client: TestClient, path: str, engine: Engine) -> None:
    found = clips.followed(client, path, query=QUERY, every=2, last=FRAMES - 1)
    assert [kind for kind, _ in found] == ["start", *["frame"] * FRAMES, "end"]
    assert found[0][1]["frames"] == found[-1][1]["frames"] == FRAMES
    assert found[0][1]["job"]
    for (_, told), frame in zip(found[1:-1], engine.pipe.track(CLIP, QUERY, every=2), strict=False):
        assert (told["index"], told["time"]) == (frame.index, round(frame.time or 0, 6))
        assert [o["id"] for o in told["objects"]] == frame.ids.tolist()
        assert [o["label"] for o in told["objects"]] == frame.labels
        assert [o["score"] for o in told["objects"]] == pytest.approx(frame.scores.tolist(), abs=1e-5)
        assert [o["box"] for o in told["objects"]] == frame.xyxy.tolist()
        assert [o["area"] for o in told["objects"]] == frame.areas.tolist()
        np.testing.assert_array_equal([mask_of(o) for o in told["objects"]], frame.masks)
    assert found[1][1]["objects"]


@pytest.mark.long
@pytest.mark.parametrize("direction", ["forward", "backward", "both"])
def test_clicks_are_followed_as_in_python(
    client: TestClient, path: str, reference: VideoPredictor, direction: str
) -> None:
    found = clips.followed(client, path, prompts=CLICKS, direction=direction, last=FRAMES - 1)
    frames = {told["index"]: told["objects"] for kind, told in found if kind == "frame"}
    assert list(frames) == {"forward": [2, 3, 4], "backward": [3, 2, 1, 0], "both": [2, 3, 4, 1, 0]}[direction]
    assert found[0][1]["frames"] == found[-1][1]["frames"] == len(frames)

    part = Part(open_frames(CLIP), 0, FRAMES)  # SAM 2 scales ages by the number of frames
    state = reference.init_state(part, memory="near")
    for prompt in CLICKS:
        arguments = (prompt.get("points"), prompt.get("labels"))
        reference.add_new_points_or_box(state, prompt["frame"], prompt["object"], *arguments, box=prompt.get("box"))  # type: ignore[arg-type]
    passes = {
        "forward": [(2, 2, False)],
        "backward": [(3, None, True)],
        "both": [(2, 2, False), (2, None, True)],
    }[direction]
    compared = 0
    for begin, most, reverse in passes:
        for number, ids, logits in reference.propagate_in_video(state, begin, most, reverse):
            wanted = {key: mask[0] > 0 for key, mask in zip(ids, logits, strict=True) if (mask > 0).any()}
            if number == begin and reverse and len(passes) == 2:
                continue
            assert {o["id"] for o in frames[number]} == wanted.keys()
            for told in frames[number]:
                np.testing.assert_array_equal(mask_of(told), wanted[told["id"]])
                assert told["label"] == {7: "cow", "other": ""}[told["id"]]
                assert 0 <= told["score"] <= 1
                compared += 1
    assert compared >= len(frames)


@pytest.mark.long
def test_a_part_of_a_video(client: TestClient, path: str) -> None:
    found = clips.followed(client, path, query=QUERY, first=3, last=4, masks="none")
    told = [fields for kind, fields in found if kind == "frame"]
    assert [(f["index"], f["time"]) for f in told] == [(3, 0.25), (4, round(4 / 12, 6))]
    assert told[0]["objects"]
    assert all(o.keys() == {"id", "label", "score", "box", "area"} for f in told for o in f["objects"])


@pytest.mark.long
def test_a_damaged_video_gives_what_can_be_read(client: TestClient) -> None:
    whole = clips.encoded(
        [np.random.default_rng(i).integers(0, 255, (48, 64, 3), np.uint8).repeat(2, 0).repeat(2, 1) for i in range(9)]
    )
    cut = clips.uploaded(client, whole[: len(whole) * 6 // 10])
    found = clips.followed(client, cut, prompts=[{"box": [10, 10, 40, 40]}], masks="none")
    kinds = [kind for kind, _ in found]
    assert kinds[0] == "start"
    assert kinds[-1] == "error"
    assert 3 <= kinds.count("frame") < 9
    assert found[-1][1]["code"] == "video_truncated"
    assert kinds.count("frame") == client.get(cut).json()["frames"]
    assert "/" not in found[-1][1]["message"]
    again = clips.followed(client, cut, prompts=[{"box": [10, 10, 40, 40]}], masks="none", last=1)
    assert [kind for kind, _ in again] == ["start", "frame", "frame", "end"]


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({}, "nothing_asked"),
        ({"query": None}, "nothing_asked"),
        ({"query": "dog", "prompts": []}, "nothing_asked"),
        ({"query": "  "}, "query_empty"),
        ({"query": "x" * 3000}, "query_too_long"),
        ({"query": 7}, None),
        ({"query": "dog", "evry": 2}, "field_unknown"),
        ({"query": "dog", "direction": "both"}, "field_unknown"),
        ({"query": "dog", "every": 0}, None),
        ({"query": "dog", "every": "2"}, None),
        ({"query": "dog", "most": 10**9}, None),
        ({"query": "dog", "threshold": 7}, None),
        ({"query": "dog", "prompt": ["box"]}, None),
        ({"query": "dog", "masks": "gif"}, "masks_kind"),
        ({"query": "dog", "first": 36}, "frame_invalid"),
        ({"query": "dog", "last": -1}, "frame_invalid"),
        ({"query": "dog", "first": 5, "last": 4}, "frame_invalid"),
        ({"query": "dog", "first": True}, "frame_invalid"),
        ({"prompts": []}, "prompts_invalid"),
        ({"prompts": "dog"}, "prompts_invalid"),
        ({"prompts": ["dog"]}, "prompts_invalid"),
        ({"prompts": [{}]}, "nothing_asked"),
        ({"prompts": [{"box": [1, 2, 3, 4], "obj": 1}]}, "field_unknown"),
        ({"prompts": [{"box": [1, 2, 3]}]}, "box_invalid"),
        ({"prompts": [{"box": [1, 2, 3, 4], "frame": 36}]}, "frame_invalid"),
        ({"prompts": [{"box": [1, 2, 3, 4], "frame": 0}], "first": 1}, "frame_invalid"),
        ({"prompts": [{"box": [1, 2, 3, 4], "object": 1.5}]}, "object_invalid"),
        ({"prompts": [{"box": [1, 2, 3, 4], "object": ""}]}, "object_invalid"),
        ({"prompts": [{"box": [1, 2, 3, 4], "object": [1]}]}, "object_invalid"),
        ({"prompts": [{"box": [1, 2, 3, 4], "label": 4}]}, "label_invalid"),
        ({"prompts": [{"points": [[1, 2]], "labels": [2]}]}, "labels_invalid"),
        ({"prompts": [{"points": [[999, 2]], "labels": [1]}]}, "point_outside"),
        ({"prompts": [{"box": [1, 2, 3, 4]}] * 2}, "prompt_twice"),
        ({"prompts": [{"box": [1, 2, 3, 4], "object": i} for i in range(65)]}, "too_many_objects"),
        ({"prompts": [{"box": [1, 2, 3, 4], "frame": i % 36} for i in range(257)]}, "too_many_prompts"),
        ({"prompts": [{"box": [1, 2, 3, 4]}], "direction": "up"}, "direction_unknown"),
    ],
)
def test_what_cannot_be_asked(client: TestClient, path: str, fields: dict[str, Any], name: str | None) -> None:
    answer = client.post(f"{path}/track", json=fields)
    assert answer.status_code == 422, answer.text
    assert answer.json()["error"]["message"]
    assert name is None or answer.json()["error"]["code"] == name
    assert not client.app.state.jobs  # type: ignore[attr-defined]


def test_other_bodies(client: TestClient, path: str) -> None:
    for kind, body, status in (
        ("text/plain", b"{}", 415),
        ("application/json", b"{", 400),
        ("application/json", b"[" * 100_000, 400),
        ("application/json", b"[]", 400),
    ):
        assert client.post(f"{path}/track", content=body, headers={"Content-Type": kind}).status_code == status


def test_large_frames_are_followed_for_fewer_objects(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    path = clips.uploaded(client, clips.plain(2))
    monkeypatch.setattr("gsam.serve.following.MOST_BYTES", 48 * 64 * 5 * 2)
    answer = client.post(f"{path}/track", json={"prompts": [{"box": [1, 2, 30, 40], "object": i} for i in range(3)]})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "too_many_objects")


def test_before_the_models_are_ready() -> None:
    app = create_app(ServeConfig(), engine=Engine(ServeConfig()))
    with TestClient(app, base_url="http://127.0.0.1:8000") as client:
        path = clips.uploaded(client, clips.plain(2))  # which needs none
        assert client.get(f"{path}/frames/1").status_code == 200
        answer = client.post(f"{path}/track", json={"query": "dog"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "not_ready")
        assert "retry-after" in answer.headers
