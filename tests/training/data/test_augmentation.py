"""`gsam.training.data.augment`: masks and boxes follow the image exactly."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from gsam.training.data import augment

HEIGHT, WIDTH = 30, 44


def scene() -> tuple[NDArray[np.uint8], NDArray[np.bool_], NDArray[np.float32]]:
    """An image whose red channel is the first mask, and whose green one is the second."""
    masks = np.zeros((2, HEIGHT, WIDTH), bool)
    masks[0, 4:9, 6:16] = True
    masks[1, 20:28, 30:41] = True
    image = np.stack([masks[0] * 255, masks[1] * 255, np.full((HEIGHT, WIDTH), 90)], -1).astype(np.uint8)
    return image, masks, np.array([[6, 4, 16, 9], [30, 20, 41, 28]], np.float32)


def bounds(mask: NDArray[np.bool_]) -> list[int]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1] if len(rows) else []


@pytest.mark.parametrize("seed", range(20))
def test_masks_and_boxes_follow(seed: int) -> None:
    image, masks, boxes = scene()
    out, cut, moved = augment(np.random.default_rng(seed), image, masks, boxes, zoom=3.0, flip=0.5)
    assert cut is not None
    assert moved is not None
    assert out.dtype == np.uint8
    assert cut.shape == (2, *out.shape[:2])
    for i in (0, 1):
        assert ((out[..., i] == 255) == cut[i]).all()
        area = (moved[i, 2] - moved[i, 0]) * (moved[i, 3] - moved[i, 1])
        assert area == cut[i].sum()
        assert not cut[i].any() or bounds(cut[i]) == moved[i].tolist()
    assert max(cut[i].sum() == masks[i].sum() for i in (0, 1)), "one is whole"
    assert all(side <= full for side, full in zip(out.shape, (HEIGHT, WIDTH, 3), strict=True))


def test_draws_are_those_of_the_seed() -> None:
    image, masks, boxes = scene()
    given = {"zoom": 2.0, "flip": 0.5, "light": 0.3}
    first, second, third = (augment(np.random.default_rng(s), image, masks, boxes, **given) for s in (5, 5, 6))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert first[0].shape != third[0].shape or not np.array_equal(first[0], third[0])


def test_nothing_is_changed_by_default() -> None:
    image, masks, boxes = scene()
    out = augment(np.random.default_rng(0), image, masks, boxes)
    assert all(np.array_equal(a, b) for a, b in zip(out, (image, masks, boxes), strict=True))


def test_crops_have_many_sizes_and_places() -> None:
    image, _, boxes = scene()
    shapes = {augment(np.random.default_rng(s), image, None, boxes, zoom=4.0)[0].shape for s in range(40)}
    assert len(shapes) > 15
    assert min(rows for rows, *_ in shapes) < 12


def test_a_flip_alone() -> None:
    image, masks, boxes = scene()
    out, cut, moved = augment(np.random.default_rng(0), image, masks, boxes, flip=1.0)
    assert (out == image[:, ::-1]).all()
    assert cut is not None
    assert moved is not None
    assert (cut == masks[..., ::-1]).all()
    assert moved.tolist() == [[28, 4, 38, 9], [3, 20, 14, 28]]


def test_light_keeps_places() -> None:
    image, masks, boxes = scene()
    out, cut, moved = augment(np.random.default_rng(1), image, masks, boxes, light=0.4)
    assert (out != image).any()
    assert np.array_equal(cut, masks)
    assert np.array_equal(moved, boxes)
    table = {int(a): int(b) for a, b in zip(image.ravel(), out.ravel(), strict=True)}
    assert [table[v] for v in sorted(table)] == sorted(table.values())


def test_boxes_or_masks_may_lack() -> None:
    image, masks, _ = scene()
    rng = np.random.default_rng(0)
    assert augment(rng, image, None, None, zoom=2, flip=0.5)[1:] == (None, None)
    cut = augment(rng, image, masks[:0], np.zeros((0, 4)), zoom=2)[1]
    assert cut is not None
    assert len(cut) == 0
    empty = augment(rng, image, np.zeros_like(masks), None, zoom=2)[1]
    assert empty is not None
    assert not empty.any()


@pytest.mark.parametrize("bad", [{"zoom": 0.5}, {"zoom": float("nan")}, {"flip": 2.0}, {"light": 1.0}])
def test_strengths_outside_their_range(bad: dict[str, float]) -> None:
    image, masks, boxes = scene()
    with pytest.raises(ValueError, match="zoom is at least 1"):
        augment(np.random.default_rng(0), image, masks, boxes, **bad)
