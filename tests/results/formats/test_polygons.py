"""Outlines of masks: filled again they are the masks, with holes and parts."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from gsam.results.masks import polygons, rle
from tests.results.formats.scenes import masks


@pytest.mark.parametrize("kind", masks())
def test_outlines_fill_to_the_mask(kind: str) -> None:
    mask = masks()[kind]
    found = polygons.outlines(mask)
    assert len(found) == {"empty": 0, "parts": 2}.get(kind, len(found))
    assert [len(part) for part in found] == ([3] if kind == "hole" else [1] * len(found))
    assert (polygons.filled(found, mask.shape) == mask).all()
    assert (polygons.filled([[polygons.bridged(part)] for part in found], mask.shape) == mask).all()


def crossed(ring: NDArray[np.float64], size: tuple[int, ...]) -> NDArray[np.bool_]:
    """Pixels from whose centres a line to the right crosses a ring an odd number of times."""
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    inside = np.zeros(size, bool)
    for (x0, y0), (x1, y1) in zip(ring, np.roll(ring, -1, 0), strict=True):
        if y0 != y1:
            inside ^= ((y0 > y) != (y1 > y)) & (x < x0 + (x1 - x0) * (y - y0) / (y1 - y0))
    return inside


def test_of_noise_too_and_by_another_program() -> None:
    rng = np.random.default_rng(0)
    for i in range(60):
        mask = rng.random((13, 17)) < (0.3, 0.6, 0.9)[i % 3]
        found = polygons.outlines(mask)
        assert (polygons.filled(found, mask.shape) == mask).all()
        other = np.zeros_like(mask)
        for part in found:
            other |= crossed(polygons.bridged(part), mask.shape)
        assert (other == mask).all()


def test_a_rectangle_has_eight_points_whatever_its_size() -> None:
    mask = np.zeros((400, 500), bool)
    mask[100:300, 50:450] = True
    ((ring,),) = polygons.outlines(mask)
    assert len(ring) == 8
    assert (ring.min(0).tolist(), ring.max(0).tolist()) == ([50, 100], [450, 300])


def test_run_lengths_are_spelled_and_checked() -> None:
    rng = np.random.default_rng(1)
    for share in (0.0, 0.02, 0.5, 1.0):
        mask = rng.random((37, 41)) < share
        found = rle.lengths(rle.encode(mask))
        assert np.repeat(np.arange(len(found)) % 2, found).astype(bool).tolist() == mask.ravel("F").tolist()
    for counts in ("", "0", "zzz", "\x01", "é", "oooooooooooo1", [30], [10, -1, 16], [5, 5]):
        with pytest.raises(ValueError, match="run lengths"):
            rle.lengths({"size": [5, 5], "counts": counts})
