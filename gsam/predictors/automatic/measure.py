"""One mask at the size of its crop, looked at in bands on the host: stability, box and run lengths.

numpy only.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from gsam.ops.bounds import bounds
from gsam.ops.grid import Rectangle
from gsam.ops.resampling import BAND, Band, product
from gsam.results.masks.low_res import Upsampling, across_columns, bands, sigmoid


@dataclasses.dataclass(frozen=True)
class Frame:
    """The place of low-resolution logits over a crop."""

    source: tuple[int, int]
    """Rows and columns of the logits."""
    side: int
    """Side of the segmenter's square view in pixels."""
    content: tuple[int, int]
    """Rows and columns of the view that are picture."""
    size: tuple[int, int]
    """Height and width of the crop."""
    upsample: Upsampling
    cuts: tuple[float, float, float]
    """Logits above these are the large, the mask itself and the small area: mask_threshold -
    offset, + 0, + offset.
    """

    @property
    def axes(self) -> tuple[list[Band], list[Band]]:
        """Weights of rows and of columns."""
        rows = bands(self.source[0], self.side, self.content[0], self.size[0], self.upsample)
        return rows, bands(self.source[1], self.side, self.content[1], self.size[1], self.upsample)


@dataclasses.dataclass(frozen=True, eq=False)
class Measured:
    """Measures of a mask.  The part that may be set is kept, and its place."""

    large: int
    """Pixels above the lowest cut."""
    small: int
    """Pixels above the highest cut."""
    part: NDArray[np.bool_]
    """[h, w]: pixels above the middle cut."""
    corner: tuple[int, int]
    """Row and column of the part's upper left pixel."""

    @property
    def stability(self) -> np.float32:
        """Intersection over union of the mask cut too high and too low; not a number where there is
        nothing.
        """
        with np.errstate(invalid="ignore"):
            return np.float32(self.small) / np.float32(self.large)

    def box(self) -> Rectangle:
        """The outermost pixels, x0 y0 x1 y1, all inclusive as the original's; zeros where there are
        none.
        """
        return outermost(self.part, self.corner)


def measure(logits: NDArray[np.float32], frame: Frame) -> Measured:
    """Logits [h, w] as large as the crop, never more than a band of them at a time.

    Where every pixel is a weighted mean of low-resolution ones, only what touches one above the
    lowest cut is computed.
    """
    cuts = np.array(frame.cuts, np.float32)
    if frame.upsample == "probability":
        logits, cuts = sigmoid(logits), sigmoid(cuts)
    low, cut, high = cuts
    rows, columns = frame.axes
    if frame.upsample != "bicubic":  # which overshoots
        touched = logits > low
        tall, wide = touched.any(1), touched.any(0)
        rows = [band for band in rows if tall[band.source].any()]
        near = [i for i, band in enumerate(columns) if wide[band.source].any()]
        columns = columns[near[0] : near[-1] + 1] if near else []
    if not rows or not columns:
        return Measured(0, 0, np.zeros((0, 0), bool), (0, 0))
    top, left = rows[0].target.start, columns[0].target.start
    width = columns[-1].target.stop - left
    part = np.zeros((rows[-1].target.stop - top, width), bool)
    middle = across_columns(logits, columns)
    values, flags = np.empty((BAND, width), np.float32), np.empty((BAND, width), bool)
    large = small = 0
    for band in rows:
        n = band.target.stop - band.target.start
        value, flag = values[:n], flags[:n]
        product(band.weights, middle[band.source], value)
        large += int(np.count_nonzero(np.greater(value, low, out=flag)))
        small += int(np.count_nonzero(np.greater(value, high, out=flag)))
        np.greater(value, cut, out=part[band.target.start - top : band.target.stop - top])
    return Measured(large, small, part, (top, left))


def outermost(part: NDArray[np.bool_], corner: tuple[int, int]) -> Rectangle:
    """The outermost pixels of a mask that is ``part`` [h, w] at ``corner``, inclusive; zeros where
    there are none.
    """
    x0, y0, x1, y1 = bounds(part)
    y, x = corner
    return (x0 + x, y0 + y, x1 - 1 + x, y1 - 1 + y) if x1 else (0, 0, 0, 0)


def run_lengths(part: NDArray[np.bool_], corner: tuple[int, int], size: tuple[int, int]) -> NDArray[np.int64]:
    """A mask of ``size`` (H, W) that is ``part`` [h, w] at ``corner`` and empty elsewhere, as
    COCO's uncompressed counts.

    Columns one after the other, starting with how many pixels are not set.
    """
    (y, x), (height, width) = corner, size
    high, wide = part.shape
    lines = np.zeros((wide, height), bool)
    lines[:, y : y + high] = part.T
    flat = lines.reshape(-1)
    turns = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    if flat.size and flat[0]:
        turns = np.concatenate([[0], turns])
    if flat.size and flat[-1]:
        turns = np.concatenate([turns, [flat.size]])
    total = height * width
    turns = turns + x * height
    if len(turns) and turns[-1] == total:
        turns = turns[:-1]
    return np.diff(np.concatenate([[0], turns, [total]]))


def filled(counts: NDArray[np.int64], size: tuple[int, int]) -> NDArray[np.bool_]:
    """The inverse: [H, W] bool."""
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape(size[1], size[0]).T


def area(counts: NDArray[np.int64]) -> int:
    """Pixels set."""
    return int(counts[1::2].sum())
