"""Images as JPEG files in memory, for whoever shows them: browsers, for instance."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

QUALITY = 88


def pack(pixels: NDArray[np.uint8], quality: int = QUALITY) -> bytes:
    """Write pixels [H, W, 3] uint8 RGB as a JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()
