"""Arrays of a user -> uint8 RGB, or what to do with them instead."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gsam.errors import ImageError
from gsam.inputs.levels import to_rgb


def from_array(array: NDArray[Any], *, max_pixels: int, composite: bool, stretch: bool) -> NDArray[np.uint8]:
    """Check an array and bring it to [H, W, 3] uint8 RGB.

    Args:
        array: [H, W] or [H, W, 1] grey, [H, W, 3] RGB or [H, W, 4] RGBA; uint8, or numbers of any
            type with ``stretch``.
        max_pixels: The largest number of pixels.
        composite: Whether transparency is put on white, not dropped.
        stretch: Whether the range of the numbers becomes 0..255.

    Returns:
        [H, W, 3] uint8, contiguous.

    Raises:
        ValueError: The shape is another.
        TypeError: The numbers are not uint8.
        gsam.errors.ImageError: The array is empty, too large, or has no range.
    """
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[-1] not in (1, 3, 4):
        raise ValueError(f"an array must be [H, W, 3] RGB, [H, W, 4] RGBA or [H, W] grey, this one is {_shape(array)}")
    if array.dtype != np.uint8 and not (stretch and array.dtype.kind in "uif"):
        raise TypeError(f"an array must be uint8 (0 to 255), this one is {array.dtype}{_advice(array)}")
    if 0 in array.shape:
        raise ImageError(f"the picture is empty, {list(array.shape)}", "image_empty")
    if array.shape[0] * array.shape[1] > max_pixels:
        size = f"{array.shape[1]} x {array.shape[0]}"
        raise ImageError(f"{size} is more than {max_pixels:,} pixels; max_pixels raises the limit", "image_too_large")
    if array.dtype != np.uint8:
        bands = array[..., 0] if array.shape[-1] == 1 else array[..., :3]
        return to_rgb(bands, "this array", stretch=True)
    if array.shape[-1] == 1:
        return np.repeat(array, 3, -1)
    if array.shape[-1] == 4:
        alpha, array = array[..., 3:].astype(np.uint16), array[..., :3]
        if composite:
            array = ((array * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    return np.ascontiguousarray(array)


def _shape(array: NDArray[Any]) -> str:
    shape = list(array.shape)
    if array.ndim == 3 and array.shape[0] in (1, 3, 4):
        return f"{shape}; channels come last: array.transpose(1, 2, 0)"
    if array.ndim == 4:
        return f"{shape}, a batch: pipe.stream(list(array), query) takes one, a single image is array[0]"
    if array.ndim == 3:
        return f"{shape}; choose three of its {array.shape[-1]} bands: array[..., [0, 1, 2]]"
    return str(shape)


def _advice(array: NDArray[Any]) -> str:
    if array.dtype == bool:
        return "; a mask as an image is array.astype(numpy.uint8) * 255"
    if array.dtype.kind not in "uif" or not array.size:
        return ""
    low, high = float(array.min()), float(array.max())
    if array.dtype.kind == "f" and low >= 0 and high <= 1:
        return "; multiply by 255 and convert: (array * 255).round().astype(numpy.uint8)"
    if low >= 0 and high <= 255:
        return (
            "; convert it: array.round().astype(numpy.uint8)"
            if array.dtype.kind == "f"
            else ("; convert it: array.astype(numpy.uint8)")
        )
    return f", from {low:g} to {high:g}; gsam.open_image(array, stretch=True) maps that range to 0..255"
