"""Text tracking: what is new, what is known, what is lost, on scripted detections and a scripted
tracker.
"""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import gsam
from gsam.errors import UsageError
from gsam.pipeline import Pipeline
from gsam.results.formats import tracks_jsonl
from gsam.results.tracks import TrackedFrame
from gsam.tracking.objects import FrameOutput, TrackedObject
from gsam.tracking.state import TrackingState
from gsam.tracking.text_tracking import TrackingConfig, mask_iou, sample_mask
from tests.tracking import small
from tests.tracking.scripted import LATE, LEFT, RIGHT, Box, Script, ids, rectangle


def test_ids_stay_and_late_things_get_new_ones() -> None:
    both = [("dog", 0.9, LEFT), ("cat", 0.8, RIGHT)]
    script = Script({0: both, 3: [*both, ("dog", 0.7, LATE)]}, {})
    told = list(script.follower(5, every=3).run())
    assert script.looked == [0, 3]
    assert ids(told) == [[1, 2], [1, 2], [1, 2], [1, 2, 3], [1, 2, 3]]
    assert told[4].labels == ["dog", "cat", "dog"]
    np.testing.assert_allclose(told[4].scores, [0.9, 0.8, 0.7])
    assert mask_iou(told[4].mask(2), rectangle(LATE)) > 0.8


def test_a_new_object_may_be_begun_by_its_mask() -> None:
    script = Script({0: [("dog", 0.9, LEFT)]}, {})
    follower = script.follower(3, prompt="mask")
    given = []

    def add_mask(state: Any, track: TrackedObject, frame: int, mask: np.ndarray) -> FrameOutput:
        given.append(mask)
        script.born[track.id] = LEFT
        track.prompted[frame] = script.output(state, LEFT)
        return track.prompted[frame]

    follower.engine.add_mask = add_mask  # type: ignore[method-assign]
    assert ids(list(follower.run())) == [[1]] * 3
    (mask,) = given
    np.testing.assert_array_equal(mask, sample_mask(rectangle(LEFT), 64))


def test_a_thing_that_moved_is_known_by_its_mask() -> None:
    moved = (10, 0, 30, 20)
    script = Script(
        {0: [("dog", 0.9, LEFT)], 2: [("dog", 0.8, moved)]}, {LEFT: {1: (5, 0, 25, 20), 2: moved, 3: moved}}
    )
    told = list(script.follower(4, every=2).run())
    assert ids(told) == [[1]] * 4


def test_what_is_lost_is_closed_and_its_id_never_used_again() -> None:
    gone = dict.fromkeys(range(1, 9))
    script = Script({0: [("dog", 0.9, LEFT)], 6: [("dog", 0.9, LEFT)]}, {LEFT: gone})
    follower = script.follower(7, every=3, patience=3)
    told = list(follower.run())
    assert ids(told)[:6] == [[1], [], [], [], [], []]
    assert ids(told)[6] == [2]
    assert list(follower.objects) == [2]


def test_an_object_that_comes_back_in_time_keeps_its_id() -> None:
    script = Script({0: [("dog", 0.9, LEFT)], 4: [("dog", 0.9, LEFT)]}, {LEFT: {1: None, 2: None}})
    assert ids(list(script.follower(5, every=4, patience=3).run())) == [[1], [], [], [1], [1]]


def test_parts_of_what_is_known_are_nothing_new() -> None:
    part = (2, 2, 12, 12)
    script = Script({0: [("dog", 0.9, LEFT)], 1: [("dog", 0.9, part), ("ear", 0.9, part)]}, {})
    follower = script.follower(2, every=1)
    assert ids(list(follower.run()))[0] == [1]
    assert [item.label for item in follower.objects.values()] == ["dog", "ear"]  # another name may lie inside


def test_two_objects_that_become_one_leave_the_older() -> None:
    script = Script({0: [("dog", 0.9, LEFT), ("cat", 0.8, RIGHT)], 2: []}, {RIGHT: {1: LEFT, 2: LEFT, 3: LEFT}})
    told = list(script.follower(4, every=2).run())
    assert ids(told)[2:] == [[1], [1]]


def test_labels_are_voted_for() -> None:
    script = Script({0: [("cat", 0.4, LEFT)], 1: [("dog", 0.9, LEFT)]}, {})
    told = list(script.follower(2, every=1).run())
    assert [frame.labels for frame in told] == [["cat"], ["dog"]]
    assert ids(told) == [[1], [1]]


def test_a_pixel_belongs_to_one_object() -> None:
    script = Script({0: [("dog", 0.9, LEFT), ("cat", 0.8, (10, 0, 30, 20))]}, {})
    (told,) = script.follower(1).run()
    assert (told.masks.sum(0) <= 1).all()
    assert len(told) == 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"every": 0}, "every is 0, it must be a whole number"),
        ({"match": 0.0}, "match is 0.0, it must be a number above 0"),
        ({"patience": 1.5}, "patience"),
        ({"prompt": "word"}, "prompt is one of box, mask"),
        ({"renew": 1.5}, "renew is 1.5, it must be a number above 0"),
        ({"doubt": -1}, "doubt is -1, it must be a whole number"),
        ({"redraw": 2}, "redraw is 2, it must be True or False, 0 or 1 in a recipe"),
    ],
)
def test_bad_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        TrackingConfig(**settings)


