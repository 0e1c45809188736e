"""FastSAM's prompts, on masks drawn by hand: rectangles [x0, y0, x1, y1] of an image 64 wide and 32
high, each its own prototype.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gsam.inputs.image import Picture
from gsam.predictors.fast_sam import FastSAMPrompt
from gsam.results.result import BoxClippedMasks

DRAWN = [(0, 0, 40, 30), (4, 4, 20, 20), (8, 8, 12, 12), (44, 2, 60, 28)]


def drawn(rank: Any = None) -> FastSAMPrompt:
    """Prototypes as fine as the picture, so that masks are exactly what is drawn."""
    h, w = 32, 64
    proto = np.full((h, w, len(DRAWN)), -1, np.float32)
    for i, (x0, y0, x1, y1) in enumerate(DRAWN):
        proto[y0:y1, x0:x1, i] = 1
    boxes = np.asarray(DRAWN, np.float32)
    scores = np.asarray([0.6, 0.9, 0.8, 0.7], np.float32)
    pixels = np.arange(h * w * 3, dtype=np.int64).reshape(h, w, 3).astype(np.uint8)
    return FastSAMPrompt(
        Picture(pixels), boxes, boxes, scores, np.eye(len(DRAWN), dtype=np.float32), proto, (h, w), (0, 0), (h, w), rank
    )


def filled(*boxes: tuple[int, int, int, int]) -> np.ndarray:
    out = np.zeros((32, 64), bool)
    for x0, y0, x1, y1 in boxes:
        out[y0:y1, x0:x1] = True
    return out


def test_everything_is_what_is_drawn() -> None:
    found = drawn().everything_prompt()
    assert isinstance(found.low_res, BoxClippedMasks)
    np.testing.assert_array_equal(found.masks, np.stack([filled(b) for b in DRAWN]))
    assert found.labels == ["object"] * 4
    assert found.plot().size[0] >= 64


def test_boxes_choose_in_their_own_order() -> None:
    asked = [[43, 1, 61, 30], [0, 0, 41, 31], [5, 5, 19, 19], [4, 4, 20, 21]]
    found = drawn().box_prompt(asked)
    np.testing.assert_array_equal(found.xyxy, np.asarray([DRAWN[3], DRAWN[0], DRAWN[1], DRAWN[1]], np.float32))
    np.testing.assert_array_equal(found.masks[1], filled(DRAWN[0]))
    assert len(drawn().box_prompt([43, 1, 61, 30])) == 1


@pytest.mark.parametrize(
    ("points", "labels", "expected"),
    [
        ([[10, 10]], [1], filled(DRAWN[0])),  # all three that hold it; the large one holds the others
        ([[10, 10], [18, 18]], [1, 0], filled(DRAWN[2])),  # the large ones are painted, then erased by the second point
        ([[10, 10], [30, 10]], [0, 1], filled(DRAWN[0]) & ~filled(DRAWN[1])),
        ([[30, 10], [10, 10]], [1, 0], np.zeros((32, 64), bool)),  # erased where both points are, from point to point
        ([[50, 10], [18, 5]], [1, 1], filled(DRAWN[0], DRAWN[3])),
        ([[63, 31]], [1], np.zeros((32, 64), bool)),
    ],
)
def test_points_paint_and_erase(points: list, labels: list, expected: np.ndarray) -> None:
    found = drawn().point_prompt(points, labels)
    assert len(found) == int(expected.any())
    if len(found):
        np.testing.assert_array_equal(found.mask(0), expected)
        rows, columns = np.flatnonzero(expected.any(1)), np.flatnonzero(expected.any(0))
        assert found.xyxy[0].tolist() == [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]


def test_a_text_chooses_one_and_small_masks_are_not_asked() -> None:
    seen: list[np.ndarray] = []

    def rank(text: str, pictures: list[np.ndarray]) -> np.ndarray:
        assert text == "a red thing"
        seen.extend(pictures)
        return np.asarray([1.0, 3.0, 2.0], np.float32)

    everything = drawn(rank)
    found = everything.text_prompt("a red thing")
    assert [p.shape[:2] for p in seen] == [(30, 40), (16, 16), (26, 16)]  # the third, 4 x 4, is left out
    np.testing.assert_array_equal(seen[0], everything.picture.pixels[0:30, 0:40])
    assert (found.labels, found.queries) == (["a red thing"], ["a red thing"])
    np.testing.assert_array_equal(found.mask(0), filled(DRAWN[1]))
    np.testing.assert_allclose(found.scores, np.exp(3) / (np.exp(1) + np.exp(3) + np.exp(2)), rtol=1e-6)


def test_what_is_not_the_mask_is_white_for_the_classifier() -> None:
    seen: list[np.ndarray] = []
    everything = drawn(lambda _, pictures: seen.extend(pictures) or np.zeros(len(pictures), np.float32))
    everything.prototypes[10:14, 0:40, 0] = -1  # a gap in the first mask
    everything.text_prompt("x")
    assert (seen[0][10:14] == 255).all()
    np.testing.assert_array_equal(seen[0][:10], everything.picture.pixels[0:10, 0:40])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda e: e.box_prompt([1, 2, 3]), "four finite numbers"),
        (lambda e: e.box_prompt([[0, 0, np.nan, 4]]), "four finite numbers"),
        (lambda e: e.box_prompt([5, 5, 5, 9]), "no pixel"),
        (lambda e: e.box_prompt([[0, 0, 9, 9], [100, 0, 120, 9]]), "no pixel"),
        (lambda e: e.point_prompt([[1, 1]], [1, 0]), "labels"),
        (lambda e: e.point_prompt([1, 1], [1]), "points"),
        (lambda e: e.point_prompt([[1, 1]], [2]), "1 .foreground. or 0"),
        (lambda e: e.point_prompt([[64, 1]], [1]), "outside the picture, 64 x 32"),
        (lambda e: e.point_prompt([[np.nan, 1]], [1]), "outside"),
        (lambda e: e.text_prompt("  "), "nothing is asked for"),
    ],
)
def test_wrong_prompts_say_what_is_wrong(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(drawn())
