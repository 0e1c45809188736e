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
from gsam.inputs.video import open_frames
from gsam.pipeline import Pipeline
from gsam.results.formats import tracks_jsonl
from gsam.results.result import CroppedMasks, Result
from gsam.results.tracks import TrackedFrame
from gsam.tracking.engine import Engine
from gsam.tracking.objects import FrameOutput, TrackedObject
from gsam.tracking.state import TrackingState
from gsam.tracking.text_tracking import TextTracker, TrackingConfig, mask_iou, sample_mask
from tests.tracking import small

Box = tuple[int, int, int, int]
SIDE = 16  # cells of low resolution over 40 x 56 pixels


def rectangle(box: Box) -> np.ndarray:
    mask = np.zeros(small.SIZE, bool)
    x0, y0, x1, y1 = box
    mask[y0:y1, x0:x1] = True
    return mask


def found(pixels: np.ndarray, things: list[tuple[str, float, Box]]) -> Result:
    """A pipeline's result."""
    labels = [label for label, *_ in things]
    known = list(dict.fromkeys(labels))
    boxes = np.array([box for *_, box in things], np.float32).reshape(-1, 4)
    parts = [np.ones((y1 - y0, x1 - x0), bool) for *_, (x0, y0, x1, y1) in things]
    scores = np.array([score for _, score, _ in things], np.float32)
    masks = CroppedMasks(boxes[:, 1::-1].astype(np.int64), parts, pixels.shape[:2])
    ids = np.array([known.index(label) for label in labels], np.int64)
    return Result(pixels, known, boxes, labels, ids, scores, scores, masks)


class Script:
    """Things by frame: what the detector finds, and where the tracker then sees the object that was
    begun there.
    """

    def __init__(
        self, things: dict[int, list[tuple[str, float, Box]]], paths: dict[Box, dict[int, Box | None]]
    ) -> None:
        self.things, self.paths, self.looked = things, paths, list[int]()
        self.born = dict[int, Box]()

    def follower(self, count: int, **settings: Any) -> TextTracker:
        made = Engine.of(small.made())
        follower = TextTracker(made, open_frames(small.frames(count)), self.find, TrackingConfig(**settings))
        self.session = follower.state
        made.add_points = self.add_points  # type: ignore[method-assign]
        made.propagate_frame = self.propagate_frame  # type: ignore[method-assign]
        made.commit_prompts = lambda state: None  # type: ignore[method-assign]
        return follower

    def find(self, pixels: np.ndarray) -> Result:
        assert self.session.last is not None
        self.looked.append(self.session.last.index)
        return found(pixels, self.things.get(self.session.last.index, []))

    def add_points(self, state: Any, track: TrackedObject, frame: int, points: Any) -> FrameOutput:
        scale = np.array([56, 40]) / 64
        x0, y0, x1, y1 = np.round((points.xy * scale).reshape(-1)).astype(int).tolist()
        self.born[track.id] = (x0, y0, x1, y1)
        output = self.output(state, (x0, y0, x1, y1))
        track.prompted[frame] = output
        return output

    def propagate_frame(self, state: Any, frame: int, reverse: bool = False) -> None:
        for track in state.objects.values():
            birth = self.born[track.id]
            track.propagated[frame] = self.output(state, self.paths.get(birth, {}).get(frame, birth))

    def output(self, state: Any, box: Box | None) -> FrameOutput:
        mask = np.zeros((SIDE, SIDE), bool) if box is None else sample_mask(rectangle(box), SIDE)
        logits = np.where(mask, 5.0, -5.0).astype(np.float32)
        return FrameOutput(state.arrays, -3.0 if box is None else 3.0, 0.9, np.zeros(16, np.float32), logits)


LEFT, RIGHT, LATE = (0, 0, 20, 20), (30, 0, 56, 20), (0, 20, 28, 40)


def ids(frames: list[TrackedFrame]) -> list[list[int]]:
    return [frame.ids.tolist() for frame in frames]


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


def renewing(script: Script, count: int, **settings: Any) -> TextTracker:
    """A follower whose engine begins objects with the middle of a mask prompt's box."""
    follower = script.follower(count, **settings)

    def add_mask(state: Any, track: TrackedObject, frame: int, mask: np.ndarray) -> FrameOutput:
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        scale = np.array([56, 40]) / 64
        low, high = np.array([columns[0], rows[0]]) * scale, np.array([columns[-1] + 1, rows[-1] + 1]) * scale
        x0, y0, x1, y1 = np.round(np.concatenate([low, high])).astype(int).tolist()
        script.born[track.id] = (x0, y0, x1, y1)
        output = script.output(state, script.born[track.id])
        track.masks[frame] = mask
        track.pending[True][frame] = output
        return output

    def commit(state: Any) -> None:
        for track in state.objects.values():
            track.prompted |= track.pending[True]
            track.pending[True].clear()

    follower.engine.add_mask = add_mask  # type: ignore[method-assign]
    follower.engine.commit_prompts = commit  # type: ignore[method-assign]
    return follower


