"""Masks as CVAT writes them, as lists of numbers, and back."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gsam.errors import UsageError
from gsam.results.masks import polygons

Bounds = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels, the last two inside."""


def bounds(mask: NDArray[np.bool_]) -> Bounds | None:
    """The bounds of what is inside a mask; None for nothing."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])


def run_lengths(mask: NDArray[np.bool_]) -> list[int]:
    """The ``points`` of a shape of type ``mask``.

    Args:
        mask: [H, W] bool, not empty.

    Returns:
        Run lengths over the bounds of the mask, row by row, outside first; then the bounds.

    Raises:
        ValueError: The mask is empty.
    """
    found = bounds(mask)
    if found is None:
        raise ValueError("an empty mask is no shape")
    left, top, right, bottom = found
    flat = mask[top : bottom + 1, left : right + 1].ravel()
    at = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    runs = np.diff(np.concatenate([[0], at, [flat.size]])).tolist()
    return [*([0] if flat[0] else []), *runs, left, top, right, bottom]


def from_run_lengths(points: Sequence[float], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Read the ``points`` of a shape of type ``mask``.

    Args:
        points: As `run_lengths` gives them.
        size: Height and width of the image.

    Returns:
        [H, W] bool.

    Raises:
        ValueError: They are not whole numbers, leave the image, or do not go together.
    """
    numbers = [int(value) for value in points if math.isfinite(value)]
    if len(numbers) != len(points) or len(numbers) < 5 or numbers != list(points) or min(numbers) < 0:
        raise ValueError("a mask is run lengths and four bounds, whole numbers from 0")
    *runs, left, top, right, bottom = numbers
    if not (left <= right < size[1] and top <= bottom < size[0]):
        raise ValueError("the bounds of the mask leave the image")
    height, width = bottom + 1 - top, right + 1 - left
    if sum(runs) != height * width:
        raise ValueError("the run lengths are not those of its bounds")
    mask = np.zeros(size, bool)
    mask[top : bottom + 1, left : right + 1] = np.repeat(np.arange(len(runs)) % 2 > 0, runs).reshape(height, width)
    return mask


def rings(mask: NDArray[np.bool_]) -> list[list[float]]:
    """Polygons ``x0 y0 x1 y1 ...`` of a mask, the largest part first.

    Holes are joined to their outline by slits of no width.
    """
    parts = sorted(polygons.outlines(mask), key=lambda part: -_area(part[0]))
    return [polygons.bridged(part).ravel().tolist() for part in parts]


def ring(mask: NDArray[np.bool_]) -> list[float]:
    """All of a mask as one polygon ``x0 y0 x1 y1 ...``, its parts joined by slits of no width."""
    parts = sorted(polygons.outlines(mask), key=lambda part: -_area(part[0]))
    return polygons.bridged([one for part in parts for one in part]).ravel().tolist() if parts else []


def outline(mask: NDArray[np.bool_]) -> list[list[float]]:
    """The outline ``[x, y] ...`` of the largest part of a mask, without its holes."""
    parts = polygons.outlines(mask)
    return max((part[0] for part in parts), key=_area).tolist() if parts else []


def from_ring(points: Sequence[float], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Fill a polygon ``x0 y0 x1 y1 ...``.

    Raises:
        ValueError: It has fewer than three corners, or half of one, or they are no numbers.
    """
    corners = np.asarray(points, np.float64)
    if corners.ndim != 1 or len(corners) < 6 or len(corners) % 2 or not np.isfinite(corners).all():
        raise ValueError("a polygon is x0 y0 x1 y1 ..., three corners or more")
    limit = np.array([size[1], size[0]], np.float64)
    return polygons.filled([[corners.reshape(-1, 2).clip(-limit, 2 * limit)]], size)


def box_of(mask: NDArray[np.bool_]) -> list[float] | None:
    """The box x0 y0 x1 y1 around a mask, exclusive right and bottom; None for nothing."""
    found = bounds(mask)
    return None if found is None else [*map(float, found[:2]), found[2] + 1.0, found[3] + 1.0]


def checked_kind(shape: str, kinds: Sequence[str] = ("mask", "polygon", "rectangle")) -> str:
    """A kind of shape that a function was asked for.  Raises `UsageError` for another."""
    if shape not in kinds:
        raise UsageError(f"shape is one of {', '.join(kinds)}, not {shape!r}", "cvat_shape")
    return shape


def _area(corners: NDArray[np.float64]) -> float:
    x, y = corners.T
    return float(abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2)
