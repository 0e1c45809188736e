"""Small holes filled and small islands dropped."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from gsam.ops.bounds import bounds

_EIGHT = np.ones((3, 3), bool)


def clean(mask: NDArray[np.bool_], least: float) -> tuple[NDArray[np.bool_], bool]:
    """A mask [H, W] without holes, then without islands of fewer than ``least`` pixels; and whether
    that changed it.

    Neighbours touch by sides or corners, holes too, and what is not mask at the picture's border
    counts as a hole like any other.  When all islands are small, the largest stays (the first, in
    reading order, of several).
    """
    filled, holes = _without(mask, least, "holes")
    kept, islands = _without(filled, least, "islands")
    return kept, holes or islands


def _without(
    mask: NDArray[np.bool_], least: float, kind: Literal["holes", "islands"]
) -> tuple[NDArray[np.bool_], bool]:
    x0, y0, x1, y1 = bounds(mask)
    # A region that leaves a window so much wider than the mask is not small, so nothing farther
    # away matters.
    margin = int(np.ceil(least)) if kind == "holes" else 0
    window = slice(max(y0 - margin, 0), y1 + margin), slice(max(x0 - margin, 0), x1 + margin)
    seen = mask[window]
    labels, count = ndimage.label(seen if kind == "islands" else ~seen, _EIGHT)
    sizes = np.bincount(labels.reshape(-1), minlength=count + 1)[1:]
    small = sizes < least
    if not small.any():
        return mask, False
    chosen = np.concatenate([[False], small if kind == "holes" else ~small])
    if kind == "islands" and small.all():
        chosen[1 + int(sizes.argmax())] = True
    out = mask.copy()
    if kind == "holes":
        out[window] |= chosen[labels]
    else:
        out[window] = chosen[labels]
    return out, True
