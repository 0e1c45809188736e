"""Large pictures in overlapping tiles, and what the tiles found put together by where their masks
agree.

Tiles show small things large; the whole picture, looked at as well, shows large things whole.
"""

from __future__ import annotations

import dataclasses
import itertools
import warnings
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from gsam.inputs.image import Picture
from gsam.ops.bounds import bounds
from gsam.ops.suppression import contained, keep_best, surrounds_group
from gsam.pipeline.limits import Limits
from gsam.results.result import CroppedMasks, Result

SAME = 0.5
"""Masks of two tiles are one thing when, where both tiles look, their IoU is above this."""
EDGE = 2
"""A mask that comes so near (pixels) to a tile's edge inside the picture may be cut by it."""

Rectangle = tuple[int, int, int, int]
"""Rows and columns: top, left, bottom, right."""


@dataclasses.dataclass(frozen=True, eq=False)
class TileDetection:
    """One thing in one tile, in pixels of the picture."""

    tile: Rectangle
    label: int
    """The first query with its label."""
    score: float
    quality: float
    box: NDArray[np.float32]
    area: Rectangle
    mask: NDArray[np.bool_]
    """Over ``area``."""
    row: int
    """Which of the rows of the tile's result it is."""
    source: int
    """Which tile."""

    def within(self, frame: Rectangle) -> NDArray[np.bool_]:
        """The mask over a frame."""
        top, left, bottom, right = frame
        out = np.zeros((bottom - top, right - left), bool)
        both = _both(frame, self.area)
        if both is not None:
            y0, x0, y1, x1 = both
            part = self.mask[y0 - self.area[0] : y1 - self.area[0], x0 - self.area[1] : x1 - self.area[1]]
            out[y0 - top : y1 - top, x0 - left : x1 - left] = part
        return out

    def whole(self, size: tuple[int, int]) -> bool:
        """Whether no inner edge of the tile cuts it."""
        inner = (0, 0, *size)
        return all(
            side == edge or abs(side - own) > EDGE for side, edge, own in zip(self.tile, inner, self.area, strict=True)
        )


def tiles(size: tuple[int, int], tile: int, overlap: float) -> list[Rectangle]:
    """Rectangles of at most ``tile`` pixels a side that cover a picture (h, w), evenly, sharing
    ``overlap`` of a side or more.
    """
    if not 0 <= overlap < 1:
        raise ValueError(f"overlap is the share of a tile that the next one sees too, 0 to 1, not {overlap}")

    def starts(side: int) -> list[int]:
        if side <= tile:
            return [0]
        count = int(np.ceil((side - tile) / max(tile * (1 - overlap), 1.0))) + 1
        return [round(v) for v in np.linspace(0, side - tile, count)]

    height, width = size
    return [
        (y, x, min(y + tile, height), min(x + tile, width)) for y, x in itertools.product(starts(height), starts(width))
    ]


def cut(picture: Picture, rectangles: Sequence[Rectangle]) -> list[Picture]:
    """The tiles as pictures."""
    return [Picture(np.ascontiguousarray(picture.pixels[y0:y1, x0:x1]), picture.name) for y0, x0, y1, x1 in rectangles]


def by_tiles(
    picture: Picture, limits: Limits, batch_size: int, find: Callable[[Sequence[Picture]], list[Result]]
) -> Result:
    """Find things in an image as a whole and in tiles, ``batch_size`` of them at a time.

    A tile is cut out when its turn comes, and not kept.
    """
    height, width = picture.pixels.shape[:2]
    rectangles = [(0, 0, height, width), *tiles((height, width), limits.tile, limits.overlap)]
    results: list[Result] = []
    for start in range(0, len(rectangles), batch_size):
        for result in find(cut(picture, rectangles[start : start + batch_size])):
            empty = np.broadcast_to(np.uint8(0), result.pixels.shape)
            results.append(dataclasses.replace(result, pixels=empty))
    return merge(picture, rectangles, results, limits)


def merge(
    picture: Picture,
    rectangles: Sequence[Rectangle],
    results: Sequence[Result],
    limits: Limits,
) -> Result:
    """The results of tiles (and of the whole picture, a tile like the others) as one of the
    picture.

    ``limits.boxes`` counts per tile; where a tile has so many, a warning says that it may have
    more.
    """
    size = (picture.pixels.shape[0], picture.pixels.shape[1])
    found = [f for i, (r, tile) in enumerate(zip(results, rectangles, strict=True)) for f in _found(r, tile, i)]
    things = [_one(same, size) for same in _clusters(found)]
    things = _suppressed(sorted(things, key=lambda f: -f.score), limits)
    full = sum(len(result) >= limits.boxes for result in results)
    if full:
        told = f"{picture.name or 'this picture'}: {full} of {len(results)} tiles hold {limits.boxes} boxes, the most"
        warnings.warn(f"{told}: more may be there; load with more boxes, or take smaller tiles", stacklevel=4)
    rows = [(f.source, f.row) for f in things]
    first = results[0]
    return dataclasses.replace(
        first,
        image=picture.name,
        pixels=picture.pixels,
        xyxy=np.asarray([f.box for f in things], np.float32).reshape(-1, 4),
        label_ids=np.asarray([results[i].label_ids[row] for i, row in rows], np.int64),
        labels=[results[i].labels[row] for i, row in rows],
        scores=np.asarray([f.score for f in things], np.float32),
        mask_scores=np.asarray([f.quality for f in things], np.float32),
        low_res=CroppedMasks(
            np.asarray([f.area[:2] for f in things], np.int64).reshape(-1, 2), [f.mask for f in things], size
        ),
        token_scores=_tokens(results, rows),
    )


