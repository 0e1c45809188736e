"""Shapes as annotation tools write them, checked, and what such tools cannot hold."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Sequence
from typing import IO, Any
from xml.parsers import expat

import numpy as np
from numpy.typing import NDArray

from gsam.results.formats.dataset import DataSet, DataSetWriter, rle_of
from gsam.results.masks import rle
from gsam.types import JsonMapping

MOST_PIXELS = (1 << 30) - 1
"""Pixels of the largest image whose masks are filled; boxes are read of any."""
LONGEST_SIDE = (1 << 31) - 1
"""The longest side of an image."""
REACH = 10
"""Polygons that reach further than this many sides of the image are not filled."""
PLAIN = {"label", "label_id", "score", "box", "area", "mask"}
BAD = (ValueError, LookupError, TypeError, AttributeError, OverflowError)
_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def legal(text: str, writer: DataSetWriter) -> str:
    """Text that XML can hold; counts the loss of what it cannot."""
    kept, changed = _ILLEGAL.subn("\ufffd", text)
    if changed:
        writer.losses["characters of names that XML cannot hold"] += 1
    return kept


def count_losses(found: JsonMapping, writer: DataSetWriter) -> float | None:
    """Count what annotation tools cannot hold of a segment; returns its score."""
    if not found["label"]:
        writer.losses["segments without a label, which are not read"] += 1
    for key in sorted(found.keys() - PLAIN):
        if found[key] is not None and found[key] is not False:
            writer.losses[f"{key} of a segment"] += 1
    if found["mask"] is not None and tuple(found["box"]) != rle.bounds(found["mask"]):
        writer.losses["boxes other than the bounds of their masks"] += 1
    score = found.get("score")
    if score is not None and not math.isfinite(score):
        writer.losses["scores that are no numbers"] += 1
        score = None
    return None if score is None else float(score)


def reason(error: Exception) -> str:
    """Say what is wrong with a part."""
    return f"{error} is missing" if isinstance(error, LookupError) else str(error)


def sides(height: Any, width: Any) -> tuple[int, int]:
    """Height and width of an image.  Raises `ValueError` where they are none."""
    if height is None or width is None:
        raise ValueError("its size is missing")
    h, w = float(height), float(width)
    if not (1 <= h <= LONGEST_SIDE and 1 <= w <= LONGEST_SIDE):
        raise ValueError(f"{width} x {height} is no size of an image")
    return int(h), int(w)


def check_pixels(size: tuple[int, int]) -> None:
    """Raise `ValueError` where an image, height and width, is too large to fill a mask of it."""
    if size[0] * size[1] > MOST_PIXELS:
        raise ValueError(f"its mask is not filled: an image of {size[1]} x {size[0]} pixels is too large")


def check_reach(points: NDArray[np.float64], size: tuple[int, int]) -> None:
    """Raise `ValueError` where a polygon's points [P, 2] are no numbers, or too far outside an
    image, height and width, to be filled: pycocotools would crash.
    """
    if not np.isfinite(points).all() or np.abs(points).max(initial=0) > REACH * max(size):
        raise ValueError("its polygon has numbers that are none, or are far outside the image")


def score_of(value: Any, place: str, data: DataSet) -> float | None:
    """A score in 0..1; None, and a problem, of anything else."""
    if value is None or value == "":
        return None
    with contextlib.suppress(ValueError, TypeError):
        if 0 <= float(value) <= 1:
            return float(value)
    data.problems.append(f"{place}: its score {value!r} is not in 0..1")
    return None


def box_of(values: Sequence[float]) -> list[float]:
    """A box x0 y0 x1 y1 that has an area.  Raises `ValueError` for any other."""
    x0, y0, x1, y1 = values
    if not (x0 < x1 and y0 < y1 and math.isfinite((x1 - x0) * (y1 - y0))):
        raise ValueError("its box is none, or has no area")
    return [x0, y0, x1, y1]


def corners(box: Sequence[float]) -> NDArray[np.float64]:
    """The four corners [4, 2] of a box."""
    x0, y0, x1, y1 = box
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], float)


def turned(points: NDArray[np.float64], pivot: Sequence[float], degrees: float) -> NDArray[np.float64]:
    """Points [P, 2] turned clockwise, as one sees them, about another."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return (points - np.asarray(pivot)) @ np.array([[c, s], [-s, c]]) + np.asarray(pivot)


def ring_of(points: Any, size: tuple[int, int]) -> rle.Rle:
    """The mask of a polygon's points x y.  Raises `ValueError` where they are no polygon."""
    check_pixels(size)
    if len(points) < 3 or any(len(point) != 2 for point in points):
        raise ValueError("its polygon has fewer than three points, or not two numbers for each")
    ring = np.asarray(points, np.float64).round(6)
    check_reach(ring, size)
    return rle_of([[ring]], size)


def ellipse_of(centre: Sequence[float], radii: Sequence[float], degrees: float, size: tuple[int, int]) -> rle.Rle:
    """The mask of an ellipse that is turned clockwise.  Raises `ValueError` where it is none."""
    check_pixels(size)
    if not all(map(math.isfinite, (*centre, *radii, degrees))) or min(radii) <= 0:
        raise ValueError("its ellipse is none, or has no area")
    dx = np.arange(size[1], dtype=np.float64) + 0.5 - centre[0]
    dy = np.arange(size[0], dtype=np.float64)[:, None] + 0.5 - centre[1]
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    along, across = (dx * c + dy * s) / radii[0], (dy * c - dx * s) / radii[1]
    return rle.encode(along**2 + across**2 <= 1)


def root_of(file: IO[bytes]) -> str:
    """Name of the outermost element of XML.  Raises `ValueError` for a DOCTYPE."""
    names: list[str] = []

    def refuse(*_: Any) -> None:
        raise ValueError("it declares a DOCTYPE, which is refused")

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = lambda name, _: names.append(name)
    while not names:
        part = file.read(1 << 12)
        parser.Parse(part, not part)
    return names[0]
