"""Letterboxed views: an image scaled to fit, centred in the smallest rectangle of whole steps.

Needs numpy only.

As in YOLO: the longer side becomes ``size``, smaller images grow too; sides are rounded half to
even; the image is interpolated between four pixels without anti-aliasing; what is left of a
multiple of `STEP` is shared between both sides, the odd pixel right and bottom.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gsam.ops.letterbox import STEP

CANVAS = 128
"""Sides of a canvas are multiples of this, so that few programs are compiled: 15 for size 1024."""
ONE = 1 << 11
"""The weight 1 in OpenCV's arithmetic."""


def content(size: int, picture: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of an image (h, w) scaled to fit; at least one of each."""
    h, w = picture
    ratio = min(size / h, size / w)
    return max(round(h * ratio), 1), max(round(w * ratio), 1)


def rectangle(rows: int, columns: int) -> tuple[int, int]:
    """The sides of the rectangle that the original would give a network: multiples of `STEP`."""
    return -(-rows // STEP) * STEP, -(-columns // STEP) * STEP


def canvas(size: int, pictures: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Return the rows and columns that hold several images' rectangles, each at the upper left."""
    rows, columns = np.max([rectangle(*content(size, p)) for p in pictures], axis=0).tolist()
    return min(-(-rows // CANVAS) * CANVAS, size), min(-(-columns // CANVAS) * CANVAS, size)


def place(pixels: NDArray[np.uint8], size: int, shape: tuple[int, int], pad: int) -> NDArray[np.uint8]:
    """The image [h, w, 3] in its rectangle on a canvas of ``shape``, ``pad`` around it."""
    rows, columns = content(size, (pixels.shape[0], pixels.shape[1]))
    height, width = rectangle(rows, columns)
    top, left = (height - rows) // 2, (width - columns) // 2
    out = np.full((*shape, 3), pad, np.uint8)
    out[top : top + rows, left : left + columns] = resize(pixels, rows, columns)
    return out


def resize(pixels: NDArray[np.uint8], rows: int, columns: int) -> NDArray[np.uint8]:
    """OpenCV's ``resize(..., INTER_LINEAR)`` of uint8 [h, w, C], to the bit.

    Weights have 11 bits; columns come first.

    Exactly half as large is the mean of four, as there.
    """
    h, w = pixels.shape[:2]
    if (h, w) == (rows, columns):
        return pixels
    if (h, w) == (2 * rows, 2 * columns):
        four = pixels.reshape(rows, 2, columns, 2, -1).sum((1, 3), dtype=np.int32)
        return ((four + 2) >> 2).astype(np.uint8)
    left, right, x0, x1 = _taps(w, columns, stop=True)
    upper, lower, y0, y1 = _taps(h, rows, stop=False)
    wide = pixels.astype(np.int32)
    wide = (wide[:, left] * x0[:, None] + wide[:, right] * x1[:, None]) >> 4  # [h, columns, C]
    whole = ((wide[upper] * y0[:, None, None]) >> 16) + ((wide[lower] * y1[:, None, None]) >> 16)
    return ((whole + 2) >> 2).astype(np.uint8)


def _taps(source: int, size: int, *, stop: bool) -> tuple[NDArray[np.int64], ...]:
    """Both pixels that each output lies between, and their weights.

    ``stop``: beyond the outermost pixels there is only that pixel; else it is both, each with its
    weight, which rounds otherwise.
    """
    at = ((np.arange(size) + 0.5) * (source / size) - 0.5).astype(np.float32)
    low = np.floor(at).astype(np.int64)
    part = at - low.astype(np.float32)
    if stop:
        part[(low < 0) | (low >= source - 1)] = 0.0
    high, second = np.clip(low + 1, 0, source - 1), np.rint(part * np.float32(ONE)).astype(np.int32)
    first = np.rint((np.float32(1) - part) * np.float32(ONE)).astype(np.int32)
    return np.clip(low, 0, source - 1), high, first, second
