"""Tracks without their video: masks on plain ground, as notebooks show them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gsam.results.draw import contact_sheet
from gsam.results.draw.colours import numbered
from gsam.results.draw.outline import paint
from gsam.results.draw.overlay import line_width
from gsam.results.draw.plates import Caption, put
from gsam.results.masks.rle import Rle, area, bounds

GROUND = 236
"""A light grey."""
SHOWN, SIDE = 8, 240
"""Frames on a sheet, and pixels along a side of one."""
FILL = 0.5
"""There is no picture that the colour would hide."""


def frame_picture(size: tuple[int, int], ids: Sequence[int], labels: Sequence[str], rles: Sequence[Rle]) -> Image.Image:
    """Draw the masks of a frame, each in the colour of its id, with its name.

    Args:
        size: Height and width of the frame.
        ids: [N] identities.
        labels: [N] labels.
        rles: [N] masks as COCO run lengths.

    Returns:
        An RGB image of the size of the frame.
    """
    image = Image.new("RGB", (size[1], size[0]), (GROUND,) * 3)
    line = line_width(*size)
    order = sorted((i for i in range(len(ids)) if area(rles[i])), key=lambda i: -area(rles[i]))
    shapes = paint(image, [rles[i] for i in order], [numbered(ids[i]) for i in order], line, FILL)
    captions = [
        Caption(labels[i], f"#{ids[i]}", numbered(ids[i]), bounds(rles[i]), shape)
        for i, shape in zip(order, shapes, strict=True)
    ]
    put(image, captions, line, keep_numbers=True)
    return image


def sheet(indices: Sequence[int], masks: Callable[[int], NDArray[np.int64]]) -> Image.Image | None:
    """Draw some frames side by side, from the first to the last.

    Args:
        indices: Numbers of the frames there are.
        masks: Place of a frame in ``indices`` -> [H, W], the number of the object in each pixel.

    Returns:
        An RGB image; None where there is no frame.
    """
    if not len(indices):
        return None
    chosen = np.unique(np.linspace(0, len(indices) - 1, SHOWN).round().astype(int)).tolist()
    shown = []
    for place in chosen:
        found = masks(place)
        step = max(1, math.ceil(max(found.shape) / SIDE))
        shown.append(found[::step, ::step])
    instances = np.stack(shown)
    ground = np.full((*instances.shape, 3), GROUND, np.uint8)
    return contact_sheet.draw(ground, instances, columns=4, fill=FILL, numbers=[indices[place] for place in chosen])
