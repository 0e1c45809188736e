"""Masks as COCO's compressed run lengths (pycocotools)."""

from __future__ import annotations

from typing import TypedDict

import numpy as np
from numpy.typing import NDArray


class Rle(TypedDict):
    """A mask as run lengths, column by column, outside first."""

    size: list[int]
    """[H, W]."""
    counts: str | list[int]
    """COCO's text, or the lengths as numbers."""


def encode(mask: NDArray[np.bool_]) -> Rle:
    """[H, W] bool -> ``{"size": [H, W], "counts": text}``."""
    from pycocotools import mask as coco

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


def _bytes(rle: Rle) -> dict[str, list[int] | bytes | str]:
    counts = rle["counts"]
    return {"size": rle["size"], "counts": counts.encode("ascii") if isinstance(counts, str) else counts}


def compress(rle: Rle) -> Rle:
    """Run lengths as numbers -> as text."""
    from pycocotools import mask as coco

    height, width = rle["size"]
    short = coco.frPyObjects(rle, height, width)
    return {"size": [int(height), int(width)], "counts": short["counts"].decode("ascii")}


def decompress(rle: Rle) -> Rle:
    """The inverse of `compress`: run lengths as numbers, column by column, outside first."""
    flat = decode(rle).ravel(order="F")
    counts = np.diff([0, *np.flatnonzero(flat[1:] != flat[:-1]) + 1, len(flat)]).tolist()
    return {"size": rle["size"], "counts": [0, *counts] if flat[0] else counts}
