"""Detections that correct what is tracked, and what they keep missing: on scripted detections and a
scripted tracker.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gsam.tracking.objects import FrameOutput, TrackedObject
from gsam.tracking.text_tracking import TextTracker, mask_iou
from tests.tracking.scripted import LEFT, RIGHT, Box, Script, ids, rectangle


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
