"""Masks as the decoder gives them, made large only when somebody looks."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
from numpy.typing import NDArray


@dataclasses.dataclass(frozen=True, eq=False)
class LowResMasks:
    """N logit maps over a segmenter's square view, and how to bring them back to the picture.

    The original enlarges [h, w] to the view (bilinear, corners not aligned), cuts the padding off, and scales that to the
    picture (bilinear again).  Both are linear in each axis, so here they are one matrix an axis.
    """

    logits: NDArray[np.float32]
    """[N, h, w]."""
    side: int
    """Of the square view, in pixels."""
    content: tuple[int, int]
    """Rows and columns of the view that are picture."""
    size: tuple[int, int]
    """Height and width of the picture."""
    threshold: float = 0.0

    def __len__(self) -> int:
        return len(self.logits)

    def __getitem__(self, rows: NDArray[np.int64]) -> LowResMasks:
        return dataclasses.replace(self, logits=self.logits[rows])

    def logits_of(self, i: int) -> NDArray[np.float32]:
        """Logits of mask ``i`` at the size of the picture, [H, W]."""
        down, across = self._matrices()
        return down @ (self.logits[i] @ across.T)

    def mask_of(self, i: int) -> NDArray[np.bool_]:
        """[H, W] bool: logits above the threshold.

        Every pixel is a weighted mean of low-resolution ones, so only what touches one above the threshold is computed.
        """
        out = np.zeros(self.size, bool)
        logits = self.logits[i]
        high = logits > self.threshold
        if not high.any():
            return out
        down, across = self._matrices()
        rows, top, bottom = _touched(down, high.any(1))
        columns, left, right = _touched(across, high.any(0))
        part = down[top:bottom, rows] @ (logits[rows, columns] @ across[left:right, columns].T)
        np.greater(part, self.threshold, out=out[top:bottom, left:right])
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

    def _matrices(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        return (
            _matrix(self.logits.shape[1], self.side, self.content[0], self.size[0]),
            _matrix(self.logits.shape[2], self.side, self.content[1], self.size[1]),
        )


def _touched(matrix: NDArray[np.float32], high: NDArray[np.bool_]) -> tuple[slice, int, int]:
    """The inputs that matter and the span of outputs they reach: a slice, first, last + 1."""
    reached = np.flatnonzero((matrix[:, high] > 0).any(1))
    if not len(reached):
        return slice(0, 0), 0, 0
    first, last = int(reached[0]), int(reached[-1]) + 1
    used = np.flatnonzero((matrix[first:last] > 0).any(0))
    return slice(int(used[0]), int(used[-1]) + 1), first, last


@functools.lru_cache(maxsize=16)
def _matrix(source: int, side: int, content: int, size: int) -> NDArray[np.float32]:
    """[size, source]: ``source`` -> ``side``, the first ``content`` of it -> ``size``."""
    return (_bilinear(content, size) @ _bilinear(source, side)[:content]).astype(np.float32)


def _bilinear(source: int, size: int) -> NDArray[np.float64]:
    """torch's ``interpolate(mode="bilinear", align_corners=False)`` of one axis: [size, source]."""
    at = np.maximum((np.arange(size) + 0.5) * (source / size) - 0.5, 0.0)
    low = np.minimum(np.floor(at).astype(int), source - 1)
    high = np.minimum(low + 1, source - 1)
    out = np.zeros((size, source))
    np.add.at(out, (np.arange(size), low), 1 - (at - low))
    np.add.at(out, (np.arange(size), high), at - low)
    return out
