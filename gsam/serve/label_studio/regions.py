"""Regions of Label Studio's results: brushes, polygons and rectangles of what was found."""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from gsam.results.masks import brush, polygons
from gsam.results.overview.shapes import simplified
from gsam.serve.label_studio.labelling_config import Control
from gsam.types import Json

TOLERANCE = 0.7
"""Pixels by which the outlines of polygons may be off: they are there to be moved by hand."""
LEAST_PART = 0.01
"""Parts of a polygon's object that are a smaller share of its largest part are left out."""


def regions(
    mask: NDArray[np.bool_], box: Sequence[float] | None, control: Control, label: str, score: float
) -> list[Json]:
    """Write one object as results of one tool.

    Args:
        mask: [H, W], of the upright image.
        box: x0 y0 x1 y1 in pixels; None for the bounds of the mask.
        control: The tool.
        label: Name of the object's label.
        score: In 0..1.

    Returns:
        Results as Label Studio takes them: none for an empty mask, several for a mask of several
        parts in polygons or for a tool whose labels are another tag's.
    """
    height, width = mask.shape
    seen = {"to_name": control.image, "original_width": width, "original_height": height, "image_rotation": 0}
    found = []
    for value in _values(mask, box, control):
        shared = {"id": uuid.uuid4().hex[:10], **seen, "score": _score(score)}
        if control.labeller is None:
            kind = f"{control.kind}labels"
            found.append({**shared, "type": kind, "from_name": control.name, "value": {**value, kind: [label]}})
        else:
            found.append({**shared, "type": control.kind, "from_name": control.name, "value": value})
            labels = {**value, "labels": [label]}
            found.append({**shared, "type": "labels", "from_name": control.labeller, "value": labels})
    return found


def _values(mask: NDArray[np.bool_], box: Sequence[float] | None, control: Control) -> Iterator[Json]:
    height, width = mask.shape
    size = np.array([width, height], float)
    if control.kind == "rectangle":
        ends = _bounds(mask) if box is None else np.reshape(np.asarray(box, float), (2, 2))
        if ends is None or not np.isfinite(ends).all():
            return
        (x0, y0), (x1, y1) = (np.clip(ends, 0, size) / size * 100).tolist()
        if x1 > x0 and y1 > y0:
            yield {"x": x0, "y": y0, "width": x1 - x0, "height": y1 - y0, "rotation": 0}
    elif not mask.any():
        return
    elif control.kind == "brush":
        yield {"format": "rle", "rle": list(brush.pack(mask))}
    else:
        for ring in _rings(mask):
            yield {"points": (ring / size * 100).tolist(), "closed": True}


def _rings(mask: NDArray[np.bool_]) -> list[NDArray[np.float64]]:
    """Outlines of the parts that are large enough, with few points."""
    parts = [(outline := part[0], _area(outline)) for part in polygons.outlines(mask)]
    largest = max((area for _, area in parts), default=0.0)
    rings = [simplified(ring, TOLERANCE) for ring, area in parts if area >= LEAST_PART * largest]
    return [ring for ring in rings if len(ring) >= 3]


def _area(ring: NDArray[np.float64]) -> float:
    x, y = ring.T
    return float(abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2)


def _bounds(mask: NDArray[np.bool_]) -> NDArray[np.float64] | None:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return None
    return np.array([[columns[0], rows[0]], [columns[-1] + 1, rows[-1] + 1]], float)


def _score(score: float) -> float:
    return round(min(max(score, 0.0), 1.0), 5) if math.isfinite(score) else 0.0
