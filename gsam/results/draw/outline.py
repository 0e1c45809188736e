"""Masks as outlines with a light tint, so that a thing keeps its own colour."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

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


def paint(
    image: Image.Image, rles: Sequence[Rle], inks: Sequence[Colour], line: int, fill: float = TINT
) -> list[Shape]:
    """Tint masks and draw their outlines, in place; later ones lie over earlier ones.

    A pixel is tinted once, by the last mask that has it, so nested masks do not add up to a colour
    that hides what they are of.

    Args:
        image: RGB, of the size of the masks.
        rles: [N] masks as COCO run lengths.
        inks: [N] colours.
        line: Width of the outlines in pixels.
        fill: Opacity of the colours inside, 0 to 1.

    Returns:
        [N] parts of the image that the masks cover.
    """
    before = image.copy()
    shapes = [_shape(rle) for rle in rles]
    for shape, ink in zip(shapes, inks, strict=True):
        (height, width), at = shape.inside.shape, (shape.x, shape.y)
        if fill and height and width:
            part = before.crop((*at, shape.x + width, shape.y + height))
            tinted = Image.blend(part, Image.new("RGB", part.size, ink), fill)
            image.paste(tinted, at, Image.fromarray(shape.inside * np.uint8(255)))
    for shape, ink in zip(shapes, inks, strict=True):
        if shape.inside.size:
            _outline(image, shape, ink, line)
    return shapes


def _shape(rle: Rle) -> Shape:
    x0, y0, x1, y1 = bounds(rle)
    if x1 <= x0 or y1 <= y0:
        return Shape(0, 0, np.zeros((0, 0), bool))
    return Shape(x0, y0, decode(rle)[y0:y1, x0:x1])


def _outline(image: Image.Image, shape: Shape, ink: Colour, line: int) -> None:
    """Draw the outline of a mask, full colour inside and dark around it."""
    height, width = shape.inside.shape
    halo = max(1, line // 2)
    left, top = min(shape.x, halo + 1), min(shape.y, halo + 1)
    right = min(image.width - shape.x - width, halo + 1)
    bottom = min(image.height - shape.y - height, halo + 1)
    inside = np.pad(shape.inside, ((top, bottom), (left, right)))
    rim = inside & _spread(~inside, line, beyond=True)  # beyond the image is outside: outlines close along its border
    around = _spread(inside, halo, beyond=False) & ~(inside & ~rim)
    at = (shape.x - left, shape.y - top)
    image.paste((0, 0, 0), at, _smooth(around, HALO if line > 1 else HALO // 2, line))
    image.paste(ink, at, _smooth(rim, RIM, line))


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
