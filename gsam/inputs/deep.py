"""16-bit colour of PNG, PPM and JPEG 2000, of which Pillow hands out the high byte alone."""

from __future__ import annotations

import contextlib
import re
import struct
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import ImageFile, PngImagePlugin

LOW_BYTE = {"RGB;16B": "RGB;16L", "RGBA;16B": "RGBA;16L"}
"""Pillow's raw modes that take the high byte, and those that take the other one."""


def bits_of(image: ImageFile.ImageFile) -> int:
    """Bits of a band of a colour image that is not yet read, 8 where Pillow gives all of them."""
    if image.mode not in ("RGB", "RGBA", "LA") or not image.tile:
        return 8
    codec, arguments = image.tile[0].codec_name, image.tile[0].args or ""
    if image.format == "PNG":
        return 16 if str(arguments).endswith(";16B") else 8
    if image.format == "PPM" and codec in ("ppm", "ppm_plain"):
        return max(int(str(arguments[-1])).bit_length(), 8)
    return _bits_of_jpeg2000(image) if image.format == "JPEG2000" else 8


def whole(image: ImageFile.ImageFile, file: IO[bytes]) -> NDArray[np.uint16] | None:
    """Read all bits of the bands of an image.

    Args:
        image: An image of `file` that is not yet read.
        file: Its file.

    Returns:
        [H, W, bands]; None where only the high byte can be read.
    """
    if image.format == "PNG":
        return _png(image, file)
    if image.format == "PPM" and image.tile[0].codec_name == "ppm":
        file.seek(image.tile[0].offset)
        count = image.width * image.height * 3
        data = file.read(2 * count)
        return np.frombuffer(data, ">u2", count).reshape(image.height, image.width, 3).astype(np.uint16)
    if image.format == "JPEG2000":
        with contextlib.suppress(ImportError):
            import imagecodecs

            file.seek(0)
            values = np.asarray(imagecodecs.jpeg2k_decode(file.read()))
            return values if values.dtype == np.uint16 and values.ndim == 3 else None
    return None


def _png(image: ImageFile.ImageFile, file: IO[bytes]) -> NDArray[np.uint16]:
    def read(mode: str, raw: str) -> NDArray[np.uint8]:
        file.seek(0)
        again = PngImagePlugin.PngImageFile(file)
        again._close_exclusive_fp_after_loading = False
        again.seek(image.tell())
        again._mode = mode
        again.tile = [again.tile[0]._replace(args=raw)]
        return np.asarray(again)

    if image.mode == "LA":  # four bytes a pixel, whatever they mean
        every = read("RGBA", "RGBA")
        bands = every.reshape(*every.shape[:2], 2, 2).astype(np.uint16)
        return bands[..., 0] << np.uint16(8) | bands[..., 1]
    raw = f"{image.mode};16B"
    high, low = read(image.mode, raw), read(image.mode, LOW_BYTE[raw])
    return high.astype(np.uint16) << np.uint16(8) | low


def _bits_of_jpeg2000(image: ImageFile.ImageFile) -> int:
    """The bits that the codestream's SIZ marker says."""
    file = getattr(image, "fp", None)
    if file is None:
        return 8
    at = file.tell()
    file.seek(0)
    start = file.read(1 << 16)
    file.seek(at)
    found = re.search(rb"\xff\x4f\xff\x51", start)
    if found is None or len(start) < found.end() + 39:
        return 8
    (depth,) = struct.unpack_from("B", start, found.end() + 38)
    return int(depth & 0x7F) + 1