@pytest.mark.parametrize("score", [0.6, 0.4])
def test_a_sure_detection_corrects_a_mask_that_drifts(score: float) -> None:
    drifted, true = (8, 0, 26, 20), (0, 0, 20, 20)
    things = {0: [("dog", 0.9, true)], 2: [("dog", score, true)], 4: [("dog", score, true)]}
    script = Script(things, {true: {1: drifted, 2: drifted, 3: drifted, 4: drifted}})
    follower = renewing(script, 5, every=2, match=0.3, prompt="mask", renew=0.5)
    told = list(follower.run())
    assert ids(told) == [[1]] * 5
    corrected = [mask_iou(frame.mask(0), rectangle(true)) > 0.8 for frame in told]
    assert corrected == [True, False, score > 0.5, False, score > 0.5]
    track = follower.objects[1].tracked
    assert list(track.prompted) == ([4] if score > 0.5 else [0])  # one prompt, however long the video is
    assert list(track.masks) == list(track.prompted)


def test_a_detection_in_which_the_tracker_finds_nothing_corrects_nothing() -> None:
    things = {0: [("dog", 0.9, LEFT)], 2: [("dog", 0.9, LEFT)]}
    script = Script(things, {})
    follower = renewing(script, 4, every=2, prompt="mask", renew=0.5)
    add_mask = follower.engine.add_mask

    def nothing(state: Any, track: TrackedObject, frame: int, mask: np.ndarray) -> FrameOutput:
        found = add_mask(state, track, frame, mask)
        if frame:
            found = track.pending[True][frame] = script.output(state, None)
        return found

    follower.engine.add_mask = nothing  # type: ignore[method-assign]
    assert ids(list(follower.run())) == [[1]] * 4
    track = follower.objects[1].tracked
    assert (list(track.prompted), list(track.masks)) == ([0], [0])


def test_what_is_hidden_keeps_no_detection_from_being_new() -> None:
    part = (2, 2, 14, 14)
    things = {0: [("dog", 0.9, LEFT)], 3: [("dog", 0.9, part)]}
    drifted = dict.fromkeys(range(1, 5), (0, 0, 56, 40))
    shown = list(Script(things, {LEFT: drifted}).follower(4, every=1, doubt=2).run())
    assert ids(shown) == [[1], [1], [], [2]]
    plain = list(Script(things, {LEFT: drifted}).follower(4, every=1).run())
    assert ids(plain) == [[1]] * 4  # without doubt it lies in what is known


def test_what_is_hidden_is_shown_when_a_detected_one_becomes_it() -> None:
    things = {0: [("dog", 0.9, LEFT), ("cow", 0.8, RIGHT)], 3: [("cow", 0.8, LEFT)]}
    things |= {frame: [("cow", 0.8, RIGHT)] for frame in (1, 2)}
    paths: dict[Box, dict[int, Box | None]] = {LEFT: {3: (0, 0, 18, 20)}, RIGHT: {3: LEFT}}
    told = list(Script(things, paths).follower(4, every=1, doubt=2).run())
    assert ids(told) == [[1, 2], [1, 2], [2], [1]]


def test_what_detections_keep_missing_is_hidden_until_one_finds_it() -> None:
    seen, cow = [("dog", 0.9, LEFT), ("cow", 0.8, RIGHT)], [("cow", 0.8, RIGHT)]
    script = Script({0: seen, 1: cow, 2: cow, 3: cow, 4: seen, 5: seen}, {})
    follower = script.follower(6, every=1, doubt=2)
    assert ids(list(follower.run())) == [[1, 2], [1, 2], [2], [2], [1, 2], [1, 2]]


def test_what_is_hidden_for_long_is_closed() -> None:
    cow = [("cow", 0.8, RIGHT)]
    script = Script({0: [("dog", 0.9, LEFT), *cow], **dict.fromkeys(range(1, 9), cow)}, {})
    follower = script.follower(9, every=1, doubt=2, patience=3)
    assert ids(list(follower.run()))[1:] == [[1, 2], *[[2]] * 7]
    assert list(follower.objects) == [2]
    kept = Script({0: [("dog", 0.9, LEFT), *cow], **dict.fromkeys(range(1, 9), cow)}, {}).follower(9, every=1)
    assert ids(list(kept.run())) == [[1, 2]] * 9


def test_what_is_out_of_sight_is_not_missed() -> None:
    away = {1: None, 2: None, 3: None}
    script = Script({0: [("dog", 0.9, LEFT)], 5: []}, {LEFT: away})
    told = list(script.follower(6, every=1, doubt=2).run())
    assert ids(told) == [[1], [], [], [], [1], []]  # seen on two key frames without a detection


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