class Whole:
    """Finds one thing, in the middle of every picture."""

    params: dict[str, Any] = {}  # noqa: RUF012
    view = gsam.View(64)

    def detect(self, params: Any, images: Any, text: Any, valid: Any, n: int) -> Any:
        size = images.size.astype(jnp.float32)
        half = jnp.concatenate([size[:, ::-1] * 0.25, size[:, ::-1] * 0.75], -1)[:, None]
        sure = jnp.full((len(size), 1), 0.9)
        scores = sure[..., None] * valid[:, None].astype(jnp.float32)
        return gsam.Boxes(half, sure > 0), gsam.Labels(scores.argmax(-1), sure, scores)


@functools.cache
def pipeline() -> Pipeline:
    """Always the same box, and a tiny random tracker."""
    return Pipeline(Whole(), name="whole", tracker=small.made, tracking={"every": 2})


@pytest.mark.long
def test_a_pipeline_follows() -> None:
    pipe = pipeline()
    told = list(pipe.track(small.frames(5), "thing"))
    assert [frame.index for frame in told] == list(range(5))
    assert told[0].labels == ["thing"] * len(told[0])
    with pytest.raises(UsageError, match="has no tracker"):
        list(Pipeline(Whole()).track(small.frames(2), "thing"))
    with pytest.raises(UsageError, match="every"):
        list(pipe.track(small.frames(2), "thing", every=0))


def lines(frames: Iterable[TrackedFrame]) -> list[str]:
    """Frames as they are written."""
    return [json.dumps(tracks_jsonl.frame_dict(frame)) for frame in frames]


FRAMES = 7


@pytest.mark.parametrize("cut", range(FRAMES - 1))
def test_going_on_after_any_frame_gives_what_a_whole_run_gives(cut: int, tmp_path: Path) -> None:
    pipe = pipeline()
    run = pipe.track(small.frames(FRAMES), "thing")
    assert run.state() is None
    assert run.last is None
    whole, state = [], None
    for frame in run:
        whole.append(frame)
        if frame.index == cut:
            state = run.state()
    assert state is not None
    assert any(len(frame) for frame in whole)
    state.write(tmp_path / "state.npz")
    again = TrackingState.read(tmp_path / "state.npz")
    assert again.frame == cut
    from_state = list(pipeline().track(small.frames(FRAMES), "thing", start=again))
    assert lines(from_state) == lines(whole[cut + 1 :])
    from_frame = list(pipeline().track(iter(small.frames(FRAMES)), "thing", start=whole[cut], next_id=99))
    assert [frame.index for frame in from_frame] == list(range(cut + 1, FRAMES))


HIDDEN = {
    0: [("cat", 0.4, LEFT), ("cow", 0.8, RIGHT)],
    2: [("dog", 0.9, LEFT), ("cow", 0.8, RIGHT)],
    4: [("cow", 0.8, RIGHT)],
    6: [("ant", 0.7, LATE), ("cow", 0.8, RIGHT)],
    8: [("cow", 0.8, RIGHT)],
}
"""A cat that becomes a dog by votes, is hidden from 3 to 6 and comes back; a cow that ends."""
GONE: dict[Box, dict[int, Box | None]] = {LEFT: dict.fromkeys((3, 4, 5, 6)), RIGHT: dict.fromkeys((7, 8, 9))}


@pytest.mark.parametrize(("cut", "doubt"), [*((cut, 0) for cut in range(9)), (5, 1), (7, 1), (8, 1)])
@pytest.mark.long
def test_what_is_hidden_at_the_cut_comes_back(cut: int, doubt: int, tmp_path: Path) -> None:
    def script() -> Script:
        return Script(HIDDEN, GONE)

    settings = {"every": 2, "patience": 5, "doubt": doubt}
    whole = list(script().follower(11, **settings).run())
    assert ids(whole)[3:8] == [[2], [2], [2], [2, 3], [1, 3]]
    assert ids(whole)[8] == ([4] if doubt else [1, 3, 4])
    first, second = script(), script()
    follower = first.follower(11, **settings)
    part = list(itertools.islice(follower.run(), cut + 1))
    state = follower.snapshot()
    assert state is not None
    second.born |= first.born  # where the scripted tracker saw them begin
    state.write(tmp_path / "state.npz")
    rest = list(second.follower(11, **settings).run(TrackingState.read(tmp_path / "state.npz")))
    assert lines([*part, *rest]) == lines(whole)
    again = list(script().follower(11, **settings).run(whole[cut]))
    assert lines(again) == lines(whole[cut + 1 :])


def test_a_frame_of_another_run_is_no_start() -> None:
    script = Script({0: [("dog", 0.9, LEFT)]}, {})
    other = TrackedFrame.of(1, rectangle(LATE)[None], [1], ["dog"])
    with pytest.raises(UsageError, match=r"frame 1 shows objects \[1\]") as caught:
        list(script.follower(3).run(other))
    assert caught.value.code == "tracking_start_differs"


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 cut off", b"{}", b"\x93NUMPY"])
def test_a_damaged_state_is_no_state(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "state.npz").write_bytes(data)
    with pytest.raises(UsageError) as caught:
        TrackingState.read(tmp_path / "state.npz")
    assert caught.value.code == "tracking_state_unreadable"
    TrackingState(3, {"objects": []}, {}).write(tmp_path / "state.npz")
    whole = (tmp_path / "state.npz").read_bytes()
    (tmp_path / "state.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UsageError):
        TrackingState.read(tmp_path / "state.npz")


def test_there_is_no_state_within_a_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script({0: [("dog", 0.9, LEFT)], 2: []}, {})
    follower = script.follower(3, every=2)
    run = follower.run()
    next(run), next(run)
    monkeypatch.setattr(follower, "_detect", lambda *_: [][0])
    with pytest.raises(IndexError):
        next(run)
    assert follower.snapshot() is None
