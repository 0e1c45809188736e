"""Low-resolution masks that end where a box does."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from gsam.results.masks.low_res import LowResMasks


@dataclasses.dataclass(frozen=True, eq=False)
class BoxClippedMasks:
    """N masks, each enlarged and then cut to its box: FastSAM's, whose logits mean nothing outside.

    A pixel is inside where ``x0 <= x < x1`` and ``y0 <= y < y1``, boxes unrounded.
    """

    whole: LowResMasks
    """The masks before they are cut."""
    xyxy: NDArray[np.float32]
    """[N, 4] pixels of the image."""

    @classmethod
    def of(
        cls,
        logits: NDArray[np.float32],
        cells: tuple[int, int],
        size: tuple[int, int],
        xyxy: NDArray[np.float32],
        threshold: float = 0.0,
    ) -> BoxClippedMasks:
        """Make masks from logits [N, h, w] of an image of ``size`` (height, width).

        The first ``cells`` rows and columns are the image.
        """
        rows, columns = cells
        low = LowResMasks(logits[:, :rows, :columns], max(size), size, size, threshold, "bilinear")
        return cls(low, np.asarray(xyxy, np.float32).reshape(-1, 4))

    def __len__(self) -> int:
        return len(self.whole)

    def __getitem__(self, rows: NDArray[np.int64]) -> BoxClippedMasks:
        return BoxClippedMasks(self.whole[rows], self.xyxy[rows].reshape(-1, 4))

    def logits_of(self, i: int) -> NDArray[np.float32]:
        """Return logits [H, W] of mask ``i``; outside its box 0, or less if the threshold is."""
        logits = self.whole.logits_of(i)
        rows, columns = self._box(i)
        out = np.full_like(logits, min(self.whole.threshold, 0.0))
        out[rows, columns] = logits[rows, columns]
        return out

    def mask_of(self, i: int) -> NDArray[np.bool_]:
        """[H, W] bool."""
        mask = self.whole.mask_of(i)
        rows, columns = self._box(i)
        out = np.zeros_like(mask)
        out[rows, columns] = mask[rows, columns]
        return out

    def logits_full(self) -> NDArray[np.float32]:
        """[N, H, W] float32."""
        out = np.empty((len(self), *self.whole.size), np.float32)
        for i in range(len(self)):
            out[i] = self.logits_of(i)
        return out

    def _box(self, i: int) -> tuple[slice, slice]:
        """The rows and columns whose first edge lies in the box."""
        x0, y0, x1, y1 = np.ceil(self.xyxy[i]).clip(0).astype(int).tolist()
        return slice(y0, max(y1, y0)), slice(x0, max(x1, x0))
