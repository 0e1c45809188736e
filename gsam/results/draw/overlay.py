"""Overlays for people: outlines, boxes, and labels in any script."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from gsam.files import atomic_file
from gsam.results.draw.colours import colours as colours
from gsam.results.draw.colours import numbered as numbered
from gsam.results.draw.outline import TINT, paint
from gsam.results.draw.plates import Caption, put
from gsam.results.masks.rle import Rle, area
from gsam.types import Json

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
SETTINGS: dict[str, Json] = {"PNG": {"compress_level": 1}, "JPEG": {"quality": 95}}
"""PNG at its quickest, which takes a fifth of the time of the default for a tenth more bytes."""

LEAST = 12
"""Things of fewer widths of a line than this have no box around them: it would hide them."""


def draw(
    pixels: NDArray[np.uint8],
    xyxy: np.ndarray,
    labels: Sequence[str],
    scores: np.ndarray,
    rles: Sequence[Rle],
    queries: Sequence[str] = (),
    *,
    fill: float = TINT,
) -> Image.Image:
    """Draw masks, boxes and labels over an image.

    Args:
        pixels: [H, W, 3] uint8 RGB.
        xyxy: [N, 4] float boxes x0 y0 x1 y1 in pixels, exclusive right and bottom.
        labels: [N] labels.
        scores: [N] float in 0..1; plates of the best are placed first.
        rles: [N] masks as COCO run lengths.
        queries: Names that keep their colours though nothing was found of them; by default the
            labels alone have colours.
        fill: Opacity of a mask's colour, 0 for outlines only to 1.

    Returns:
        An RGB image of the size of the original.
    """
    height, width = pixels.shape[:2]
    line = line_width(height, width)
    ink = colours([*queries, *labels])
    image = Image.fromarray(pixels)
    areas = [area(rle) for rle in rles]
    small_last = sorted(range(len(rles)), key=lambda i: -areas[i])
    pen = ImageDraw.Draw(image)
    boxes = [(round(float(x0)), round(float(y0)), round(float(x1)), round(float(y1))) for x0, y0, x1, y1 in xyxy]
    for i in small_last:
        x0, y0, x1, y1 = boxes[i]
        box = (max(x0, 0), max(y0, 0), min(x1, width) - 1, min(y1, height) - 1)
        if min(box[2] - box[0], box[3] - box[1]) >= LEAST * line:
            pen.rectangle(box, outline=ink[labels[i]], width=max(1, line // 2))
    painted = paint(image, [rles[i] for i in small_last], [ink[labels[i]] for i in small_last], line, fill)
    shapes = dict(zip(small_last, painted, strict=True))
    captions = [
        Caption(labels[i], f"{scores[i]:.2f}", ink[labels[i]], boxes[i], shapes[i])
        for i in np.argsort(-scores, kind="stable").tolist()
    ]
    put(image, captions, line)
    return image


def line_width(height: int, width: int) -> int:
    """The width of outlines in an image of this size, in pixels."""
    return max(1, round(min(height, width) / 240))


def write(image: Image.Image, path: Path) -> None:
    """PNG, JPEG or WebP by the name of ``path``, whole or not at all."""
    kind = {".jpg": "JPEG", ".jpeg": "JPEG"}.get(path.suffix.lower(), path.suffix[1:].upper())
    with atomic_file(path) as file:
        image.save(file, kind, **SETTINGS.get(kind, {}))
