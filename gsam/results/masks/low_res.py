"""Masks as the decoder gives them, made large only when somebody looks."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gsam.ops.resampling import Band, banded, bicubic, bilinear, product

Upsampling = Literal["view", "bilinear", "bicubic", "probability"]
"""Ways from [h, w] to [H, W].

``view``: bilinear to the view, the padding cut off, bilinear to the image (SAM). ``bilinear`` and
``bicubic``: at once, for a view without padding (SAM 2, EfficientSAM). ``probability``: like
``bilinear``, of the sigmoid (MedSAM).
"""


@dataclasses.dataclass(frozen=True, eq=False)
class LowResMasks:
    """N logit maps over a segmenter's square view, and how to bring them back to the image.

    Every way of `Upsampling` is linear in each axis (corners not aligned), so here it is one matrix
    an axis, of which only the band that is not zero is multiplied.
    """

    logits: NDArray[np.float32]
    """[N, h, w]."""
    side: int
    """Side of the square view, in pixels."""
    content: tuple[int, int]
    """Rows and columns of the view that are image."""
    size: tuple[int, int]
    """Height and width of the image."""
    threshold: float = 0.0
    """Threshold of logits, whatever is enlarged."""
    upsample: Upsampling = "view"

    def __len__(self) -> int:
        return len(self.logits)

    def __getitem__(self, rows: NDArray[np.int64]) -> LowResMasks:
        return dataclasses.replace(self, logits=self.logits[rows])

    def logits_of(self, i: int) -> NDArray[np.float32]:
        """Logits of mask ``i`` at the size of the image, [H, W]."""
        down, across = self.axes()
        out = np.empty(self.size, np.float32)
        middle = across_columns(self._source(i), across)
        for band in down:
            product(band.weights, middle[band.source], out[band.target])
        if self.upsample == "probability":  # back to logits, finite ones
            kind = np.finfo(np.float32)
            out = np.clip(out, kind.tiny, 1 - kind.epsneg)
            out = np.log(out / (1 - out))
        return out

    def mask_of(self, i: int) -> NDArray[np.bool_]:
        """[H, W] bool: logits above the threshold.

        Where every pixel is a weighted mean of low-resolution ones, only what touches one above the
        threshold is computed.
        """
        out = np.zeros(self.size, bool)
        source, threshold = self._source(i), self.threshold
        if self.upsample == "probability":
            threshold = float(sigmoid(np.full(1, threshold, np.float32))[0])
        high: Any = source > threshold
        if self.upsample == "bicubic":  # overshoots
            high = np.ones_like(high)
        down, across = (
            [band for band in axis if hit[band.source].any()]
            for axis, hit in zip(self.axes(), (high.any(1), high.any(0)), strict=True)
        )
        if not down or not across:
            return out
        across = [b for b in self.axes()[1] if across[0].target.start <= b.target.start <= across[-1].target.start]
        columns = slice(across[0].target.start, across[-1].target.stop)
        middle = across_columns(source, across)
        for band in down:
            values = np.empty((len(band.weights), middle.shape[1]), np.float32)
            product(band.weights, middle[band.source], values)
            np.greater(values, threshold, out=out[band.target, columns])
        return out

    def logits_full(self) -> NDArray[np.float32]:
        """[N, H, W] float32."""
        out = np.empty((len(self), *self.size), np.float32)
        for i in range(len(self)):
            out[i] = self.logits_of(i)
        return out

    def dense(self) -> NDArray[np.bool_]:
        """[N, H, W] bool."""
        out = np.empty((len(self), *self.size), bool)
        for i in range(len(self)):
            out[i] = self.mask_of(i)
        return out

    def axes(self) -> tuple[list[Band], list[Band]]:
        """Bands of the rows, and of the columns."""
        return (
            bands(self.logits.shape[1], self.side, self.content[0], self.size[0], self.upsample),
            bands(self.logits.shape[2], self.side, self.content[1], self.size[1], self.upsample),
        )

    def _source(self, i: int) -> NDArray[np.float32]:
        """The values [h, w] that are enlarged."""
        return sigmoid(self.logits[i]) if self.upsample == "probability" else self.logits[i]


def across_columns(logits: NDArray[np.float32], bands: Sequence[Band]) -> NDArray[np.float32]:
    """[h, w] -> [h, W], of consecutive bands."""
    start = bands[0].target.start
    out = np.empty((len(logits), bands[-1].target.stop - start), np.float32)
    for band in bands:
        there = slice(band.target.start - start, band.target.stop - start)
        product(logits[:, band.source], band.weights.T, out[:, there])
    return out


@functools.lru_cache(maxsize=32)
def bands(source: int, side: int, content: int, size: int, upsample: Upsampling) -> list[Band]:
    """Make the bands of ``source`` -> ``side``, whose first ``content`` -> ``size``; or at once."""
    if upsample == "view":
        matrix = bilinear(content, size) @ bilinear(source, side)[:content]
    else:
        matrix = (bicubic if upsample == "bicubic" else bilinear)(source, size)
    return banded(matrix)


def sigmoid(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Without overflow."""
    return np.exp(-np.logaddexp(np.float32(0), -x))
