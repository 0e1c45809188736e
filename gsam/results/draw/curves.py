"""Precision over recall, a curve for each class."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from gsam.results.draw.colours import numbered
from gsam.results.draw.text_rendering import text_picture

SIDE, LEFT, TOP, LINE = 480, 52, 36, 20
GROUND, INK, FAINT = (250, 250, 250), (40, 40, 44), (222, 222, 226)
MOST = 20
"""Classes that have a curve of their own."""


def draw(curves: Mapping[str, NDArray[np.float64]], title: str = "") -> Image.Image:
    """Draw curves on axes from 0 to 1.

    Args:
        curves: By name [P] precisions at recalls that are evenly spaced from 0 to 1; NaN is not
            drawn. Of more than `MOST` the first are.
        title: A line above.

    Returns:
        An RGB image, the names beside the curves.
    """
    shown = dict(list(curves.items())[:MOST])
    names = [text_picture(name, 14, INK) for name in shown]
    width = LEFT + SIDE + 40 + max((name.width for name in names), default=0) + 24
    height = TOP + max(SIDE, LINE * len(names)) + 48
    sheet = Image.new("RGB", (width, height), GROUND)
    pen = ImageDraw.Draw(sheet)
    for i in range(6):
        at = i * SIDE // 5
        pen.line([(LEFT, TOP + SIDE - at), (LEFT + SIDE, TOP + SIDE - at)], FAINT)
        pen.line([(LEFT + at, TOP), (LEFT + at, TOP + SIDE)], FAINT)
        _put(sheet, f"{i / 5:.1f}", LEFT - 30, TOP + SIDE - at - 9)
        _put(sheet, f"{i / 5:.1f}", LEFT + at - 9, TOP + SIDE + 4)
    pen.rectangle([LEFT, TOP, LEFT + SIDE, TOP + SIDE], outline=INK)
    _put(sheet, title, LEFT, 8)
    _put(sheet, "recall", LEFT + SIDE // 2 - 18, TOP + SIDE + 22)
    _put(sheet, "precision", 4, 8)
    for i, (values, name) in enumerate(zip(shown.values(), names, strict=True)):
        x = LEFT + np.linspace(0, SIDE, len(values))
        y = TOP + SIDE * (1 - values)
        points = [(float(a), float(b)) for a, b in zip(x, y, strict=True) if np.isfinite(b)]
        if len(points) > 1:
            pen.line(points, numbered(i + 1), 2, "curve")
        pen.rectangle(
            [LEFT + SIDE + 16, TOP + LINE * i + 3, LEFT + SIDE + 28, TOP + LINE * i + 15], numbered(i + 1), INK
        )
        sheet.paste(name, (LEFT + SIDE + 36, TOP + LINE * i), name)
    return sheet


def _put(sheet: Image.Image, text: str, x: int, y: int) -> None:
    if text:
        drawn = text_picture(text, 13, INK)
        sheet.paste(drawn, (x, y), drawn)
