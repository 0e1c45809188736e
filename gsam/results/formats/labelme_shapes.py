"""Shapes of LabelMe as masks and boxes, see `gsam.results.formats.labelme`."""

from __future__ import annotations

import base64
import io
import struct
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gsam.results.formats.shapes import check_pixels
from gsam.results.masks import polygons
from gsam.types import JsonMapping

FARTHEST, LONGEST = 1e8, 2e7
"""The greatest coordinate, and the longest outline, that are filled."""
DAMAGE = (OSError, ValueError, SyntaxError, EOFError, struct.error, Image.DecompressionBombError)
"""Errors about a shape that cannot be read, Pillow's among them."""


def _points(shape: JsonMapping, least: int) -> NDArray[np.float64]:
    """Its points [P, 2], at least so many, all of them finite."""
    given = shape.get("points")
    if not isinstance(given, list) or len(given) < least:
        raise ValueError(f"has fewer than {least} points")
    if not all(isinstance(p, list) and len(p) == 2 and all(map(_is_coordinate, p)) for p in given):
        raise ValueError("a point is not two numbers")
    return np.array(given, np.float64)


def _is_coordinate(value: object) -> bool:
    return isinstance(value, int | float) and abs(value) < FARTHEST


def rectangle(shape: JsonMapping) -> list[float]:
    """The box x0 y0 x1 y1 of a shape with two corners."""
    points = _points(shape, 2)
    if not (np.ptp(points, 0) > 0).all():
        raise ValueError("a rectangle without a pixel")
    return [*points.min(0).tolist(), *points.max(0).tolist()]


def boxed(box: Sequence[float], size: tuple[int, int]) -> NDArray[np.bool_]:
    """The mask [H, W] of a box.  Raises `ValueError` where the image is too large."""
    check_pixels(size)
    x0, y0, x1, y1 = box
    return polygons.filled([[np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])]], size)


def filled(shape: JsonMapping, size: tuple[int, int]) -> NDArray[np.bool_]:
    """The mask [H, W] of a shape.  Raises one of `DAMAGE` for a shape that has none."""
    check_pixels(size)
    match shape.get("shape_type") or "polygon":
        case "mask":
            return _pasted(shape, size)
        case "circle":
            (x, y), (to_x, to_y) = _points(shape, 2)[:2]
            rows, columns = np.ogrid[: size[0], : size[1]]
            found = (columns + 0.5 - x) ** 2 + (rows + 0.5 - y) ** 2 <= (to_x - x) ** 2 + (to_y - y) ** 2
        case "polygon" | "oriented_rectangle":
            ring = _points(shape, 3)
            if np.abs(ring - np.roll(ring, 1, 0)).max(1).sum() > LONGEST:
                raise ValueError("its outline is too long")
            found = polygons.filled([[ring]], size)
        case kind:
            raise ValueError(f"a shape of the type {kind} has no mask")
    if not found.any():
        raise ValueError("it has no pixel of the image")
    return found


def _pasted(shape: JsonMapping, size: tuple[int, int]) -> NDArray[np.bool_]:
    points = _points(shape, 2)
    (x0, y0), (x1, y1) = np.round(points[:2]).astype(int).tolist()
    content = shape.get("mask")
    if not isinstance(content, str):
        raise ValueError("a mask without its pixels")
    with Image.open(io.BytesIO(base64.b64decode(content)), formats=["PNG"]) as image:
        if (points == np.round(points)).all() and image.size != (x1 - x0 + 1, y1 - y0 + 1):
            raise ValueError(f"its mask is {image.width} x {image.height}, its box another size")
        pixels = np.array(image).astype(bool)
    if pixels.ndim != 2:
        raise ValueError("its mask has colours")
    top, left = max(-y0, 0), max(-x0, 0)
    seen = pixels[top : max(size[0] - y0, 0), left : max(size[1] - x0, 0)]
    if seen.any() < pixels.any():
        raise ValueError("it has no pixel of the image")
    found = np.zeros(size, bool)
    if seen.size:
        found[y0 + top : y0 + top + seen.shape[0], x0 + left : x0 + left + seen.shape[1]] = seen
    return found