def _found(result: Result, tile: Rectangle, source: int) -> list[TileDetection]:
    top, left = tile[:2]
    found = []
    words = result.query_labels or result.queries
    for row in range(len(result)):
        mask = result.mask(row)
        x0, y0, x1, y1 = bounds(mask)
        if not x1:
            continue
        found.append(
            TileDetection(
                tile,
                words.index(words[result.label_ids[row]]),
                float(result.scores[row]),
                float(result.mask_scores[row]),
                result.xyxy[row] + np.asarray([left, top, left, top], np.float32),
                (top + y0, left + x0, top + y1, left + x1),
                mask[y0:y1, x0:x1].copy(),
                row,
                source,
            )
        )
    return found


def _clusters(found: Sequence[TileDetection]) -> list[list[TileDetection]]:
    """Things seen by several tiles, found by agreeing in pairs."""
    parent = list(range(len(found)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for i, j in _touching(found):
        if found[i].source != found[j].source and root(i) != root(j) and _agree(found[i], found[j]):
            parent[root(j)] = root(i)
    groups: dict[int, list[TileDetection]] = {}
    for i, one in enumerate(found):
        groups.setdefault(root(i), []).append(one)
    return list(groups.values())


def _touching(found: Sequence[TileDetection]) -> list[tuple[int, int]]:
    """Pairs of one label whose rectangles meet."""
    if not found:
        return []
    areas, labels = np.asarray([f.area for f in found]), np.asarray([f.label for f in found])
    low = np.maximum(areas[:, None, :2], areas[None, :, :2])
    high = np.minimum(areas[:, None, 2:], areas[None, :, 2:])
    meets = (high > low).all(-1) & (labels[:, None] == labels[None])
    return [(int(i), int(j)) for i, j in np.argwhere(np.triu(meets, 1))]


def _agree(a: TileDetection, b: TileDetection) -> bool:
    common = _both(a.tile, b.tile)
    if common is None:
        return False
    frame = _both(common, _around([a.area, b.area]))
    if frame is None:
        return False
    one, two = a.within(frame), b.within(frame)
    either = np.count_nonzero(one | two)
    return bool(either > 0 and np.count_nonzero(one & two) > SAME * either)


def _one(same: list[TileDetection], size: tuple[int, int]) -> TileDetection:
    """Choose the finest of several sights of one thing that shows it whole, else join all."""
    best = max(same, key=lambda f: f.score)
    if len(same) == 1:
        return best
    if entire := [f for f in same if f.whole(size)]:
        finest = min(entire, key=lambda f: (_pixels(f.tile), -f.score))
        return dataclasses.replace(finest, score=best.score)
    area = _around([f.area for f in same])
    mask = np.logical_or.reduce([f.within(area) for f in same])
    boxes = np.stack([f.box for f in same])
    box = np.concatenate([boxes[:, :2].min(0), boxes[:, 2:].max(0)])
    return dataclasses.replace(best, box=box, area=area, mask=mask)


def _suppressed(things: list[TileDetection], limits: Limits) -> list[TileDetection]:
    """Best first; the rules of `gsam.ops.suppression`, on whole masks."""
    pixels = np.asarray([np.count_nonzero(f.mask) for f in things], float)
    shared = np.zeros((len(things), len(things)))  # of one label
    for i, j in _touching(things):
        frame = _both(things[i].area, things[j].area)
        assert frame is not None
        shared[i, j] = shared[j, i] = np.count_nonzero(things[i].within(frame) & things[j].within(frame))
    overlap = shared / (pixels[:, None] + pixels[None] - shared)
    clash = (overlap > limits.nms) | contained(pixels, shared, limits.inside)
    kept = keep_best(clash, ~surrounds_group(pixels, shared, shared > 0, limits.group))
    return [things[i] for i in np.flatnonzero(kept)]


def _tokens(results: Sequence[Result], rows: Sequence[tuple[int, int]]) -> NDArray[np.float32] | None:
    scores = [results[i].token_scores for i, _ in rows]
    found = [s[row] for s, (_, row) in zip(scores, rows, strict=True) if s is not None]
    width = len(results[0].tokens)
    return np.asarray(found, np.float32).reshape(len(rows), width) if len(found) == len(rows) else None


def _both(a: Rectangle, b: Rectangle) -> Rectangle | None:
    top, left, bottom, right = max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])
    return (top, left, bottom, right) if bottom > top and right > left else None


def _around(areas: Sequence[Rectangle]) -> Rectangle:
    low, high = np.min([a[:2] for a in areas], 0), np.max([a[2:] for a in areas], 0)
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def _pixels(area: Rectangle) -> int:
    return (area[2] - area[0]) * (area[3] - area[1])
