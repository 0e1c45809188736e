"""`gsam.VideoPredictor`: the original's words, what it gets wrong put right, bad input, programs
and memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import gsam
from gsam.errors import UsageError, VideoError
from gsam.models.sam2 import memory as memory_attention
from gsam.models.sam2.tracker import ObjectMasks
from gsam.tracking.compiled import CompiledTracker
from gsam.tracking.spill_cache import SpillCache
from tests.tracking import small


@pytest.fixture(scope="module")
def predictor() -> gsam.VideoPredictor:
    return gsam.VideoPredictor(small.made(), fill_hole_area=0)


def follow(predictor: gsam.VideoPredictor, state: Any, **given: Any) -> dict[int, np.ndarray]:
    return {frame: masks for frame, _, masks in predictor.propagate_in_video(state, **given)}


@pytest.mark.long
def test_words_and_shapes(predictor: gsam.VideoPredictor) -> None:
    state = predictor.init_state(small.frames(5))
    assert (state["num_frames"], state["video_height"], state["video_width"], state["obj_ids"]) == (5, 40, 56, [])
    frame, ids, masks = predictor.add_new_points_or_box(state, 0, "left", [[10, 15]], [1])
    assert (frame, ids, masks.shape, masks.dtype) == (0, ["left"], (1, 1, 40, 56), np.float32)
    frame, ids, masks = predictor.add_new_points_or_box(state, 2, 7, box=[5, 10, 24, 24])
    assert ids == ["left", 7]
    assert (masks[0] == -1024).all()  # nothing is known of it on this frame
    assert (masks[1] != -1024).any()
    seen = list(predictor.propagate_in_video(state))
    assert [frame for frame, *_ in seen] == [0, 1, 2, 3, 4]
    assert all(ids == ["left", 7] and masks.shape == (2, 1, 40, 56) for _, ids, masks in seen)
    assert [frame for frame, *_ in predictor.propagate_in_video(state, 1, 2)] == [1, 2, 3]
    assert [frame for frame, *_ in predictor.propagate_in_video(state, 3, 1, reverse=True)] == [3, 2]
    assert list(predictor.propagate_in_video(state, 0, reverse=True)) == []


LATE = {
    "two objects, two frames": ({1: 0, 2: 2}, {}),
    "one object, prompted late": ({1: 2}, {"start_frame_idx": 0}),
    "one object, backwards past its prompt": ({1: 1}, {"start_frame_idx": 3, "reverse": True}),
}


@pytest.fixture(scope="module")
def slot_by_slot() -> Iterator[gsam.VideoPredictor]:
    """Reads memories as the official sizes do, and its last tile of queries is not full."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory_attention, "AT_ONCE", 0)
        patch.setattr(memory_attention, "TILE", 96)
        yield gsam.VideoPredictor(small.made(), fill_hole_area=0)


@pytest.mark.parametrize("case", LATE)
def test_prompts_on_different_frames(
    case: str, predictor: gsam.VideoPredictor, slot_by_slot: gsam.VideoPredictor
) -> None:
    """On some frame nobody has a pointer from the past: the same masks, however memories are
    read.
    """
    prompts, given = LATE[case]
    answers = []
    for tracker in (predictor, slot_by_slot):
        state = tracker.init_state(small.frames(5))
        for obj, frame in prompts.items():
            tracker.add_new_points_or_box(state, frame, obj, [[10 + 9 * obj, 15]], [1])
        answers.append(follow(tracker, state, **given))
    assert answers[0].keys() == answers[1].keys()
    assert len(answers[0]) >= 4
    for frame, masks in answers[0].items():
        np.testing.assert_allclose(answers[1][frame], masks, atol=2e-3)


@pytest.mark.long
def test_objects_together_are_what_they_are_alone(predictor: gsam.VideoPredictor) -> None:
    clicks = {1: [[10, 15]], 2: [[40, 30]], 3: [[25, 5], [50, 35]]}
    state = predictor.init_state(small.frames(5))
    for obj, points in clicks.items():
        predictor.add_new_points_or_box(state, 0, obj, points, [1] * len(points))
    together = follow(predictor, state)
    for i, (obj, points) in enumerate(clicks.items()):
        alone = predictor.init_state(small.frames(5))
        predictor.add_new_points_or_box(alone, 0, obj, points, [1] * len(points))
        for frame, masks in follow(predictor, alone).items():
            np.testing.assert_allclose(together[frame][i], masks[0], atol=2e-4)


