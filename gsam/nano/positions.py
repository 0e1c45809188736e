"""Positions that tell cells apart from the first step of training."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def sincos_positions(grid: int, width: int) -> NDArray[np.float64]:
    """Sines and cosines of row and column at geometric frequencies.

    Args:
        grid: Cells per side.
        width: Channels; what four does not divide stays zero.

    Returns:
        [grid * grid, width], row by row.
    """
    quarter = width // 4
    rate = np.pi * (grid / 2) ** (np.arange(quarter) / max(quarter - 1, 1))
    line = (np.arange(grid) + 0.5) / grid
    angle = line[:, None] * rate  # [grid, quarter]
    wave = np.concatenate([np.sin(angle), np.cos(angle)], 1)
    y, x = np.repeat(wave, grid, 0), np.tile(wave, (grid, 1))
    out = np.zeros((grid * grid, width))
    out[:, : 4 * quarter] = np.concatenate([y, x], 1)
    return out
