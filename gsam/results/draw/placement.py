"""Places for labels: near what they name, off other labels and off other things."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gsam.results.draw.outline import Shape

Rectangle = tuple[int, int, int, int]
"""x0 y0 x1 y1, exclusive right and bottom."""
Size = tuple[int, int]
"""Width and height."""
SIDE = 320
"""The map of what may not be hidden has at most so many cells along a side."""
RINGS = (1, 2, 3, 5, 7, 10)
"""Distances of farther places, in heights of a label."""
TURNS = 16
"""Places on each ring."""
ROUNDS = 2
"""Rounds of looking for better places when all labels have one."""


@dataclasses.dataclass(frozen=True)
class Place:
    """A place for a label."""

    x: int
    y: int
    hidden: float
    """Shares of things that it hides, summed: 1 is one thing as a whole."""
    overlap: float
    """Share of the label that lies on others."""


class Ground:
    """An image with the things in it: how much of them a rectangle hides.

    Args:
        size: Width and height of the image.
        shapes: The things.
    """

    def __init__(self, size: Size, shapes: Sequence[Shape]) -> None:
        self.size = size
        self._step = max(1, math.ceil(max(size) / SIDE))
        cells = np.zeros((math.ceil(size[1] / self._step), math.ceil(size[0] / self._step)))
        for shape in shapes:
            part = _reduced(shape, self._step)
            rows, columns = np.nonzero(part)
            if len(rows):
                at = (rows + shape.y // self._step, columns + shape.x // self._step)
                inside = (at[0] < cells.shape[0]) & (at[1] < cells.shape[1])
                cells[at[0][inside], at[1][inside]] += 1 / len(rows)
        self._sums = np.pad(cells.cumsum(0).cumsum(1), ((1, 0), (1, 0)))

    def hidden(self, boxes: NDArray[np.int64]) -> NDArray[np.float64]:
        """Shares of things hidden by each rectangle of [K, 4], [K]."""
        height, width = (n - 1 for n in self._sums.shape)
        x0, y0 = boxes[:, 0] // self._step, boxes[:, 1] // self._step
        x1, y1 = (-(-boxes[:, k] // self._step) for k in (2, 3))
        x0, x1 = x0.clip(0, width), x1.clip(0, width)
        y0, y1 = y0.clip(0, height), y1.clip(0, height)
        sums = self._sums
        return np.maximum(sums[y1, x1] - sums[y0, x1] - sums[y1, x0] + sums[y0, x0], 0)


def arrange(sizes: Sequence[Size], boxes: Sequence[Rectangle], ground: Ground) -> list[Place]:
    """Place labels; earlier ones choose first, and then all may choose again.

    Args:
        sizes: [N] width and height of each label.
        boxes: [N] boxes of what they name.
        ground: The image and what is in it.

    Returns:
        [N] places within the image.
    """
    choices = [_candidates(size, box, ground.size) for size, box in zip(sizes, boxes, strict=True)]
    fixed = [_cost(places, away, size, ground) for (places, away), size in zip(choices, sizes, strict=True)]
    taken = np.zeros((0, 4), np.int64)
    picked: list[int] = []
    for n in range(len(sizes)):
        picked.append(_best(choices[n][0], fixed[n][0], taken, boxes[n]))
        taken = np.concatenate([taken, choices[n][0][picked[n]][None]])
    for _ in range(ROUNDS):
        for n in range(len(sizes)):
            others = np.delete(taken, n, 0)
            picked[n] = _best(choices[n][0], fixed[n][0], others, boxes[n])
            taken[n] = choices[n][0][picked[n]]
    found = []
    for n, k in enumerate(picked):
        spot = choices[n][0][k]
        overlap = _overlaps(spot[None], np.delete(taken, n, 0)).sum() / max(sizes[n][0] * sizes[n][1], 1)
        found.append(Place(int(spot[0]), int(spot[1]), float(fixed[n][1][k]), float(overlap)))
    return found


def gap(a: Sequence[int], b: Sequence[int]) -> float:
    """The distance of two rectangles in pixels, 0 where they touch."""
    return math.hypot(max(b[0] - a[2], a[0] - b[2], 0), max(b[1] - a[3], a[1] - b[3], 0))


def _candidates(size: Size, box: Rectangle, limit: Size) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Rectangles where a label may be, and how little each is liked: at the box, then around it."""
    w, h = size
    x0, y0, x1, y1 = box
    middle = (y0 + y1 - h) / 2
    near: list[tuple[float, float]] = [
        (x0, y0 - h),
        (x1 - w, y0 - h),
        (x0, y1),
        (x1 - w, y1),
        (x0, y0),
        (x1 - w, y0),
        (x0, y1 - h),
        (x1 - w, y1 - h),
    ]
    near += [
        (x1, middle),
        (x0 - w, middle),
        (x1, y0),
        (x0 - w, y0),
        ((x0 + x1 - w) / 2, y0 - h),
        ((x0 + x1 - w) / 2, y1),
    ]
    at = [(x, y, 0.004 * k) for k, (x, y) in enumerate(near)]
    for ring in RINGS:
        for turn in range(TURNS):
            angle = 2 * math.pi * turn / TURNS
            across, down = math.cos(angle), math.sin(angle)
            x = (x0 + x1 - w) / 2 + across * ((x1 - x0 + w) / 2 + ring * h)
            y = middle + down * ((y1 - y0 + h) / 2 + ring * h)
            at.append((x, y, 0.1))
    corners = np.array([(x, y) for x, y, _ in at])
    corners = np.round(corners.clip(0, np.maximum(np.subtract(limit, size), 0))).astype(np.int64)
    places = np.concatenate([corners, corners + size], 1)
    away = np.array([dislike for *_, dislike in at]) + [0.1 * gap(place, box) / max(h, 1) for place in places.tolist()]
    return places, away


