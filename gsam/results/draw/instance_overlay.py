"""Overlay of all masks without words: each in its own colour, the small over the large."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gsam.results.draw.colours import numbered
from gsam.results.draw.outline import paint
from gsam.results.draw.overlay import line_width
from gsam.types import JsonMapping


def draw(pixels: NDArray[np.uint8], records: Sequence[JsonMapping]) -> Image.Image:
    """Records of `gsam.MaskGenerator` with ``output_mode="coco_rle"`` over their image [H, W, 3].

    Colours follow the order of the records, so the same records give the same image.
    """
    image = Image.fromarray(pixels)
    line = line_width(*pixels.shape[:2])
    order = sorted(range(len(records)), key=lambda i: -records[i]["area"])
    paint(image, [records[i]["segmentation"] for i in order], [numbered(i) for i in order], line)
    return image
