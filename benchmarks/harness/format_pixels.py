"""Masks as run lengths, decoded from what formats say of them and from nothing of gsam's.

Runs are lengths, column by column, background first, as in COCO: they hold a mask of 60,000 x
40,000 pixels in a few numbers, and go from one process to another as JSON.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCK = 1 << 26
"""Pixels that are looked at together."""


def runs_of(mask: NDArray[Any]) -> list[int]:
    """Count the runs of a mask [H, W]; one in columns (``order="F"``) is not copied."""
    flat = mask.ravel(order="F")
    edges = []
    for start in range(0, len(flat), BLOCK):
        part = flat[max(start - 1, 0) : start + BLOCK] != 0
        edges.append(np.flatnonzero(part[1:] != part[:-1]) + max(start, 1))
    at = np.concatenate([[0], *edges, [len(flat)]])
    return [0] * bool(len(flat) and flat[0]) + np.diff(at).tolist()


def mask_of(runs: Sequence[int], size: tuple[int, int]) -> NDArray[np.bool_]:
    """The inverse of `runs_of`; ``size`` is height and width."""
    flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return flat.reshape(size, order="F")


def overlap(one: Sequence[int], other: Sequence[int]) -> float:
    """IoU of two masks given as runs; 1 where both are empty, 0 where their sizes differ."""
    ends = np.cumsum(np.asarray(one, np.int64)), np.cumsum(np.asarray(other, np.int64))
    if ends[0][-1] != ends[1][-1]:
        return 0.0
    edges = np.union1d(*ends)
    lengths = np.diff(edges, prepend=0)
    first, second = (np.searchsorted(end, edges) % 2 == 1 for end in ends)
    union = int(lengths[first | second].sum())
    return int(lengths[first & second].sum()) / union if union else 1.0


def bounds(runs: Sequence[int], size: tuple[int, int]) -> list[int]:
    """x0 y0 x1 y1 of what is inside, exclusive right and bottom; zeros of an empty mask."""
    inside = mask_of(runs, size)
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    if not len(rows):
        return [0, 0, 0, 0]
    return [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1]


def coco_runs(counts: str | Sequence[int]) -> list[int]:
    """Runs of COCO's ``counts``: numbers, or the text in which each character has five bits."""
    if not isinstance(counts, str):
        return [int(n) for n in counts]
    found: list[int] = []
    value = shift = 0
    for character in counts:
        digit = ord(character) - 48
        value |= (digit & 31) << shift
        shift += 5
        if digit & 32:
            continue
        value -= (1 << shift) if digit & 16 else 0
        found.append(value + found[-2] if len(found) > 2 else value)
        value = shift = 0
    return found


def brush(packed: Sequence[int], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Unpack Label Studio's brush: rle-pack of RGBA, row by row, whose alpha is the mask."""
    stream = "".join(f"{octet:08b}" for octet in packed)
    at = 0

    def take(bits: int) -> int:
        nonlocal at
        at += bits
        return int(stream[at - bits : at], 2)

    count, word = take(32), take(5) + 1
    widths = [take(4) + 1 for _ in range(4)]
    values: list[int] = []
    ends: list[int] = [0]
    while ends[-1] < count:
        run, width = take(1), widths[take(2)]
        length = take(width) + 1
        found = [(take(word), length)] if run else [(take(word), 1) for _ in range(length)]
        for value, pixels in found:
            values.append(value)
            ends.append(ends[-1] + pixels)
    return np.repeat(values, np.diff(ends)).reshape(*size, 4)[..., 3] >= 128


def crop(runs: Sequence[int], box: Sequence[int], size: tuple[int, int]) -> NDArray[np.bool_]:
    """CVAT's mask: runs row by row over a box left top width height."""
    left, top, width, height = box
    found = np.zeros(size, bool)
    pixels = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    found[top : top + height, left : left + width] = pixels.reshape(height, width)
    return found


def fill(ring: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Fill a ring [P, 2] of x y: the pixels from whose centre an odd number of edges is crossed."""
    found = np.zeros(size, bool)
    rows, columns = np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5
    for (x0, y0), (x1, y1) in zip(ring, np.roll(ring, -1, 0), strict=True):
        crossed = np.flatnonzero((rows >= min(y0, y1)) & (rows < max(y0, y1)))
        if len(crossed):
            where = x0 + (rows[crossed] - y0) / (y1 - y0) * (x1 - x0)
            found[crossed] ^= columns > where[:, None]
    return found
