"""Run lengths: those of pycocotools, whichever way they are made."""

from __future__ import annotations

import numpy as np
import pytest
from pycocotools import mask as coco

from gsam.results.masks import rle


def pictures(height: int, width: int) -> list[np.ndarray]:
    """Nothing, all, corners, edges, a hole, stripes both ways, and noise of all densities."""
    rng = np.random.default_rng(height * width)
    y, x = np.mgrid[:height, :width]
    disc = (y - height / 2) ** 2 / height**2 + (x - width / 2) ** 2 / width**2 < 0.1
    found = [np.zeros((height, width), bool), np.ones((height, width), bool), disc, ~disc, y % 2 == 0, x % 2 == 0]
    found += [x < width // 2, x >= width // 2, y < height // 2, y >= height // 2, (x == 0) | (y == 0)]
    for row in (0, height - 1):
        for column in (0, width - 1):
            corner = np.zeros((height, width), bool)
            corner[row, column] = True
            found += [corner, ~corner]
    found += [rng.random((height, width)) < share for share in (0.001, 0.02, 0.5, 0.98)]
    return [*found, np.asfortranarray(disc), disc[::-1], np.repeat(disc, 2, 1)[:, ::2]]


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (7, 5), (40, 100), (333, 200)])
def test_large_masks_are_written_like_small_ones(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rle, "LARGE", 0)
    counted = 0
    for mask in pictures(*size):
        expected = coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
        assert rle.encode(mask) == {"size": list(size), "counts": expected}
        np.testing.assert_array_equal(rle.decode(rle.encode(mask)), mask)
        counted += rle._counted(mask) is not None
    assert counted >= 5


def test_the_long_way_is_taken_by_large_masks_only(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    counted = rle._counted
    monkeypatch.setattr(rle, "_counted", lambda mask: seen.append(mask.size) or counted(mask))
    for size in ((400, 600), (600, 800)):
        mask = np.zeros(size, bool)
        mask[5:60, 7:90] = True
        assert rle.area(rle.encode(mask)) == 55 * 83
    assert seen == [600 * 800]


def test_masks_of_other_types_are_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rle, "LARGE", 0)
    mask = np.random.default_rng(0).random((30, 20)) < 0.1
    assert rle.encode(mask.astype(np.uint8)) == rle.encode(mask)  # type: ignore[arg-type]
