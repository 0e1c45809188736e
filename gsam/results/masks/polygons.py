"""Masks as polygons whose outlines pass between pixel centres, so that filling them gives the mask.

Coordinates are in pixels, x first; the centre of the first pixel is (0.5, 0.5).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Ring: TypeAlias = NDArray[np.float64]
"""[P, 2], x y; the last point is not the first again."""
Polygon: TypeAlias = list[Ring]
"""The outline of one part, and those of its holes."""


def outlines(mask: NDArray[np.bool_]) -> list[Polygon]:
    """Trace a mask: a polygon for each part that hangs together, its holes kept.

    Args:
        mask: [H, W] bool.

    Returns:
        Polygons which `filled` turns into the same mask, as does any program that takes the pixels
        whose centres are inside, pycocotools among them.
    """
    import contourpy

    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return []
    y0, x0 = rows[0], columns[0]
    seen = np.pad(mask[y0 : rows[-1] + 1, x0 : columns[-1] + 1], 1).astype(np.float32)
    tracer = contourpy.contour_generator(z=seen, fill_type=contourpy.FillType.OuterOffset)
    found: Any = tracer.filled(0.5, 2.0)
    corner = np.array([x0, y0]) - 0.5
    return [
        [_straightened(ring[a : b - 1] + corner) for a, b in itertools.pairwise(at)]
        for ring, at in zip(*found, strict=True)
    ]


def filled(polygons: Sequence[Sequence[Ring]], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Fill polygons as pycocotools does.

    Args:
        polygons: Each the outline of a part and those of its holes, [P, 2] with P at least 3.
        size: Height and width of the mask.

    Returns:
        [H, W] bool.
    """
    height, width = size
    found = np.zeros(size, bool)
    for outline, *holes in polygons:
        part = _fill(outline, height, width)
        for hole in holes:
            part &= ~_fill(hole, height, width)
        found |= part
    return found


def bridged(polygon: Sequence[Ring]) -> Ring:
    """Join the outline of a part and those of its holes, or of other parts, into one ring.

    Slits of no width lead from the outline to each of the others.

    Args:
        polygon: The outline, and the other rings.

    Returns:
        [P, 2]; filled by any rule that counts crossings, it is the same mask.
    """
    from scipy.spatial import KDTree

    outline, *others = polygon
    if not others:
        return outline
    tree, slits = KDTree(outline), []
    for i, ring in enumerate(others):
        away, nearest = tree.query(ring)
        of = int(np.argmin(away))
        slits.append((int(nearest[of]), i, of))
    pieces, start = [], 0
    for at, i, of in sorted(slits):
        pieces += [outline[start : at + 1], others[i][of:], others[i][: of + 1]]
        start = at
    return np.concatenate([*pieces, outline[start:]])


def _fill(ring: Ring, height: int, width: int) -> NDArray[np.bool_]:
    from pycocotools import mask as coco

    runs = coco.frPyObjects([np.asarray(ring, np.float64).ravel().tolist()], height, width)
    return coco.decode(runs)[:, :, 0].astype(bool)


def _straightened(ring: Ring) -> Ring:
    """Without the points between others on one line."""
    before, after = np.roll(ring, 1, 0) - ring, np.roll(ring, -1, 0) - ring
    turns = before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]
    return ring[turns]
