"""Thumbnails of an overview, the outlines over them, and the cells of its contact sheet."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gsam.errors import GsamError
from gsam.inputs.decode import MAX_PIXELS
from gsam.inputs.image import Picture
from gsam.inputs.resizing import reduced
from gsam.results.draw.colours import Colour
from gsam.results.draw.outline import paint
from gsam.results.masks.rle import encode
from gsam.results.overview.shapes import Runs, outline
from gsam.results.overview.survey import LONG, Chosen

if TYPE_CHECKING:
    from gsam.types import Json, JsonMapping

SIDE = 400
"""The longer side of a thumbnail in pixels; smaller images keep their size."""
CELL = (240, 180)
"""Width and height of a cell of the contact sheet in pixels."""
CONTEXT = 2.2
"""A cell shows an object with so many times its width or height around it."""
GREY = 200
"""Stands for an image that is gone."""

Opened = Callable[["Json"], Picture | None]


@dataclasses.dataclass(frozen=True, order=True)
class Cell:
    """A place on the contact sheet: an object of an image, or an image without any."""

    rank: int
    """Its place on the sheet."""
    index: int
    """Row of the image."""
    segment: int | None
    """Number of the object among those of the row; None for the whole image."""


@dataclasses.dataclass(frozen=True)
class Illustrated:
    """An image of the sample, made small."""

    jpeg: bytes
    described: Json
    """Its size, whether its source is gone, and its objects with their outlines, for the page."""
    cells: list[tuple[Cell, Image.Image]]


def illustrate(
    chosen: Chosen, opened: Opened, cells: Iterable[Cell], classes: Mapping[str, int], inks: Mapping[str, Colour]
) -> Illustrated:
    """Make a thumbnail, outlines, and cells of an image.

    Args:
        chosen: The image.
        opened: Opens it; None, or an error of gsam or of the system, where it is gone.
        cells: Cells of the contact sheet that show it.
        classes: Number of each class on the page.
        inks: Colour of each class.
    """
    row = chosen.row
    pixels = _pixels(row, opened)
    height, width = int(row["height"]), int(row["width"])
    scale = min(1.0, SIDE / max(height, width))
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    masks = [_runs(segment, height, width) for segment in row["segments"]]
    small = Image.new("RGB", size[::-1], (GREY, GREY, GREY)) if pixels is None else _small(pixels, size)
    file = io.BytesIO()
    small.save(file, "JPEG", quality=85, optimize=True)
    objects = [
        [
            classes[segment["label"]],
            round(float(segment["score"]), 4),
            int(segment["area"]),
            outline(mask, *size) if mask else "",
        ]
        for segment, mask in zip(row["segments"], masks, strict=True)
    ]
    described = {
        "id": str(row["id"])[:LONG],
        "size": [width, height],
        "thumbnail": [size[1], size[0]],
        "gone": pixels is None,
        "count": chosen.objects,
        "objects": objects,
    }
    return Illustrated(file.getvalue(), described, [(cell, _cell(cell, row, pixels, masks, inks)) for cell in cells])


def _pixels(row: Json, opened: Opened) -> NDArray[np.uint8] | None:
    try:
        picture = opened(row)
    except (GsamError, OSError):
        return None
    if picture is None or picture.pixels.shape[:2] != (row["height"], row["width"]):  # another image by now
        return None
    return picture.pixels


def _runs(segment: JsonMapping, height: int, width: int) -> Runs | None:
    try:
        runs = Runs(segment["mask"])
    except (ValueError, LookupError, TypeError):
        return None
    return runs if (runs.height, runs.width) == (height, width) else None


def _small(pixels: NDArray[np.uint8], size: tuple[int, int]) -> Image.Image:
    """Shrink or enlarge [h, w, 3]; a very large one by bands of rows."""
    if pixels.shape[0] * pixels.shape[1] > MAX_PIXELS:
        pixels = reduced(pixels, MAX_PIXELS // 16)
    image = Image.fromarray(np.ascontiguousarray(pixels))
    return image.resize(size[::-1], Image.Resampling.LANCZOS, reducing_gap=3.0)


def _cell(
    cell: Cell,
    row: JsonMapping,
    pixels: NDArray[np.uint8] | None,
    masks: list[Runs | None],
    inks: Mapping[str, Colour],
) -> Image.Image:
    """The part of an image around an object, in its colours."""
    height, width = int(row["height"]), int(row["width"])
    mask = None if cell.segment is None else masks[cell.segment]
    part = (0, 0, width, height)
    if cell.segment is not None:
        box = mask.box if mask is not None and any(mask.box) else row["segments"][cell.segment]["box"]
        part = _around(box, width, height)
    x0, y0, x1, y1 = part
    scale = min(CELL[0] / (x1 - x0), CELL[1] / (y1 - y0))
    size = (max(1, round((y1 - y0) * scale)), max(1, round((x1 - x0) * scale)))
    shown = Image.new("RGB", size[::-1], (GREY, GREY, GREY)) if pixels is None else _small(pixels[y0:y1, x0:x1], size)
    if mask is not None and cell.segment is not None:
        covered = mask.coverage(np.linspace(y0, y1, size[0] + 1), np.linspace(x0, x1, size[1] + 1))
        ink = inks[row["segments"][cell.segment]["label"]]
        paint(shown, [encode(covered >= 0.5)], [ink], 2)
    return shown


def _around(box: Iterable[float], width: int, height: int) -> tuple[int, int, int, int]:
    """A part of an image of a cell's shape, as far as there is room, with a box in its middle."""
    x0, y0, x1, y1 = (float(v) for v in box)
    wide = max((x1 - x0) * CONTEXT, (y1 - y0) * CONTEXT * CELL[0] / CELL[1], CELL[0] / 3)
    high = wide * CELL[1] / CELL[0]
    spans = []
    for low, up, long, side in ((x0, x1, wide, width), (y0, y1, high, height)):
        long = min(max(1, round(long)), side)
        start = min(max(round((low + up - long) / 2), 0), side - long)
        spans.append((start, start + long))
    return spans[0][0], spans[1][0], spans[0][1], spans[1][1]
