"""The bounding rectangle of a mask.  numpy only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gsam.ops.grid import Rectangle


def bounds(mask: NDArray[np.bool_]) -> Rectangle:
    """Return the smallest rectangle that holds a mask.

    Args:
        mask: [H, W] bool.

    Returns:
        ``x0 y0 x1 y1`` in pixels, exclusive right and bottom; zeros for an empty mask.
    """
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return 0, 0, 0, 0
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
