"""Masks as small shapes: their coverage of coarse cells, and outlines for a page.

Both are read off the run lengths, so a mask of any size needs no more memory than its runs.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gsam.results.masks.rle import Rle, lengths

UNIT = 4
"""Outlines are in such parts of a pixel of the thumbnail."""
TOLERANCE = 0.4
"""Outlines may be off by so many pixels of the thumbnail."""
SAMPLES = 3
"""Columns of a mask that are looked at for each column of cells, at most."""

Floats = NDArray[np.float64]


class Runs:
    """A mask that can be asked for its coverage of any cells.

    Args:
        rle: The mask.

    Raises:
        ValueError: It is no mask.
    """

    def __init__(self, rle: Rle) -> None:
        runs = lengths(rle)
        self.height, self.width = (int(side) for side in rle["size"])
        ends = np.cumsum(runs)
        self.box = self._bounds((ends - runs)[1::2], ends[1::2])
        """x0 y0 x1 y1 in pixels, exclusive right and bottom; all zero for an empty mask."""
        inside = np.where(np.arange(len(runs)) % 2, runs, 0)
        self._at = np.concatenate([[0], ends]).astype(np.float64)
        self._pixels = np.concatenate([[0], np.cumsum(inside)]).astype(np.float64)

    def _bounds(self, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> tuple[int, int, int, int]:
        full = ends > starts
        first, last = starts[full], ends[full] - 1
        if not len(first):
            return 0, 0, 0, 0
        over = (first // self.height < last // self.height).any()  # a run goes on in the next column
        y0, y1 = (0, self.height - 1) if over else ((first % self.height).min(), (last % self.height).max())
        return int(first[0]) // self.height, int(y0), int(last[-1]) // self.height + 1, int(y1) + 1

    def coverage(self, rows: Floats, columns: Floats) -> Floats:
        """Return the share of each cell that the mask covers.

        Args:
            rows: [h + 1] ascending edges of cells in pixels, within the mask.
            columns: [w + 1] edges likewise.

        Returns:
            [h, w], 0 to 1; exact along columns, of up to `SAMPLES` columns across.
        """
        left, right = (edges.clip(self.box[0], self.box[2]) for edges in (columns[:-1], columns[1:]))
        wide = right - left  # the part of each cell where the mask can be, so that thin ones are not missed
        count = int(np.clip(np.ceil(wide.max(initial=1) - 1e-9), 1, SAMPLES))
        part = (np.arange(count) + 0.5) / count
        taken = np.floor(left[:, None] + wide[:, None] * part).clip(0, self.width - 1)  # [w, count]
        before = np.interp(taken[..., None] * self.height + rows, self._at, self._pixels)  # [w, count, h + 1]
        found = (np.diff(before, axis=2) / np.diff(rows)).mean(1).T
        return np.asarray(found * (wide / np.diff(columns)))


def outline(runs: Runs, height: int, width: int) -> str:
    """Trace a mask as an SVG path over a thumbnail.

    Args:
        runs: The mask.
        height: Of the thumbnail in pixels, at most the mask's.
        width: Likewise.

    Returns:
        Closed rings to be filled by ``evenodd``, in parts of a pixel (`UNIT`); "" for an empty
        mask.
    """
    import contourpy

    down, across = runs.height / height, runs.width / width
    x0, y0, x1, y1 = runs.box
    if x1 <= x0 or y1 <= y0:
        return ""
    left, top = int(x0 / across), int(y0 / down)
    right, bottom = min(int(np.ceil(x1 / across)), width), min(int(np.ceil(y1 / down)), height)
    rows = np.minimum(np.arange(top, bottom + 1) * down, runs.height)
    columns = np.minimum(np.arange(left, right + 1) * across, runs.width)
    seen = np.pad(runs.coverage(rows, columns), 1)
    level = min(0.5, float(seen.max()) / 2)  # what is smaller than a pixel is seen too
    if level <= 0:
        return ""
    tracer = contourpy.contour_generator(z=seen, fill_type=contourpy.FillType.OuterOffset)
    found: Any = tracer.filled(level, 2.0)
    corner = np.array([left, top]) - 0.5
    pieces = []
    for ring, at in zip(*found, strict=True):
        pieces += [_path(ring[a : b - 1] + corner) for a, b in itertools.pairwise(at)]
    return "".join(pieces)


def simplified(ring: Floats, tolerance: float) -> Floats:
    """Leave out points of a ring that hardly change it (Douglas and Peucker, 1973).

    Args:
        ring: [P, 2]; the last point is not the first again.
        tolerance: Distance by which the ring may move.

    Returns:
        [Q, 2], some of the points in their order.
    """
    far = int(np.argmax(((ring - ring[0]) ** 2).sum(1)))
    closed = np.concatenate([ring, ring[:1]])
    keep = np.zeros(len(closed), bool)
    ends = np.unique([0, far, len(ring)])
    keep[ends] = True
    spans = np.stack([ends[:-1], ends[1:]], 1)
    while len(spans := spans[spans[:, 1] - spans[:, 0] > 1]):  # all spans of a depth at once
        split, away = _farthest(closed, spans)
        spans, split = spans[away > tolerance], split[away > tolerance]
        keep[split] = True
        spans = np.concatenate([np.stack([spans[:, 0], split], 1), np.stack([split, spans[:, 1]], 1)])
        spans = spans[np.argsort(spans[:, 0])]
    return ring[keep[:-1]]


def _farthest(points: Floats, spans: NDArray[np.int64]) -> tuple[NDArray[np.int64], Floats]:
    """The point between the ends of each span [N, 2] that is farthest from their line, and its
    distance; spans ascend, have points between their ends, and share at most ends.
    """
    first, last = spans.T
    counts = last - first - 1
    starts = np.cumsum(counts) - counts
    of = np.repeat(np.arange(len(spans)), counts)
    at = np.arange(len(of)) - starts[of] + first[of] + 1
    way, between = (points[last] - points[first])[of], points[at] - points[first][of]
    long = np.hypot(*way.T)
    across = np.abs(between[:, 0] * way[:, 1] - between[:, 1] * way[:, 0])
    away = np.where(long > 0, across / np.where(long > 0, long, 1), np.hypot(*between.T))
    most = np.maximum.reduceat(away, starts)
    hit = np.flatnonzero(away == most[of])
    return at[hit[np.searchsorted(hit, starts)]], most


def _path(ring: Floats) -> str:
    """Write a ring with steps from point to point, which are short numbers."""
    points = np.round(simplified(ring, TOLERANCE) * UNIT).astype(int)
    steps = np.diff(points, axis=0)
    steps = steps[steps.any(1)]
    if len(steps) < 2:
        points, steps = np.round(ring[:1] * UNIT).astype(int), np.array([[2, 0], [0, 2], [-2, 0]])
    numbers = " ".join(f"{x} {y}" for x, y in steps.tolist()).replace(" -", "-")
    return f"M{points[0][0]} {points[0][1]}l{numbers}z"
