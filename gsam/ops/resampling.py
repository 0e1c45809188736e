"""torch's resampling of one axis, for the host and the device alike; numpy only.

Corners are not aligned and nothing is anti-aliased, also when shrinking:
``interpolate(align_corners=False)``.  Positions are float32 with the rounding of a fused multiply
and add, as torch's are: at thousands of pixels that decides the last digits of a weight, and so the
weights are torch's own.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

BAND = 32
"""Outputs made at a time."""
PRODUCT = 1 << 18
"""Multiplications of one product, at most: larger ones OpenBLAS gives to all cores, whose threads
wait for each other without sleeping.  Beside a model that computes, that costs many times the
product.
"""


@dataclasses.dataclass(frozen=True)
class Band:
    """A few outputs of one axis and what they are made of."""

    target: slice
    source: slice
    weights: NDArray[np.float32]
    """[target, source]."""


def banded(weights: NDArray[np.floating]) -> list[Band]:
    """Take the weights [size, source] of an axis apart, leaving out what is zero."""
    found = []
    for start in range(0, len(weights), BAND):
        target = slice(start, min(start + BAND, len(weights)))
        used = np.flatnonzero(weights[target].any(0))
        reads = slice(int(used[0]), int(used[-1]) + 1) if used.size else slice(0, 0)
        found.append(Band(target, reads, np.ascontiguousarray(weights[target, reads], np.float32)))
    return found


def product(a: NDArray[np.float32], b: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    """Write ``a @ b`` into ``out``, on the caller's core alone.

    Args:
        a: [rows, inner].
        b: [inner, columns].
        out: [rows, columns].
    """
    (rows, inner), columns = a.shape, b.shape[1]
    if rows > columns:
        step = max(PRODUCT // max(inner * columns, 1), 1)
        for start in range(0, rows, step):
            np.matmul(a[start : start + step], b, out=out[start : start + step])
    else:
        step = max(PRODUCT // max(inner * rows, 1), 1)
        for start in range(0, columns, step):
            np.matmul(a, b[:, start : start + step], out=out[:, start : start + step])


def between(source: int, size: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Find the two inputs that each output lies between, and its distance from the first.

    Args:
        source: Number of inputs.
        size: Number of outputs.

    Returns:
        Both inputs' indices [size], and the distance from the first, [size] in 0..1.
    """
    at = np.maximum(_positions(source, size), np.float32(0))
    low = np.minimum(np.floor(at).astype(np.int64), source - 1)
    return low, np.minimum(low + 1, source - 1), at - low.astype(np.float32)


def bilinear(source: int, size: int) -> NDArray[np.float64]:
    """Weights [size, source] of ``mode="bilinear"`` along one axis."""
    low, high, part = between(source, size)
    rows, out = np.arange(size), np.zeros((size, source))
    np.add.at(out, (rows, low), np.float32(1) - part)
    np.add.at(out, (rows, high), part)
    return out


def bicubic(source: int, size: int) -> NDArray[np.float64]:
    """Weights [size, source] of ``mode="bicubic"`` along one axis.

    Keys' kernel with a = -0.75, four taps, those beyond the border moved onto it.
    """
    at = _positions(source, size)
    low = np.floor(at)
    part = (at - low).astype(np.float64)
    rows, out = np.arange(size), np.zeros((size, source))
    for tap in range(-1, 3):
        x, a = np.abs(part - tap), -0.75
        near = ((a + 2) * x - (a + 3)) * x * x + 1
        far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
        there = np.clip(low.astype(np.int64) + tap, 0, source - 1)
        np.add.at(out, (rows, there), np.where(x <= 1, near, far))
    return out


def _positions(source: int, size: int) -> NDArray[np.float32]:
    """Positions [size] of the outputs' centres among the inputs."""
    scale = np.float64(np.float32(source) / np.float32(size))
    return (scale * (np.arange(size) + 0.5) - 0.5).astype(np.float32)
