"""Tracked masks that a segmenter of images draws again."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import gsam
from gsam.errors import UsageError
from gsam.inputs.image import Picture, open_image
from gsam.models.promptable import PromptableSegmenter
from gsam.results.masks.low_res import LowResMasks
from gsam.results.tracks import TrackedFrame
from gsam.runtime.batch import gather
from gsam.tracking.redraw import Redraw
from gsam.tracking.text_tracking import mask_iou, sample_mask

ROOT = Path(__file__).parents[2]
SIDE = 56
Draw = Callable[..., np.ndarray]


def scene(frame: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """A red disc and a blue square on a wide, light frame, moving apart; and their masks."""
    rows, columns = np.mgrid[:96, :160]
    disc = (rows - 48) ** 2 + (columns - 50 + 2 * frame) ** 2 < 22**2
    square = (abs(rows - 48) < 19) & (abs(columns - 110 - 2 * frame) < 19)
    pixels = np.full((96, 160, 3), 235, np.uint8)
    pixels[disc], pixels[square] = (215, 40, 40), (50, 110, 225)
    return pixels, [disc, square]


@pytest.fixture(scope="module")
def frames() -> list[np.ndarray]:
    return [scene(number)[0] for number in range(5)]


@pytest.fixture(scope="module")
def redraw() -> Redraw:
    return Redraw(gsam.segmenter("nano_sam"))


@pytest.fixture(scope="module")
def draw(redraw: Redraw) -> Draw:
    """Draw logits [N, s, s] over a whole frame again."""

    def drawn(pixels: np.ndarray, logits: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
        params = redraw.segmenter.params
        images = gather([Picture(pixels)], [redraw.segmenter.view])
        features = jax.jit(redraw.features)(params, images)
        rows = np.ones(len(logits), bool) if valid is None else valid
        return np.asarray(jax.jit(redraw.masks)(params, features, images, logits.astype(np.float32), rows))

    return drawn


def logits_of(mask: np.ndarray) -> np.ndarray:
    return np.where(sample_mask(mask, SIDE), 6.0, -6.0).astype(np.float32)


def enlarged(logits: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    size = (pixels.shape[0], pixels.shape[1])
    return LowResMasks(logits, 4 * SIDE, (4 * SIDE, 4 * SIDE), size, upsample="bilinear").dense()


def boxes_of(masks: list[np.ndarray]) -> np.ndarray:
    """Logits that fill three quarters of each mask's box: what a poor tracker might say."""
    rough = []
    for mask in masks:
        rows, columns = np.nonzero(mask)
        box = np.zeros_like(mask)
        low, high = rows.min(), columns.max()
        box[low : low + 3 * (rows.max() - low) // 4, columns.min() : high + 1] = True
        rough.append(logits_of(box))
    return np.stack(rough)


@pytest.mark.parametrize("turned", [False, True])
def test_a_rough_mask_becomes_the_thing(draw: Draw, turned: bool) -> None:
    """The two models' views differ in one direction on a wide frame, in the other on a high one."""
    pixels, masks = scene(0)
    if turned:
        pixels, masks = np.ascontiguousarray(pixels.swapaxes(0, 1)), [mask.T for mask in masks]
    rough = boxes_of(masks)
    found = draw(pixels, rough)
    before, after = ([mask_iou(a, b) for a, b in zip(masks, enlarged(x, pixels), strict=True)] for x in (rough, found))
    assert np.mean(after) > np.mean(before) + 0.15, (before, after)
    assert min(after) > 0.9, after


def test_what_is_unlike_empty_or_no_row_stays(draw: Draw) -> None:
    pixels, (mask, _) = scene(0)
    thin = np.full((SIDE, SIDE), -6.0)
    thin[::4, ::4] = logits_of(mask)[::4, ::4]  # scattered over the disc: no thing looks like it
    assert (thin > 0).sum() > 5
    given = np.stack([thin, np.full((SIDE, SIDE), -3.0), logits_of(mask), logits_of(mask)])
    found = draw(pixels, given, np.array([True, True, False, True]))
    for row in (0, 1, 2):
        np.testing.assert_array_equal(found[row], given[row].astype(np.float32))
    assert (found[3] != given[3]).any()


@pytest.fixture(scope="module")
def pair() -> tuple[gsam.VideoPredictor, gsam.VideoPredictor]:
    given: Any = {"progress": False, "fill_hole_area": 0}
    return gsam.VideoPredictor("nano_sam2", **given), gsam.VideoPredictor("nano_sam2", redraw="nano_sam", **given)


def test_tracked_masks_are_drawn_again_and_memories_are_not(
    pair: tuple[gsam.VideoPredictor, gsam.VideoPredictor], frames: list[np.ndarray]
) -> None:
    told = []
    for predictor in pair:
        state = predictor.init_state(frames)
        for number, mask in enumerate(scene(0)[1]):
            predictor.add_new_mask(state, 0, number, mask)
        last = [logits for *_, logits in predictor.propagate_in_video(state)]
        told.append((last, [tracked.propagated[4] for tracked in state.objects.values()]))
    (plain, own), (drawn, again) = told
    np.testing.assert_array_equal(plain[0], drawn[0])  # a mask that was given stays what it is
    for a, b in zip(own, again, strict=True):
        np.testing.assert_array_equal(a.memory, b.memory)
        np.testing.assert_array_equal(a.pointer, b.pointer)
    scores = [[mask_iou(mask, x[4][i, 0] > 0) for i, mask in enumerate(scene(4)[1])] for x in (plain, drawn)]
    assert np.mean(scores[1]) > np.mean(scores[0]), scores
    assert min(scores[1]) > 0.9, scores


def test_boxes_and_clicks_are_answered_with_the_segmenters_mask(
    pair: tuple[gsam.VideoPredictor, gsam.VideoPredictor], frames: list[np.ndarray]
) -> None:
    masks, prompts = scene(0)[1], [{"box": [91, 29, 129, 67]}, {"points": [[50, 48]], "labels": [1]}]
    scores: list[list[float]] = [[], []]
    memories = []
    for number, predictor in enumerate(pair):
        for mask, prompt in zip(masks[::-1], prompts, strict=True):
            state = predictor.init_state(frames)
            *_, logits = predictor.add_new_points_or_box(state, 0, 1, **prompt)  # type: ignore[arg-type]
            scores[number].append(mask_iou(mask, logits[0, 0] > 0))
            predictor.propagate_in_video_preflight(state)
            memories.append(state.objects[1].prompted[0].memory)
    assert np.mean(scores[1]) > np.mean(scores[0]), scores
    assert min(scores[1]) > 0.9, scores
    assert (memories[0] != memories[2]).any()  # what is remembered of a prompt is the better mask


def test_a_session_keeps_what_was_drawn(
    pair: tuple[gsam.VideoPredictor, gsam.VideoPredictor], frames: list[np.ndarray], tmp_path: Path
) -> None:
    predictor, mask = pair[1], scene(0)[1][0]
    state = predictor.init_state(frames)
    predictor.add_new_mask(state, 0, 1, mask)
    whole = [logits for *_, logits in predictor.propagate_in_video(state)]
    begun = predictor.init_state(frames)
    predictor.add_new_mask(begun, 0, 1, mask)
    _ = list(predictor.propagate_in_video(begun, max_frame_num_to_track=1))
    kept = predictor.load_state(predictor.save_state(begun, tmp_path / "a.safetensors"), frames)
    for state in (kept, copy.deepcopy(kept)):
        np.testing.assert_array_equal(state.outputs(1)[0].logits, begun.outputs(1)[0].logits)  # type: ignore[union-attr]
        rest = [logits for *_, logits in predictor.propagate_in_video(state, 2)]
        np.testing.assert_array_equal(np.stack(rest), np.stack(whole[2:]))


def test_tracks_by_text_are_drawn_again_and_go_on_exactly() -> None:
    """The camera moves over the README's picture."""
    image = open_image(ROOT / "notebooks" / "scene.png").pixels
    frames = [image[4 * t : 4 * t + 440, :480] for t in range(4)]
    pipe = gsam.load("nano")
    asked: Any = {"every": 10, "renew": 1.0, "doubt": 0}

    def tracked(**more: Any) -> list[TrackedFrame]:
        return list(pipe.track(frames, "pizza. apple", **asked, **more))

    plain, drawn, default = tracked(redraw=False), tracked(redraw=True), tracked()
    assert len(plain[0]) >= 2
    assert plain[0].ids.tolist() == drawn[0].ids.tolist()
    assert not np.array_equal(plain[2].masks, drawn[2].masks)
    assert pipe.redraws  # nano's recipe says so
    np.testing.assert_array_equal(default[2].masks, drawn[2].masks)
    run = pipe.track(frames, "pizza. apple", **asked, redraw=True)
    _ = [next(run), next(run)]
    rest = list(pipe.track(frames, "pizza. apple", **asked, redraw=True, start=run.state()))
    for a, b in zip(drawn[2:], rest, strict=True):
        np.testing.assert_array_equal(a.masks, b.masks)
        assert a.ids.tolist() == b.ids.tolist()


def test_a_segmenter_without_boxes_is_refused(redraw: Redraw) -> None:
    class Clicks(type(redraw.segmenter)):  # type: ignore[misc]
        prompt_types = frozenset({"foreground"})

    old = redraw.segmenter
    clicks = Clicks(**{f.name: getattr(old, f.name) for f in dataclasses.fields(old)})
    assert isinstance(clicks, PromptableSegmenter)
    with pytest.raises(UsageError, match="cannot be asked with boxes") as caught:
        Redraw(clicks)
    assert caught.value.code == "model_takes_no_boxes"
    with pytest.raises(UsageError, match="one to segment is needed"):
        gsam.VideoPredictor("nano_sam2", redraw="nano_clip")


def test_a_pipeline_without_such_a_segmenter_says_so() -> None:
    pipe = gsam.Pipeline(gsam.detector("nano_owl"), tracker=lambda: gsam.tracker("nano_sam2"))
    assert pipe.segmenter is None
    with pytest.raises(UsageError, match="redraw needs one"):
        pipe.track([np.zeros((32, 32, 3), np.uint8)], "dog", redraw=True)
