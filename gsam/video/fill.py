"""Small holes in low-resolution masks (sam2/utils/misc.py, fill_holes_in_mask_scores), on any machine."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label

FILLED = 0.1
"""The logit of what was a hole."""


def fill_holes(logits: NDArray[np.float32], area: int) -> NDArray[np.float32]:
    """Where at most ``area`` pixels that touch, also by a corner, are not above 0, they become `FILLED`: [h, w] -> [h, w].

    The original needs its CUDA extension for this, and without it leaves the holes.
    """
    out = np.array(logits, np.float32)
    if area <= 0 or not (out > 0).any():
        return out
    parts, count = label(out <= 0, np.ones((3, 3)))
    if count:
        sizes = np.bincount(parts.ravel())
        small = sizes <= area
        small[0] = False
        out[small[parts]] = FILLED
    return out
