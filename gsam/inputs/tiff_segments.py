"""Strips and tiles of a TIFF -> numbers; never more than a segment is said to hold.

No compression, LZW, deflate, LZMA, PackBits and Zstandard are read here; any other by imagecodecs
(the extra ``tiff``).
"""

from __future__ import annotations

import io
import lzma
import struct
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import TiffImagePlugin

from gsam.errors import ImageError
from gsam.inputs.levels import strips

if TYPE_CHECKING:
    import tifffile

OWN = {1: "none", 5: "LZW", 8: "deflate", 32946: "deflate", 34925: "LZMA", 32773: "PackBits", 50000: "Zstandard"}
Segment = tuple[int, int, int, NDArray[Any]]
"""First band, row, column, and the values [h, w, bands]."""


def segments(page: tifffile.TiffPage, bands: frozenset[int], name: str) -> Iterator[Segment]:
    """Read the segments of a page that hold some of its bands.

    Args:
        page: The page.
        bands: The bands that are wanted; others are skipped where they are stored apart.
        name: The file, for messages.

    Yields:
        The segments that are there; of the others the file says that they are empty.

    Raises:
        gsam.errors.ImageError: A segment is cut off, or compressed by what cannot be read.
    """
    kind = dtype_of(page, name)
    apart = page.planarconfig == 2 and page.samplesperpixel > 1
    count = 1 if apart else page.samplesperpixel
    high, wide = (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, page.imagewidth)
    high = high if page.is_tiled else min(high, page.imagelength)
    across, down = -(-page.imagewidth // wide), -(-page.imagelength // high)
    file = page.parent.filehandle
    for i, (offset, size) in enumerate(zip(page.dataoffsets, page.databytecounts, strict=False)):
        band, rest = divmod(i, across * down)
        y, x = rest // across * high, rest % across * wide
        if not size or not offset or (apart and band not in bands):
            continue
        if band >= (page.samplesperpixel if apart else 1):
            return
        file.seek(offset)
        data = file.read(size)
        rows = high if page.is_tiled else min(high, page.imagelength - y)
        if page.compression in OWN:
            values = _values(page, data, (rows, wide, count), kind, name)
        else:
            values = _foreign(page, data, i, name)
        rows, columns = min(len(values), page.imagelength - y), min(wide, page.imagewidth - x)
        yield band, y, x, values[:rows, :columns]


def dtype_of(page: tifffile.TiffPage, name: str) -> np.dtype[Any]:
    """Return the type of a page's values, in the file's byte order.

    Raises:
        gsam.errors.ImageError: numpy has no such type.
    """
    bits, form = page.bitspersample, int(page.sampleformat or 1)
    if not isinstance(bits, int) or form not in (1, 2, 3, 4):
        what = "complex numbers" if form in (5, 6) else f"bands of {bits} bits"
        raise ImageError(f"{name}: TIFF with {what} is not understood", "image_depth")
    letter = {1: "u", 2: "i", 3: "f", 4: "u"}[form]
    if bits in ((16, 32, 64) if letter == "f" else (8, 16, 32, 64)):
        return np.dtype(f"{page.parent.byteorder}{letter}{bits // 8}")
    if letter == "u" and bits < 32:
        return np.dtype(np.uint8 if bits < 8 else np.uint16 if bits <= 16 else np.uint32)
    raise ImageError(f"{name}: TIFF with {bits}-bit {'floats' if letter == 'f' else 'integers'} is not understood")


def _values(
    page: tifffile.TiffPage, data: bytes, shape: tuple[int, int, int], kind: np.dtype[Any], name: str
) -> NDArray[Any]:
    rows, wide, count = shape
    bits = page.bitspersample
    line = -(-wide * count * bits // 8)
    data = data if page.fillorder == 1 else (_TURNED[np.frombuffer(data, np.uint8)]).tobytes()
    flat = _inflated(page.compression, data, (rows, line), name)
    if len(flat) < rows * line:
        raise ImageError(
            f"{name}: the file is truncated (a strip has {len(flat)} of {rows * line} bytes)", "image_truncated"
        )
    lines = np.frombuffer(flat, np.uint8, rows * line).reshape(rows, line)
    if page.predictor == 3 and kind.kind == "f":
        return _float_predicted(lines, shape, kind)
    if bits == 8 * kind.itemsize:
        values: NDArray[Any] = lines.view(kind).reshape(shape)
    else:
        values = _unpacked(lines, shape, bits, kind)
    if page.predictor == 2:
        native = values.astype(kind.newbyteorder("="))
        return np.cumsum(native, axis=1, dtype=native.dtype)
    if page.predictor != 1:
        raise ImageError(f"{name}: TIFF predictor {page.predictor} is not understood")
    return values


def _inflated(compression: int, data: bytes, shape: tuple[int, int], name: str) -> bytes:
    """At most rows x bytes of a segment."""
    most = shape[0] * shape[1]
    try:
        if compression in (8, 32946):
            return zlib.decompressobj().decompress(data, most)
        if compression == 34925:
            return lzma.LZMADecompressor().decompress(data, most)
    except (zlib.error, lzma.LZMAError) as error:
        raise ImageError(f"{name}: a strip is damaged ({error})", "image_unreadable") from None
    if compression in (5, 32773, 50000):
        return _by_pillow(compression, data, *shape)
    return data[:most]


def _by_pillow(compression: int, data: bytes, rows: int, line: int) -> bytes:
    """Give a segment to libtiff as an 8-bit picture of its bytes, whatever they mean."""
    tags = (
        (256, line),
        (257, rows),
        (258, 8),
        (259, compression),
        (262, 1),
        (273, 8),
        (277, 1),
        (278, rows),
        (279, len(data)),
    )
    start = 8 + len(data) + len(data) % 2
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", t, 4, 1, v) for t, v in tags) + bytes(4)
    file = b"II*\0" + struct.pack("<I", start) + data + bytes(len(data) % 2) + directory
    with TiffImagePlugin.TiffImageFile(io.BytesIO(file)) as image:  # `Image.open` would look for bombs
        return image.tobytes()


def _float_predicted(lines: NDArray[np.uint8], shape: tuple[int, int, int], kind: np.dtype[Any]) -> NDArray[Any]:
    """Undo predictor 3 (Adobe's TIFF Technical Note 3): differences of bytes, the highest first."""
    rows, wide, count = shape
    whole = np.cumsum(lines.reshape(rows, -1, count), axis=1, dtype=np.uint8)
    planes = whole.reshape(rows, kind.itemsize, wide * count)
    return np.ascontiguousarray(planes.swapaxes(1, 2)).view(kind.newbyteorder(">")).reshape(shape)


def _unpacked(lines: NDArray[np.uint8], shape: tuple[int, int, int], bits: int, kind: np.dtype[Any]) -> NDArray[Any]:
    """Values of any number of bits, the highest first; rows begin at bytes."""
    rows, wide, count = shape
    out = np.empty(shape, kind)
    weights = 1 << np.arange(bits - 1, -1, -1, dtype=np.int64)
    for some in strips(rows, wide * count * bits):
        every = np.unpackbits(lines[some], axis=1)[:, : wide * count * bits]
        out[some] = (every.reshape(len(every), wide, count, bits) @ weights).astype(kind)
    return out


def _foreign(page: tifffile.TiffPage, data: bytes, index: int, name: str) -> NDArray[Any]:
    import tifffile

    compression = getattr(page.compression, "name", page.compression)
    try:
        tables = {"jpegtables": page.jpegtables, "jpegheader": page.jpegheader} if page.compression in (6, 7) else {}
        values = page.decode(data, index, **tables)[0]
    except Exception as error:  # a codec may raise anything
        told = f"{name}: TIFF compressed by {compression}"
        if page.compression not in list(tifffile.COMPRESSION):
            raise ImageError(f"{told}, which is not known here: convert it", "image_codec_missing") from None
        if "imagecodecs" in str(error) or page.compression not in tifffile.TIFF.DECOMPRESSORS:
            told += " needs imagecodecs: pip install 'gsam-jax[tiff]'"
            raise ImageError(told, "image_codec_missing") from None
        raise ImageError(f"{told} cannot be read ({error})") from None
    if values is None:
        raise ImageError(f"{name}: a strip is empty", "image_truncated")
    return values[0]


_TURNED = np.packbits(np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1)[:, ::-1], axis=1)[:, 0]