def test_normalised_coordinates_are_shares_of_the_picture(predictor: gsam.VideoPredictor) -> None:
    state = predictor.init_state(small.frames(1))
    pixels = predictor.add_new_points_or_box(state, 0, 1, [[28, 10]], [1])[2]
    shares = predictor.add_new_points_or_box(
        predictor.init_state(small.frames(1)), 0, 1, [[0.5, 0.25]], [1], normalize_coords=False
    )[2]
    np.testing.assert_allclose(pixels, shares, atol=1e-5)


def test_points_may_be_added_to_points(predictor: gsam.VideoPredictor) -> None:
    state = predictor.init_state(small.frames(1))
    predictor.add_new_points_or_box(state, 0, 1, [[28, 10]], [1])
    predictor.add_new_points_or_box(state, 0, 1, [[5, 35]], [0], clear_old_points=False)
    assert state.tracked_object(1).points[0].labels.tolist() == [1, 0]
    predictor.add_new_points_or_box(state, 0, 1, [[5, 35]], [0])
    assert state.tracked_object(1).points[0].labels.tolist() == [0]
    predictor.add_new_points(state, 0, 1, [[5, 35]], [1], box=[2, 3, 20, 30])
    assert state.tracked_object(1).points[0].labels.tolist() == [2, 3, 1]


@pytest.mark.long
def test_a_correction_on_a_frame_gone_over_counts(predictor: gsam.VideoPredictor) -> None:
    """The original loses it: the frame is computed anew from memory, and the first frame keeps its
    old mask.
    """
    for frame in (0, 3):
        answers = []
        for keeps in (True, False):
            ours = gsam.VideoPredictor(small.made(), fill_hole_area=0, add_all_frames_to_correct_as_cond=keeps)
            state = ours.init_state(small.frames(5))
            ours.add_new_points_or_box(state, 0, 1, [[10, 15]], [1])
            before = follow(ours, state)
            corrected = ours.add_new_points_or_box(state, frame, 1, [[45, 35]], [1])[2]
            assert np.abs(corrected - before[frame]).max() > 1e-3
            after = follow(ours, state)
            answers.append((before[frame], corrected, after[frame]))
        before, corrected, after = answers[0]
        np.testing.assert_allclose(after, corrected, atol=1e-5)
        before, corrected, after = answers[1]
        np.testing.assert_allclose(after, before, atol=1e-5)


def test_a_drawn_mask_is_what_comes_back(predictor: gsam.VideoPredictor) -> None:
    state = predictor.init_state(small.frames(3))
    drawn = np.zeros(small.SIZE, bool)
    drawn[8:30, 10:40] = True
    _, _, masks = predictor.add_new_mask(state, 1, 5, drawn)
    assert ((masks[0, 0] > 0) == drawn).mean() > 0.97
    assert list(follow(predictor, state)) == [1, 2]
    predictor.add_new_points_or_box(state, 1, 5, [[20, 20]], [1])
    assert not state.tracked_object(5).masks
    _, _, masks = predictor.add_new_mask(state, 1, 6, np.zeros(small.SIZE, bool))
    assert (masks[1] <= -9.9).all()


def test_objects_go_and_prompts_are_taken_back(predictor: gsam.VideoPredictor) -> None:
    state = predictor.init_state(small.frames(4))
    predictor.add_new_points_or_box(state, 0, 1, [[10, 15]], [1])
    predictor.add_new_points_or_box(state, 2, 2, [[40, 15]], [1])
    predictor.add_new_points_or_box(state, 0, 2, [[40, 30]], [1])
    assert predictor.remove_object(state, 9) == ([1, 2], [])
    with pytest.raises(UsageError, match="no object 9; there are 1, 2"):
        predictor.remove_object(state, 9, strict=True)
    ids, changed = predictor.remove_object(state, 2)
    assert ids == [1]
    assert [(frame, masks.shape) for frame, masks in changed] == [(0, (1, 1, 40, 56)), (2, (1, 1, 40, 56))]
    follow(predictor, state)
    predictor.add_new_points_or_box(state, 2, 3, [[40, 15]], [1])  # while others are followed already
    assert set(follow(predictor, state, start_frame_idx=2)) == {2, 3}
    answer = predictor.clear_all_prompts_in_frame(state, 0, 1)
    assert answer is not None
    assert answer[1] == [1, 3]
    assert predictor.clear_all_prompts_in_frame(state, 0, 1, need_output=False) is None
    with pytest.raises(UsageError, match="object 1 has no prompt"):
        list(predictor.propagate_in_video(state))
    predictor.reset_state(state)
    with pytest.raises(UsageError, match="no object yet"):
        list(predictor.propagate_in_video(state))


