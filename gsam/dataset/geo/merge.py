"""Objects of a raster, put together from what overlapping tiles show of them.

The rules are those of `gsam.pipeline.tile`, for any number of tiles: masks stay run lengths, only
neighbours are compared, and pixels are looked at in frames of bounded size.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gsam.ops.suppression import MEMBER
from gsam.pipeline.limits import Limits
from gsam.pipeline.tile import EDGE, SAME, Rectangle
from gsam.results.masks.rle import decode

WHOLE = 0.9
"""A sight shows an object whole if it has this share of all that others add to it."""
BLOCK = 2048
"""Side, in pixels, of the frames in which large objects are compared."""


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Piece:
    """One sight of an object, in one tile; all in pixels of the raster."""

    tile: int
    """Which tile."""
    view: Rectangle
    """The tile's rows and columns."""
    label: int
    """Which label."""
    score: float
    quality: float
    """Score of the mask."""
    area: Rectangle
    """Rows and columns of the mask."""
    pixels: int
    """Pixels of the mask."""
    counts: str
    """The mask over ``area``, as COCO run lengths."""

    def paint(self, frame: Rectangle, onto: NDArray[Any], value: int = 1) -> None:
        """Set the mask's pixels.

        Args:
            frame: Rows and columns that are seen.
            onto: [H, W] of the frame.
            value: Is set.
        """
        shared = both(frame, self.area)
        if shared is None:
            return
        y0, x0, y1, x1 = shared
        top, left, bottom, right = self.area
        mask = _decoded(self.counts, bottom - top, right - left)
        onto[y0 - frame[0] : y1 - frame[0], x0 - frame[1] : x1 - frame[1]][
            mask[y0 - top : y1 - top, x0 - left : x1 - left]
        ] = value

    def within(self, frame: Rectangle) -> NDArray[np.bool_]:
        """The mask over a frame."""
        return painted([self], frame)

    def cut(self, size: tuple[int, int]) -> bool:
        """Whether an edge of the tile inside the raster (height, width) may cut it."""
        side = max(self.view[2] - self.view[0], self.view[3] - self.view[1])
        near = max(EDGE, side // 256 + 1)  # a mask's own resolution
        outer = (0, 0, *size)
        return any(
            edge != end and abs(edge - own) <= near for edge, end, own in zip(self.view, outer, self.area, strict=True)
        )


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Thing:
    """An object: the union of pieces."""

    pieces: tuple[Piece, ...]
    label: int
    score: float
    quality: float
    area: Rectangle
    """Rows and columns."""
    pixels: int
    """Pixels of the mask."""

    @classmethod
    def of(cls, pieces: Sequence[Piece], best: Piece) -> Thing:
        """Join pieces, with label and scores of the best sight."""
        area = around([p.area for p in pieces])
        pixels = pieces[0].pixels
        if len(pieces) > 1:
            pixels = sum(int(np.count_nonzero(painted(pieces, f))) for f in frames(area, [pieces]))
        return cls(tuple(pieces), best.label, best.score, best.quality, area, pixels)


def painted(pieces: Sequence[Piece], frame: Rectangle) -> NDArray[np.bool_]:
    """The union of pieces over a frame [H, W]."""
    out = np.zeros((frame[2] - frame[0], frame[3] - frame[1]), bool)
    for piece in pieces:
        piece.paint(frame, out)
    return out


def merge(pieces: Sequence[Piece], size: tuple[int, int], limits: Limits) -> list[Thing]:
    """Put objects together from pieces.

    Args:
        pieces: From all tiles.
        size: Height and width of the raster.
        limits: ``nms``, ``inside`` and ``group`` count.

    Returns:
        The objects, best first; of equal scores the upper left one.
    """
    things = [_one(same, size) for same in _clusters(pieces, size)]
    things.sort(key=lambda t: (-t.score, t.area, t.label))
    return _suppressed(things, limits)


def _clusters(pieces: Sequence[Piece], size: tuple[int, int]) -> list[list[Piece]]:
    parent = list(range(len(pieces)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for i, j in _touching(pieces):
        if pieces[i].tile != pieces[j].tile and root(i) != root(j) and _agree(pieces[i], pieces[j], size):
            low, high = sorted((root(i), root(j)))
            parent[high] = low
    groups: dict[int, list[Piece]] = {}
    for i, one in enumerate(pieces):
        groups.setdefault(root(i), []).append(one)
    return list(groups.values())


def _touching(areas: Sequence[Piece] | Sequence[Thing]) -> Iterator[tuple[int, int]]:
    """Pairs of one label whose rectangles share pixels, in order."""
    if not areas:
        return
    import shapely

    labels = np.asarray([one.label for one in areas])
    corners = np.asarray([one.area for one in areas], float)
    inner = corners + np.array([0.25, 0.25, -0.25, -0.25])  # rectangles that share an edge alone do not meet
    boxes = shapely.box(inner[:, 1], inner[:, 0], inner[:, 3], inner[:, 2])
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        tree = shapely.STRtree(boxes[rows])
        for start in range(0, len(rows), 10_000):  # pairs are many
            some = rows[start : start + 10_000]
            one, other = tree.query(boxes[some], predicate="intersects")
            pairs = np.stack([some[one], rows[other]], 1)
            pairs = pairs[pairs[:, 0] < pairs[:, 1]]
            yield from (tuple(pair) for pair in pairs[np.lexsort(pairs.T[::-1])].tolist())


def _agree(a: Piece, b: Piece, size: tuple[int, int]) -> bool:
    """Whether two sights are of one object, by their masks where both tiles look.

    They are if they have most of both in common; or if a tile cuts one, and most of it is in the
    other: a tile may show two ends of what is one thing in the next, and masks are least sure
    near a tile's edge.
    """
    common = both(a.view, b.view)
    frame = None if common is None else both(common, around([a.area, b.area]))
    if frame is None:
        return False
    one, two = a.within(frame), b.within(frame)
    shared, either = int(np.count_nonzero(one & two)), int(np.count_nonzero(one | two))
    if not shared:
        return False
    if shared > SAME * either:
        return True
    return any(piece.cut(size) and shared > SAME * np.count_nonzero(seen) for piece, seen in ((a, one), (b, two)))


def _one(same: list[Piece], size: tuple[int, int]) -> Thing:
    """The best sight that shows an object whole, else all sights joined."""
    best = max(same, key=lambda p: p.score)
    if len(same) == 1:
        return Thing.of(same, best)
    entire = max((p for p in same if not p.cut(size)), key=lambda p: p.pixels, default=None)
    if entire is not None:
        outside = sum(p.pixels - int(np.count_nonzero(p.within(entire.view))) for p in same if p is not entire)
        if entire.pixels >= WHOLE * (int(np.count_nonzero(painted(same, entire.view))) + outside):
            return Thing.of([entire], best)
    return Thing.of(same, best)


def _suppressed(things: Sequence[Thing], limits: Limits) -> list[Thing]:
    """Those of things, best first, that stay: the rules of `gsam.ops.suppression`, pair by pair."""
    clash: dict[int, list[int]] = {}
    members: dict[int, list[int]] = {}
    for i, j in _touching(things):
        a, b = things[i], things[j]
        shared = _shared(a, b)
        if not shared:
            continue
        less, more = sorted((a.pixels, b.pixels))
        if shared > limits.nms * (less + more - shared) or shared > limits.inside * less:
            clash.setdefault(i, []).append(j)  # i < j: the better one
        large = j if a.pixels < b.pixels else i
        if less < MEMBER * more and shared > MEMBER * less:
            members.setdefault(large, []).append(shared)
    stays = np.ones(len(things), bool)
    for i, inside in members.items():
        stays[i] = not (len(inside) >= 2 and sum(inside) > limits.group * things[i].pixels and limits.group < 1)
    for i in range(len(things)):
        if stays[i]:
            stays[clash.get(i, [])] = False
    return [thing for thing, stay in zip(things, stays, strict=True) if stay]


def _shared(a: Thing, b: Thing) -> int:
    frame = both(a.area, b.area)
    assert frame is not None
    return sum(
        int(np.count_nonzero(painted(a.pieces, part) & painted(b.pieces, part)))
        for part in frames(frame, [a.pieces, b.pieces])
    )


def frames(area: Rectangle, sets: Sequence[Sequence[Piece]], side: int = BLOCK) -> Iterator[Rectangle]:
    """Cut a rectangle into frames, and give those which every set of pieces reaches."""
    rectangles = [np.asarray([p.area for p in pieces]) for pieces in sets]
    for top in range(area[0], area[2], side):
        for left in range(area[1], area[3], side):
            bottom, right = min(top + side, area[2]), min(left + side, area[3])
            if all(
                ((r[:, 0] < bottom) & (r[:, 2] > top) & (r[:, 1] < right) & (r[:, 3] > left)).any() for r in rectangles
            ):
                yield top, left, bottom, right


def both(a: Rectangle, b: Rectangle) -> Rectangle | None:
    """The rectangle that two share, if they do."""
    top, left, bottom, right = max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])
    return (top, left, bottom, right) if bottom > top and right > left else None


def around(areas: Sequence[Rectangle]) -> Rectangle:
    """The rectangle around some."""
    low, high = np.min([a[:2] for a in areas], 0), np.max([a[2:] for a in areas], 0)
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


@functools.lru_cache(maxsize=64)
def _decoded(counts: str, height: int, width: int) -> NDArray[np.bool_]:
    return decode({"size": [height, width], "counts": counts})
