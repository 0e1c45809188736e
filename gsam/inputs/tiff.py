"""TIFF that Pillow has no mode for, or reads wrongly: deep, planar, many bands, floats, very large.

Pages are described by tifffile; `gsam.inputs.tiff_segments` reads them piece by piece, so that no
more is in memory than the bands that are shown.
"""

from __future__ import annotations

import dataclasses
import logging
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gsam.errors import ImageError
from gsam.inputs.levels import blank, strips, to_rgb
from gsam.inputs.tiff_segments import OWN, dtype_of, segments

if TYPE_CHECKING:
    import tifffile

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK = 0, 1, 2, 3, 5
FEW = 64
"""Files of more pages are not searched for smaller copies of the first."""

logging.getLogger("tifffile").addHandler(logging.NullHandler())  # it tells of every odd tag


class DirectoryError(ImageError):
    """The directory of a TIFF cannot be read."""


@dataclasses.dataclass(frozen=True)
class Opened:
    """A page, not yet read."""

    page: tifffile.TiffPage
    count: int
    """Number of pages, without smaller copies and masks."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width as stored."""
        return self.page.imagelength, self.page.imagewidth

    @property
    def is_plain(self) -> bool:
        """Whether Pillow reads it right."""
        page = self.page
        if page.photometric not in (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, CMYK):
            return True
        small = page.bitspersample in (1, 2, 4) and page.samplesperpixel == 1
        many = page.samplesperpixel > 4 or (page.samplesperpixel == 2 and not page.extrasamples)
        return (page.bitspersample == 8 or small) and int(page.sampleformat or 1) in (1, 4) and not many

    @property
    def is_readable(self) -> bool:
        """Whether `read` can read it without imagecodecs."""
        return self.page.photometric in (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, CMYK) and self.page.compression in OWN


@contextmanager
def opened(file: IO[bytes], name: str, frame: int = 0) -> Iterator[Opened]:
    """Open a page of a TIFF file.

    Raises:
        gsam.errors.ImageError: There is no such page, or it is damaged.
    """
    import tifffile

    file.seek(0)
    try:
        tif = tifffile.TiffFile(file)
        count = len(tif.pages)
        if not count:
            raise ValueError("no page can be found")
        if not 0 <= frame < count:
            raise ImageError(f"{name}: has no page {frame}, it has {count}", "image_no_frame")
        page = tif.pages[frame]
        if not isinstance(page, tifffile.TiffPage):
            page = page.aspage()
        if count <= FEW:
            count -= sum(bool(int(_tag(p, 254) or 0) & 5) for p in tif.pages[1:])
    except (tifffile.TiffFileError, struct.error, ValueError, TypeError, IndexError, KeyError, OSError) as error:
        if isinstance(error, ImageError):
            raise
        raise DirectoryError(f"{name}: TIFF whose directory is damaged ({error})") from None
    yield Opened(page, max(count, 1))


def read(found: Opened, name: str, *, max_pixels: int, composite: bool, stretch: bool) -> NDArray[np.uint8]:
    """Read a page as uint8 RGB, upright.

    Grey, RGB and CMYK of any depth; of more bands the first three. Values marked as not measured
    (GDAL_NODATA) are black.

    Args:
        found: The page.
        name: The file, for messages.
        max_pixels: The largest number of pixels.
        composite: Whether transparency is put on white.
        stretch: Whether the range of values becomes 0..255.

    Returns:
        [H, W, 3] uint8.

    Raises:
        gsam.errors.ImageError: Something of it is not understood; the message says what.
    """
    page, (height, width) = found.page, found.size
    if page.photometric not in (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, CMYK):
        colours = getattr(page.photometric, "name", page.photometric)
        told = " (a camera's raw file: develop it first)" if colours in ("CFA", "LINEAR_RAW") else ""
        raise ImageError(f"{name}: TIFF of colours {colours}{told} with {page.bitspersample} bits is not understood")
    if min(height, width, page.samplesperpixel) < 1:
        raise ImageError(f"{name}: is empty, {width} x {height}", "image_empty")
    kind = dtype_of(page, name)
    alpha = _alpha(page)
    colours = [b for b in range(page.samplesperpixel) if b != alpha]
    used = colours[: 4 if page.photometric == CMYK else 3 if len(colours) > 2 else 1]
    bands = [*used, alpha] if composite and alpha is not None else used
    if height * width * len(bands) * kind.itemsize > 16 * max_pixels:
        raise ImageError(
            f"{name}: its pixels take {kind.itemsize * len(bands)} bytes each, more than max_pixels allows",
            "image_too_large",
        )
    if len(used) < len(colours):
        which = "the first three are used as red, green and blue" if len(used) == 3 else "the first is used"
        warnings.warn(f"{name}: has {len(colours)} bands, {which}", stacklevel=7)
    values = blank((height, width, len(bands)), kind.newbyteorder("="))
    for band, y, x, part in segments(page, frozenset(bands), name):
        here = bands.index(band) if part.shape[2] == 1 else slice(None)
        values[y : y + part.shape[0], x : x + part.shape[1], here] = (
            part[..., 0] if part.shape[2] == 1 else part[..., bands]
        )
    inverted = page.photometric == WHITE_IS_ZERO
    grey = len(used) == 1
    out = (
        to_rgb(
            values[..., 0] if grey else values[..., : 3 if len(used) == 3 else 4],
            name,
            stretch=stretch,
            bits=page.bitspersample,
            inverted=inverted,
            unknown=_unmeasured(page),
        )
        if len(used) < 4
        else _from_cmyk(values[..., :4], page.bitspersample)
    )
    if len(bands) > len(used):
        _on_white(out, values[..., -1], page.bitspersample, bool(page.extrasamples and page.extrasamples[0] == 1))
    return turned(out, int(_tag(page, 274) or 1))


def _alpha(page: tifffile.TiffPage) -> int | None:
    """The band that says how transparent a pixel is; None without."""
    first = page.samplesperpixel - len(page.extrasamples)
    return next((first + i for i, kind in enumerate(page.extrasamples) if int(kind) in (1, 2)), None)


def _tag(page: tifffile.TiffPage | tifffile.TiffFrame, code: int) -> Any:
    tags = getattr(page, "tags", None)
    tag = tags.get(code) if tags is not None else None
    return None if tag is None else tag.value


def _unmeasured(page: tifffile.TiffPage) -> float | None:
    try:
        return float(str(_tag(page, 42113)).strip("\0 ")) if _tag(page, 42113) is not None else None
    except ValueError:
        return None


def _from_cmyk(values: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    out = blank((*values.shape[:2], 3), np.dtype(np.uint8))
    for rows in strips(*values.shape[:2]):
        ink = (values[rows] >> (bits - 8)).astype(np.uint8)
        out[rows] = np.asarray(Image.frombytes("CMYK", ink.shape[1::-1], ink.tobytes()).convert("RGB"))
    return out


def _on_white(out: NDArray[np.uint8], alpha: NDArray[Any], bits: int, multiplied: bool) -> None:
    for rows in strips(*alpha.shape):
        share = (alpha[rows].astype(np.float32) / ((1 << bits) - 1))[..., None]
        colour = out[rows].astype(np.float32) * (1 if multiplied else share)
        out[rows] = np.clip(colour + 255 * (1 - share) + 0.5, 0, 255).astype(np.uint8)


def turned(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Turn a stored image [H, W, 3] upright by its orientation, 1 to 8; others are none."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    across = -1 if orientation in (2, 3, 6, 7) else 1
    down = -1 if orientation in (3, 4, 7, 8) else 1
    return pixels[::down, ::across]