def test_pixels_belong_to_one_object_if_wanted() -> None:
    ours = gsam.VideoPredictor(small.made(), fill_hole_area=0, non_overlap_masks=True)
    state = ours.init_state(small.frames(2))
    ours.add_new_points_or_box(state, 0, 1, [[10, 15]], [1])
    ours.add_new_points_or_box(state, 0, 2, [[12, 15]], [1])
    for masks in follow(ours, state).values():
        assert ((masks > 0).sum(0) <= 1).all()
        assert (masks > 0).any()


def test_small_holes_are_filled_on_any_machine() -> None:
    logits = np.full((12, 12), 5.0, np.float32)
    logits[2, 2] = logits[3, 3] = -4.0  # two cells that touch by a corner
    logits[6:9, 6:9] = -3.0

    def fill_holes(logits: np.ndarray, area: int) -> np.ndarray:
        tracker = small.made()
        compiled = CompiledTracker(tracker, tracker.memory, area, True)
        nothing = jnp.zeros(1)
        found = ObjectMasks(jnp.asarray(logits)[None], nothing, nothing, jnp.zeros((1, 16)))
        return compiled._outputs(found, 1, SpillCache())[0].logits

    filled = fill_holes(logits, 8)
    assert filled[2, 2] == filled[3, 3] == np.float32(0.1)
    assert (filled[6:9, 6:9] == -3.0).all()
    assert (fill_holes(logits, 9) > 0).all()
    np.testing.assert_array_equal(fill_holes(logits, 0), logits)


def test_programs_do_not_grow_with_the_video(predictor: gsam.VideoPredictor) -> None:
    ours = gsam.VideoPredictor(small.made(), fill_hole_area=0)
    counts = []
    for length in (6, 20):
        state = ours.init_state(small.frames(length))
        ours.add_new_points_or_box(state, 0, 1, [[10, 15]], [1])
        follow(ours, state)
        counts.append(ours.compilations)
    assert counts[0] == counts[1] <= 8


def test_what_is_remembered_near_is_enough_to_go_on(predictor: gsam.VideoPredictor) -> None:
    found = []
    for memory in ("all", "near"):
        state = predictor.init_state(small.frames(14), memory=memory)
        predictor.add_new_points_or_box(state, 0, 1, [[10, 15]], [1])
        found.append(follow(predictor, state))
        kept = len(state.tracked_object(1).propagated)
        assert kept == 13 if memory == "all" else kept < 8
    for frame, masks in found[0].items():
        np.testing.assert_array_equal(masks, found[1][frame])


def test_a_live_source_is_followed_as_it_comes(predictor: gsam.VideoPredictor) -> None:
    pictures = small.frames(5)
    given: list[int] = []

    def camera() -> Iterator[np.ndarray]:
        for i, picture in enumerate(pictures):
            given.append(i)
            yield picture

    state = predictor.init_state(camera(), memory="near")
    assert state["num_frames"] is None
    predictor.add_new_points_or_box(state, 0, 1, [[10, 15]], [1])
    live = follow(predictor, state)
    assert list(live) == given == [0, 1, 2, 3, 4]
    with pytest.raises(UsageError, match="frame 1 has passed"):
        predictor.add_new_points_or_box(state, 1, 2, [[10, 15]], [1])
    with pytest.raises(UsageError, match="has ended: there is no frame 9"):
        predictor.add_new_points_or_box(state, 9, 2, [[10, 15]], [1])
    assert state["obj_ids"] == [1]


