"""Masks as COCO's compressed run lengths (pycocotools)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def encode(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """[H, W] bool -> ``{"size": [H, W], "counts": text}``."""
    from pycocotools import mask as coco

    rle = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": [int(s) for s in rle["size"]], "counts": rle["counts"].decode("ascii")}


def decode(rle: dict[str, Any]) -> NDArray[np.bool_]:
    """The inverse of `encode`."""
    from pycocotools import mask as coco

    counts = rle["counts"].encode("ascii") if isinstance(rle["counts"], str) else rle["counts"]
    return coco.decode({"size": rle["size"], "counts": counts}).astype(bool)