def _cost(
    places: NDArray[np.int64], away: NDArray[np.float64], size: Size, ground: Ground
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The cost of places whatever other labels do, and the shares of things they hide."""
    hidden = ground.hidden(places)
    return away + 3 * hidden, hidden


def _best(places: NDArray[np.int64], fixed: NDArray[np.float64], taken: NDArray[np.int64], box: Rectangle) -> int:
    area = np.maximum((places[:, 2] - places[:, 0]) * (places[:, 3] - places[:, 1]), 1)
    return int(np.argmin(fixed + 5 * _overlaps(places, taken).sum(1) / area + 0.3 * _crossed(places, taken, box)))


def _crossed(places: NDArray[np.int64], taken: NDArray[np.int64], box: Rectangle) -> NDArray[np.int64]:
    """The number of labels between places [K, 4] and the middle of a box, [K]."""
    middle = np.array([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2])
    centres = (places[:, :2] + places[:, 2:]) / 2
    way = middle - centres
    way[way == 0] = 1e-9
    first, last = np.zeros((len(places), len(taken))), np.ones((len(places), len(taken)))
    for axis in (0, 1):  # where on its way the line is between the sides of each label
        ends = [(taken[None, :, axis + side] - centres[:, axis, None]) / way[:, axis, None] for side in (0, 2)]
        first, last = np.maximum(first, np.minimum(*ends)), np.minimum(last, np.maximum(*ends))
    return (first < last).sum(1)


def _overlaps(a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.int64]:
    """Pixels that each of [K, 4] shares with each of [M, 4], [K, M]."""
    wide = np.minimum(a[:, None, 2], b[None, :, 2]) - np.maximum(a[:, None, 0], b[None, :, 0])
    high = np.minimum(a[:, None, 3], b[None, :, 3]) - np.maximum(a[:, None, 1], b[None, :, 1])
    return np.maximum(wide, 0) * np.maximum(high, 0)


def _reduced(shape: Shape, step: int) -> NDArray[np.bool_]:
    """A mask in cells of ``step`` pixels; a small thing has one at least."""
    inside = shape.inside
    part = inside[step // 2 :: step, step // 2 :: step]
    return part if part.any() or not inside.any() else np.ones((1, 1), bool)
