"""Masks in answers: run lengths, polygons, or small pictures."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gsam.results.masks import png, polygons
from gsam.results.masks.rle import Rle, bounds, decode
from gsam.serve.problems import ServeError
from gsam.types import Json

KINDS = ("rle", "polygons", "png", "none")


def checked_kind(kind: Any) -> str:
    """The kind of masks that a request asks for, ``rle`` where it asks for none in particular."""
    if kind is None:
        return "rle"
    if kind not in KINDS:
        raise ServeError(422, "masks_kind", f"masks is one of {', '.join(KINDS)}")
    return str(kind)


def mask_fields(rle: Rle, kind: str, mask: NDArray[np.bool_] | None = None) -> Json:
    """Describe the mask of an object of an answer.

    Args:
        rle: The mask, at the size of the image.
        kind: ``rle``: ``mask``, COCO's run lengths.  ``polygons``: ``polygons``, parts of rings of
            ``[x, y]``, the first ring around, the others holes.  ``png``: ``png``, base64 of a PNG
            of the part of the image that ``png_box`` (x0 y0 x1 y1) says, transparent outside the
            mask.  ``none``: nothing.
        mask: The mask [H, W] itself, where it is there already.

    Returns:
        Names and plain values.
    """
    if kind == "none":
        return {}
    if kind == "rle":
        return {"mask": {"size": list(rle["size"]), "counts": _text(rle["counts"])}}
    mask = decode(rle) if mask is None else mask
    if kind == "polygons":
        return {"polygons": [[ring.tolist() for ring in part] for part in polygons.outlines(mask)]}
    x0, y0, x1, y1 = bounds(rle)
    cut = mask[y0:y1, x0:x1] if x1 > x0 and y1 > y0 else mask[:1, :1]
    return {"png": base64.b64encode(png.pack(cut)).decode(), "png_box": [x0, y0, max(x1, x0 + 1), max(y1, y0 + 1)]}


def _text(counts: Any) -> Any:
    return counts.decode() if isinstance(counts, bytes) else counts
