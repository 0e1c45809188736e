"""Grids of points and layers of crops for automatic masks (segment_anything/utils/amg.py)."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
from numpy.typing import NDArray

Rectangle = tuple[int, int, int, int]
"""x0 y0 x1 y1, exclusive on the right and at the bottom."""


@dataclasses.dataclass(frozen=True)
class Crop:
    """A part of an image that is processed by itself."""

    xyxy: Rectangle
    layer: int
    """Crop layer: 0 is the whole image; layer i cuts it into 2^i by 2^i parts that overlap."""


def point_grid(side: int) -> NDArray[np.float64]:
    """Spread ``side`` by ``side`` points evenly over the unit square.

    Returns:
        [side^2, 2] as x y, x running fastest.
    """
    at = np.linspace(0.5 / side, 1 - 0.5 / side, side)
    return np.stack(np.meshgrid(at, at), -1).reshape(-1, 2)


def crops(size: tuple[int, int], layers: int, overlap_ratio: float) -> list[Crop]:
    """List the crops of an image: the whole of it, then each layer's, column by column.

    Crops without a pixel, which the original would cut out of tiny images and fail on, are left
    out.

    Args:
        size: (h, w) of the image in pixels.
        layers: Number of layers after the whole image.
        overlap_ratio: Overlap of neighbouring crops of the first layer, as a share of the shorter
            side; it halves from layer to layer.
    """
    height, width = size
    found = [Crop((0, 0, width, height), 0)]
    for layer in range(1, layers + 1):
        parts = 2**layer
        overlap = int(overlap_ratio * min(height, width) * (2 / parts))
        wide, high = (math.ceil((overlap * (parts - 1) + whole) / parts) for whole in (width, height))
        lefts, tops = ([int((long - overlap) * i) for i in range(parts)] for long in (wide, high))
        for x, y in itertools.product(lefts, tops):
            box = (x, y, min(x + wide, width), min(y + high, height))
            if box[2] > box[0] and box[3] > box[1]:
                found.append(Crop(box, layer))
    return found
