"""Masks at full size, each kept as the rectangle it fills."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray


@dataclasses.dataclass(frozen=True, eq=False)
class CroppedMasks:
    """N masks of one picture: what tiles found, put together."""

    corners: NDArray[np.int64]
    """[N, 2] row and column of each part's upper left pixel."""
    parts: list[NDArray[np.bool_]]
    """[h, w] each."""
    size: tuple[int, int]
    """Height and width of the image."""

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, rows: NDArray[np.int64]) -> CroppedMasks:
        return CroppedMasks(self.corners[rows].reshape(-1, 2), [self.parts[i] for i in rows], self.size)

    def mask_of(self, i: int) -> NDArray[np.bool_]:
        """[H, W] bool."""
        out = np.zeros(self.size, bool)
        (y, x), part = self.corners[i], self.parts[i]
        out[y : y + part.shape[0], x : x + part.shape[1]] = part
        return out

    def logits_full(self) -> NDArray[np.float32]:
        """There are none.  Raises `ValueError`."""
        raise ValueError("masks put together from tiles have no logits: ask for the picture without tiles")
