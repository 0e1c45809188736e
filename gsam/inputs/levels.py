"""Values of any depth and any number of bands -> uint8 RGB, strip by strip."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from gsam.errors import ImageError

Scalar = TypeVar("Scalar", bound=np.generic)
IN_MEMORY = 1 << 29
"""Arrays of more bytes are kept in a temporary file that the system maps into memory."""
STRIP = 1 << 22
"""Values that are converted at a time."""
DARK = 64
"""Warn of 16-bit colour where 99 of 100 high bytes are below this."""


def blank(shape: tuple[int, ...], dtype: np.dtype[Scalar]) -> NDArray[Scalar]:
    """Make an array of zeros; a large one lies in a file without a name, not in memory."""
    if int(np.prod(shape, dtype=object)) * dtype.itemsize <= IN_MEMORY:
        return np.zeros(shape, dtype)
    with tempfile.TemporaryFile(prefix="gsam-") as file:
        return np.memmap(file, dtype, "w+", shape=shape)


def strips(height: int, width: int) -> Iterator[slice]:
    """Yield the rows of an image in strips of about `STRIP` values."""
    step = max(STRIP // max(width, 1), 1)
    return (slice(start, min(start + step, height)) for start in range(0, height, step))


def to_rgb(
    values: NDArray[Any],
    name: str,
    *,
    stretch: bool,
    bits: int | None = None,
    inverted: bool = False,
    unknown: float | None = None,
) -> NDArray[np.uint8]:
    """Turn values into an image.

    Whole numbers of up to 16 bits keep their highest byte. A range has to be measured, with
    ``stretch``, where nothing says it: for floats, more bits, and signed values below 0.

    Args:
        values: [H, W] grey or [H, W, 3] RGB.
        name: The file, for messages.
        stretch: Whether the least value becomes 0 and the largest 255, over all bands together.
            8-bit values stay as they are.
        bits: The number of bits that are used; by default those of the type.
        inverted: Whether 0 is white.
        unknown: The value of pixels that were not measured; they become black.

    Returns:
        [H, W, 3] uint8.

    Raises:
        gsam.errors.ImageError: The values have no known range and ``stretch`` is not asked for.
    """
    kind = values.dtype
    if kind.kind not in "uifb":
        raise ImageError(f"{name}: {kind} is no number that can be shown", "image_depth")
    if kind.kind == "b":
        values, kind, bits = values.view(np.uint8), np.dtype(np.uint8), 1
    bits = bits or 8 * kind.itemsize
    if kind == np.uint8 and bits == 8 and values.ndim == 3 and not inverted and unknown is None:
        return values  # which may be as large as memory
    out = blank((*values.shape[:2], 3), np.dtype(np.uint8))
    if stretch and not (kind.kind == "u" and bits <= 8):
        low, high = _range(values, unknown)
        span: float | None = max(high - low, 1e-12)
    else:
        low, span = 0.0, _span(values, bits, name)
    for rows in strips(*values.shape[:2]):
        part = values[rows]
        grey: NDArray[Any] = np.asarray(part, np.float64) if span is not None else part
        if span is not None:
            known = np.nan_to_num(grey, nan=low, posinf=np.inf, neginf=low)
            grey = np.clip((known - low) / span * 255, 0, 255)
        else:
            grey = grey >> (min(bits, 16) - 8) if bits > 8 else grey
        eight = grey.astype(np.uint8)
        if inverted:
            eight = 255 - eight
        if unknown is not None:
            eight[part == unknown] = 0
        out[rows] = eight if eight.ndim == 3 else eight[..., None]
    return out


def _span(values: NDArray[Any], bits: int, name: str) -> float | None:
    """Return the value that becomes 255, or None where the highest byte is taken.

    Warns of what is lost.
    """
    kind = values.dtype
    if kind.kind == "f":
        raise ImageError(f"{name}: floating-point pixels have no known range; {ASK}", "image_float")
    low, high = _extremes(values)
    if low < 0:
        raise ImageError(f"{name}: signed {bits}-bit pixels have no known range; {ASK}", "image_depth")
    if bits > 16 and high > 65535:
        raise ImageError(f"{name}: {bits}-bit pixels have no known range; {ASK}", "image_depth")
    if bits < 8:
        return (1 << bits) - 1.0
    if bits == 8:
        return None
    bits = min(bits, 16)
    if values.ndim == 2:
        warnings.warn(f"{name}: {bits} bits a pixel, the high byte is used{_dark(high, bits)}", stacklevel=8)
    elif _mostly_dark(values, bits):
        warnings.warn(f"{name}: {bits} bits a band, {DARK_TOLD}", stacklevel=8)
    return None


ASK = "open it with stretch=True (--stretch)"
DARK_TOLD = "the high byte is used, and nearly all is dark; stretch=True (--stretch) uses the whole range"


def warn_of_dark(pixels: NDArray[np.uint8], bits: int, name: str) -> None:
    """Warn of an image whose high bytes [H, W, 3] are all that was read, where they are dark."""
    if _mostly_dark(pixels, 8):
        warnings.warn(f"{name}: {bits} bits a band, {DARK_TOLD}", stacklevel=7)


def _dark(high: float, bits: int) -> str:
    most = (1 << bits) - 1
    return (
        ""
        if high * 4 > most
        else f", and nearly all is dark: {high:g} of {most} is the most; stretch=True (--stretch) uses all"
    )


def _mostly_dark(values: NDArray[Any], bits: int) -> bool:
    step = max(values.shape[0] * values.shape[1] // 1_000_000, 1)
    some = values.reshape(-1, values.shape[-1])[::step].max(-1)
    return bool(np.quantile(some, 0.99) < DARK << (bits - 8))


def _extremes(values: NDArray[Any]) -> tuple[float, float]:
    found = [(float(values[r].min()), float(values[r].max())) for r in strips(*values.shape[:2])]
    return min(low for low, _ in found), max(high for _, high in found)


def _range(values: NDArray[Any], unknown: float | None) -> tuple[float, float]:
    """The least and the largest finite value; 0 and 1 if there is none."""
    low, high = np.inf, -np.inf
    for rows in strips(*values.shape[:2]):
        part = np.asarray(values[rows], np.float64)
        known = part[np.isfinite(part) if unknown is None else np.isfinite(part) & (part != unknown)]
        if known.size:
            low, high = min(low, float(known.min())), max(high, float(known.max()))
    return (low, high) if low <= high else (0.0, 1.0)
