"""Low-resolution masks of which some lie over a window of the image, made large when asked for."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
from numpy.typing import NDArray

from gsam.ops.resampling import Band, banded, product
from gsam.results.masks.low_res import LowResMasks, across_columns, sigmoid


@dataclasses.dataclass(frozen=True, eq=False)
class WindowedMasks:
    """N masks, those that were looked at twice each over a window of its own.

    What lies outside of a window is not mask.
    """

    whole: LowResMasks
    """The logits, and the way of those that lie over the view."""
    windows: NDArray[np.float32]
    """[N, 4] x0 y0 x1 y1 in pixels of the image; empty (``x1 <= x0``) for one over the view."""

    def __len__(self) -> int:
        return len(self.whole)

    def __getitem__(self, rows: NDArray[np.int64]) -> WindowedMasks:
        return WindowedMasks(self.whole[rows], self.windows[rows].reshape(-1, 4))

    def mask_of(self, i: int) -> NDArray[np.bool_]:
        """[H, W] bool: logits above the threshold."""
        if not self._windowed(i):
            return self.whole.mask_of(i)
        out = np.zeros(self.whole.size, bool)
        place, values = self._values(i)
        threshold = np.float32(self.whole.threshold)
        if self.whole.upsample == "probability":
            threshold = sigmoid(np.full(1, threshold, np.float32))[0]
        out[place] = values > threshold
        return out

    def logits_of(self, i: int) -> NDArray[np.float32]:
        """Logits of mask ``i`` at the size of the image, [H, W]; outside of its window its lowest,
        or the threshold if that is less.
        """
        if not self._windowed(i):
            return self.whole.logits_of(i)
        low = min(self.whole.threshold, float(self.whole.logits[i].min()))
        out = np.full(self.whole.size, low, np.float32)
        place, values = self._values(i)
        if self.whole.upsample == "probability":  # back to logits, finite ones
            kind = np.finfo(np.float32)
            values = np.clip(values, kind.tiny, 1 - kind.epsneg)
            values = np.log(values / (1 - values))
        out[place] = values
        return out

    def logits_full(self) -> NDArray[np.float32]:
        """[N, H, W] float32."""
        out = np.empty((len(self), *self.whole.size), np.float32)
        for i in range(len(self)):
            out[i] = self.logits_of(i)
        return out

    def dense(self) -> NDArray[np.bool_]:
        """[N, H, W] bool."""
        out = np.empty((len(self), *self.whole.size), bool)
        for i in range(len(self)):
            out[i] = self.mask_of(i)
        return out

    def _windowed(self, i: int) -> bool:
        return bool(self.windows[i, 2] > self.windows[i, 0])

    def _values(self, i: int) -> tuple[tuple[slice, slice], NDArray[np.float32]]:
        """The pixels whose centres lie in window ``i``, and what is enlarged there."""
        x0, y0, x1, y1 = (float(v) for v in self.windows[i])
        height, width = self.whole.size
        rows, down = _axis(y0, y1, height, self.whole.logits.shape[1])
        columns, across = _axis(x0, x1, width, self.whole.logits.shape[2])
        source = self.whole.logits[i]
        if self.whole.upsample == "probability":
            source = sigmoid(source)
        values = np.empty((rows.stop - rows.start, columns.stop - columns.start), np.float32)
        if values.size:
            middle = across_columns(source, across)
            for band in down:
                product(band.weights, middle[band.source], values[band.target])
        return (rows, columns), values


@functools.lru_cache(maxsize=256)
def _axis(low: float, high: float, size: int, cells: int) -> tuple[slice, list[Band]]:
    """The pixels of an axis of ``size`` whose centres lie from ``low`` to ``high``, and the weights
    [pixels, cells] of which each is made: linear between cells, their mean where they are smaller
    than pixels.
    """
    first, last = max(int(np.ceil(low - 0.5)), 0), min(int(np.ceil(high - 0.5)), size)
    first, last = min(first, size), max(last, min(first, size))
    scale = cells / (high - low)
    centre = (np.arange(first, last) + 0.5 - low) * scale
    distance = np.abs(np.arange(cells) + 0.5 - centre[:, None]) / max(scale, 1.0)
    weights = np.maximum(1.0 - distance, 0.0)
    weights /= np.maximum(weights.sum(1, keepdims=True), 1e-12)
    return slice(first, last), banded(weights.astype(np.float32))