def test_a_folder_is_a_video(predictor: gsam.VideoPredictor, tmp_path: Path) -> None:
    for i, picture in enumerate(small.frames(3)):
        Image.fromarray(picture).save(tmp_path / f"{i:05d}.png")
    folder, arrays = predictor.init_state(str(tmp_path)), predictor.init_state(small.frames(3))
    for state in (folder, arrays):
        predictor.add_new_points_or_box(state, 0, 1, [[10, 15]], [1])
    for a, b in zip(predictor.propagate_in_video(folder), predictor.propagate_in_video(arrays), strict=True):
        np.testing.assert_array_equal(a[2], b[2])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"frame_idx": 5, "points": [[1, 1]], "labels": [1]}, "frame 5 is not in this video: it has 3"),
        ({"frame_idx": -1, "points": [[1, 1]], "labels": [1]}, "frame -1 is not"),
        ({"frame_idx": 0.5, "points": [[1, 1]], "labels": [1]}, "a frame is a whole number"),
        ({}, "at least one of points or box"),
        ({"points": [[1, 1]]}, "one is missing"),
        ({"points": [[1, 1]], "labels": [3]}, "1 .foreground. or 0"),
        ({"points": [[1, 1], [2, 2]], "labels": [1]}, r"points \[P, 2\] and labels"),
        ({"points": [[1, float("nan")]], "labels": [1]}, "not finite"),
        ({"points": [[100, 1]], "labels": [1]}, "outside the picture"),
        ({"box": [9, 9, 3, 3]}, "x0 <= x1"),
        ({"box": [1, 1, 5, 5], "clear_old_points": False}, "a box comes before points"),
    ],
)
def test_bad_prompts(predictor: gsam.VideoPredictor, given: dict[str, Any], message: str) -> None:
    state = predictor.init_state(small.frames(3))
    with pytest.raises(ValueError, match=message):
        predictor.add_new_points_or_box(state, obj_id=1, **{"frame_idx": 0, **given})
    assert state["obj_ids"] == []


def test_bad_masks_videos_and_settings(predictor: gsam.VideoPredictor, tmp_path: Path) -> None:
    state = predictor.init_state(small.frames(3))
    with pytest.raises(ValueError, match=r"the mask is \[5, 5\], the video \[40, 56\]"):
        predictor.add_new_mask(state, 0, 1, np.ones((5, 5)))
    with pytest.raises(ValueError, match=r"a mask is \[H, W\]"):
        predictor.add_new_mask(state, 0, 1, np.ones((1, 40, 56)))
    with pytest.raises(UsageError, match="no object 4; there are none yet"):
        predictor.clear_all_prompts_in_frame(state, 0, 4)
    with pytest.raises(KeyError, match="num_frames"):
        state["frames"]
    predictor.add_new_points_or_box(state, 0, 1, [[1, 1]], [1])
    with pytest.raises(UsageError, match="max_frame_num_to_track"):
        list(predictor.propagate_in_video(state, 0, -2))
    with pytest.raises(VideoError):
        predictor.init_state([])
    mixed = predictor.init_state([*small.frames(2), np.zeros((8, 8, 3), np.uint8)])
    predictor.add_new_points_or_box(mixed, 0, 1, [[1, 1]], [1])
    going = predictor.propagate_in_video(mixed)
    assert [next(going)[0], next(going)[0]] == [0, 1]
    with pytest.raises(VideoError, match="frame 2 is 8 x 8"):
        next(going)
    assert mixed.outputs(1)[0] is not None  # what was finished stays
    with pytest.raises(TypeError, match="built already"):
        gsam.VideoPredictor(small.made(), chunk=2)
    with pytest.raises(UsageError, match="memory_temporal_stride"):
        gsam.VideoPredictor(small.made(), memory_temporal_stride_for_eval=0)
    with pytest.raises(UsageError, match="max_cond_frames_in_attn is -1 or at least 2"):
        gsam.VideoPredictor(small.made(), max_cond_frames_in_attn=1)
    with pytest.raises(UsageError, match="'nano_sam' is no tracker"):
        gsam.VideoPredictor("nano_sam")


def test_one_frame(predictor: gsam.VideoPredictor) -> None:
    state = predictor.init_state(small.frames(1))
    predictor.add_new_points_or_box(state, 0, 1, [[10, 15]], [1])
    assert list(follow(predictor, state)) == [0]
    again = predictor.add_new_points_or_box(state, 0, 1, [[30, 15]], [1])[2]  # remembers itself
    assert np.isfinite(again).all()
