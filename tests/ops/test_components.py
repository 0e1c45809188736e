"""Connected components against scipy, and what is filled and dropped against what SAM 2 does with
them.
"""

from __future__ import annotations

import jax
import numpy as np
import pytest
from scipy import ndimage

from gsam.ops.components import areas, cleaned

EIGHT = np.ones((3, 3), bool)
RUN = jax.jit(areas)


def by_scipy(mask: np.ndarray) -> np.ndarray:
    labels, _ = ndimage.label(mask, EIGHT)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return sizes[labels]


def spiral(side: int) -> np.ndarray:
    """One component whose ends are far from each other."""
    mask = np.zeros((side, side), bool)
    y, x, dy, dx = 0, 0, 0, 1
    mask[0, 0] = True
    for turn in range(side):
        for _ in range(side - 1 - 2 * (turn // 2) if turn else side - 1):
            if not (0 <= y + dy < side and 0 <= x + dx < side):
                break
            y, x = y + dy, x + dx
            mask[y, x] = True
        dy, dx = dx, -dy
    return mask


@pytest.mark.parametrize("share", [0.0, 0.1, 0.4, 0.6, 0.95, 1.0])
def test_areas_are_scipy_s(share: float) -> None:
    mask = np.random.default_rng(3).random((41, 64)) < share
    np.testing.assert_array_equal(RUN(mask), by_scipy(mask))


@pytest.mark.parametrize("name", ["spiral", "comb", "diagonal", "rings"])
def test_long_ways(name: str) -> None:
    y, x = np.mgrid[:64, :64]
    masks = {
        "spiral": spiral(64),
        "comb": (x % 2 == 0) | (y == 63),
        "diagonal": (x + y) % 64 == 5,
        "rings": np.maximum(abs(x - 31), abs(y - 31)) % 2 == 0,
    }
    np.testing.assert_array_equal(RUN(masks[name]), by_scipy(masks[name]))


def logits() -> np.ndarray:
    """A square with a hole of 4 and one of 9 pixels, one sprinkle of 2 and one of 6, and one within
    the larger hole.
    """
    x = np.full((24, 24), -3.0, np.float32)
    x[2:16, 2:16] = 5.0
    x[4:6, 4:6] = -1.0
    x[8:11, 8:11] = -1.0
    x[9, 9] = 2.0
    x[20, 20:22] = 4.0
    x[18:20, 2:5] = 4.0
    return x


def test_holes_and_sprinkles() -> None:
    x = logits()
    y = np.asarray(jax.jit(lambda x: cleaned(x, 0.0, 4, 2))(x))
    changed = {(int(r), int(c)) for r, c in zip(*np.nonzero(y != x), strict=True)}
    assert changed == {(4, 4), (4, 5), (5, 4), (5, 5), (20, 20), (20, 21), (9, 9)}
    assert (y[4:6, 4:6] == 10).all()
    assert y[20, 20] == y[9, 9] == -10


def test_components_are_those_of_the_logits_given() -> None:
    """The pixel within the larger hole is a sprinkle, though the hole around it is filled."""
    y = np.asarray(cleaned(logits(), 0.0, 8, 1))
    assert (y[8:11, 8:11] == 10).sum() == 8
    assert y[9, 9] == -10


def test_a_threshold_and_leading_axes() -> None:
    x = np.stack([logits(), logits() + 1.5, -logits()])[:, None]
    y = np.asarray(jax.jit(lambda x: cleaned(x, 1.5, 9, 6))(x))
    assert y.shape == x.shape
    np.testing.assert_allclose(y[1, 0], np.asarray(cleaned(logits(), 0.0, 9, 6)) + 1.5)
    mask = x[0, 0] > 1.5
    assert (y[0, 0] > 1.5).sum() == mask.sum() + 4 + 8 - 2 - 6 - 1


def test_nothing_is_asked_and_nothing_done() -> None:
    x = logits()
    np.testing.assert_array_equal(cleaned(x, 0.0, 0, 0), x)
