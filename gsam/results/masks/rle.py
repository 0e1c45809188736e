"""Masks as COCO's compressed run lengths (pycocotools)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

LARGE = 1 << 18
"""Pixels from which it pays not to turn a mask into columns."""


class Rle(TypedDict):
    """A mask as run lengths, column by column, outside first."""

    size: list[int]
    """[H, W]."""
    counts: str | list[int]
    """COCO's text, or the lengths as numbers."""


def encode(mask: NDArray[np.bool_]) -> Rle:
    """[H, W] bool -> ``{"size": [H, W], "counts": text}``."""
    from pycocotools import mask as coco

    if mask.size >= LARGE and (counts := _counted(mask)) is not None:
        return compress({"size": list(mask.shape), "counts": counts.tolist()})
    rle = coco.encode(np.asfortranarray(mask.view(np.uint8) if mask.dtype == bool else mask.astype(np.uint8)))
    return {"size": [int(s) for s in rle["size"]], "counts": rle["counts"].decode("ascii")}


def decode(rle: Rle) -> NDArray[np.bool_]:
    """The inverse of `encode`."""
    from pycocotools import mask as coco

    return coco.decode(_bytes(rle)).astype(bool)


def area(rle: Rle) -> int:
    """Pixels inside."""
    from pycocotools import mask as coco

    return int(coco.area(_bytes(rle)))


def bounds(rle: Rle) -> tuple[int, int, int, int]:
    """x0 y0 x1 y1 of what is inside, exclusive right and bottom; all zero for an empty mask."""
    from pycocotools import mask as coco

    x, y, w, h = (int(v) for v in coco.toBbox(_bytes(rle)))
    return (x, y, x + w, y + h) if w and h else (0, 0, 0, 0)


def overlaps(found: Sequence[Rle], true: Sequence[Rle]) -> NDArray[np.float64]:
    """IoU of every mask with every other: [N, M]; 0 where both are empty."""
    from pycocotools import mask as coco

    a, b = ([_bytes(m if isinstance(m["counts"], str) else compress(m)) for m in some] for some in (found, true))
    return np.asarray(coco.iou(a, b, [0] * len(b)), np.float64).reshape(len(a), len(b))


def _bytes(rle: Rle) -> dict[str, list[int] | bytes | str]:
    counts = rle["counts"]
    return {"size": rle["size"], "counts": counts.encode("ascii") if isinstance(counts, str) else counts}


def compress(rle: Rle) -> Rle:
    """Run lengths as numbers -> as text."""
    from pycocotools import mask as coco

    height, width = rle["size"]
    short = coco.frPyObjects(rle, height, width)
    return {"size": [int(height), int(width)], "counts": short["counts"].decode("ascii")}


def lengths(rle: Rle) -> NDArray[np.int64]:
    """Run lengths as numbers, checked: pycocotools trusts what it is given.

    Raises:
        ValueError: They are no run lengths, or not of this size.
    """
    height, width = rle["size"]
    counts = rle["counts"]
    found = _spelled(counts) if isinstance(counts, str) else np.asarray(counts, np.int64).reshape(-1)
    if (found < 0).any() or int(found.sum()) != height * width:
        raise ValueError(f"its run lengths are not of {width} x {height} pixels")
    return found


def _counted(mask: NDArray[np.bool_]) -> NDArray[np.int64] | None:
    """The run lengths of a mask, from the few places where a pixel differs from the one above it;
    None where they are many.
    """
    if mask.dtype != bool or mask.ndim != 2:
        return None
    height, width = mask.shape
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return np.array([height * width])
    y, x = int(rows[0]), int(columns[0])
    part = mask[y : int(rows[-1]) + 1, x : int(columns[-1]) + 1]
    inner = part[1:] != part[:-1]
    if np.count_nonzero(inner) > mask.size // 64:
        return None
    down, across = np.divmod(np.flatnonzero(inner), part.shape[1])
    top, bottom = np.flatnonzero(part[0]), np.flatnonzero(part[-1])
    turns = [(across + x) * height + down + y + 1, (top + x) * height + y, (bottom + x) * height + y + len(part)]
    places, times = np.unique(np.concatenate(turns), return_counts=True)
    places = places[times == 1]  # a column that goes on in the next has a turn there and back
    return np.diff(np.concatenate([[0], places[places < mask.size], [mask.size]]))


def _spelled(text: str) -> NDArray[np.int64]:
    """The numbers of COCO's text: five bits a character, the lowest first, a sixth where more
    follow; from the fourth number on each is the difference to the last but one.
    """
    digits = np.frombuffer(text.encode("ascii", "replace"), np.uint8).astype(np.int64) - 48
    if not len(digits):
        return digits
    if digits.min() < 0 or digits.max() > 63 or digits[-1] & 32:
        raise ValueError("its run lengths are no text of COCO's")
    last = np.flatnonzero(digits & 32 == 0)
    first = np.concatenate([[0], last[:-1] + 1])
    place = np.arange(len(digits)) - np.repeat(first, last - first + 1)
    if place.max() > 6:
        raise ValueError("its run lengths are too long")
    values = np.add.reduceat((digits & 31) << (5 * place), first)
    values -= np.where(digits[last] & 16, np.int64(1) << (5 * (last - first + 1)), 0)
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values


def decompress(rle: Rle) -> Rle:
    """The inverse of `compress`: run lengths as numbers, column by column, outside first."""
    return {"size": rle["size"], "counts": lengths(rle).tolist()}
