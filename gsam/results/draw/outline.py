"""Masks as outlines with a light tint, so that a thing keeps its own colour."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from gsam.results.draw.colours import Colour
from gsam.results.masks.rle import Rle, bounds, decode

TINT = 0.18
"""Opacity of a mask's colour, unless another is asked for."""
RIM, HALO = 245, 150
"""Opacities of the outline, and of the dark line around it that shows it on anything, of 255."""


@dataclasses.dataclass(frozen=True, eq=False)
class Shape:
    """The part of an image that a mask covers."""

    x: int
    """Left column."""
    y: int
    """Upper row."""
    inside: NDArray[np.bool_]
    """[h, w] from there."""


def paint(image: Image.Image, rle: Rle, ink: Colour, line: int, fill: float = TINT) -> Shape:
    """Tint a mask and draw its outline, in place.

    Args:
        image: RGB, of the size of the mask.
        rle: The mask as COCO run lengths.
        ink: Its colour.
        line: Width of the outline in pixels.
        fill: Opacity of the colour inside, 0 to 1.

    Returns:
        The part that the mask covers.
    """
    x0, y0, x1, y1 = bounds(rle)
    if x1 <= x0 or y1 <= y0:
        return Shape(0, 0, np.zeros((0, 0), bool))
    shown = decode(rle)[y0:y1, x0:x1]
    halo = max(1, line // 2)
    left, top = min(x0, halo + 1), min(y0, halo + 1)
    right, bottom = min(image.width - x1, halo + 1), min(image.height - y1, halo + 1)
    inside = np.pad(shown, ((top, bottom), (left, right)))
    rim = inside & _spread(~inside, line, beyond=True)  # beyond the image is outside: outlines close along its border
    around = _spread(inside, halo, beyond=False) & ~(inside & ~rim)
    at = (x0 - left, y0 - top)
    image.paste(ink, at, Image.fromarray(inside * np.uint8(round(255 * fill))))
    image.paste((0, 0, 0), at, _smooth(around, HALO if line > 1 else HALO // 2, line))
    image.paste(ink, at, _smooth(rim, RIM, line))
    return Shape(x0, y0, shown)


def _smooth(region: NDArray[np.bool_], opacity: int, line: int) -> Image.Image:
    """Opacity inside a region, its steps softened where the line is wide enough to bear it."""
    alpha = Image.fromarray(region * np.uint8(opacity))
    return alpha.filter(ImageFilter.BoxBlur(min(line / 6, 1.0))) if line > 1 else alpha


def _spread(region: NDArray[np.bool_], by: int, *, beyond: bool) -> NDArray[np.bool_]:
    """Grow a region by ``by`` pixels in both axes; ``beyond``: outside the array is inside it."""
    for _ in range(2):
        padded = np.pad(region, ((by, by), (0, 0)), constant_values=beyond)
        reach, wanted = 1, 2 * by + 1
        while reach < wanted:  # rows of ``padded`` stand for ``reach`` rows from there on
            step = min(reach, wanted - reach)
            padded = padded[:-step] | padded[step:]
            reach += step
        region = padded.T
    return region
