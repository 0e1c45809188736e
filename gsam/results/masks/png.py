"""Masks as PNG files of one bit a pixel, for whoever draws them: browsers, for instance."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def pack(mask: NDArray[np.bool_]) -> bytes:
    """Write a mask [H, W] as a PNG: palette, transparent where it is not."""
    image = Image.fromarray(np.asarray(mask, np.uint8), "P")
    image.putpalette([0, 0, 0, 255, 255, 255])
    buffer = io.BytesIO()
    image.save(buffer, "PNG", bits=1, transparency=b"\x00\xff", compress_level=3)
    return buffer.getvalue()
