"""Files and Pillow's images -> upright uint8 RGB."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import struct
import warnings
from collections.abc import Iterator, Mapping
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps

from gsam.errors import ImageError
from gsam.inputs import deep, tiff
from gsam.inputs.levels import blank, strips, to_rgb, warn_of_dark
from gsam.inputs.signatures import refusal

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "AVIF", "JPEG2000")
MAX_PIXELS = 100_000_000


@dataclasses.dataclass(frozen=True)
class Options:
    """Settings of opening an image, those of `gsam.inputs.image.open_image`."""

    max_pixels: int
    composite: bool
    stretch: bool
    frame: int | None


def from_file(file: IO[bytes], name: str, options: Options) -> NDArray[np.uint8]:
    """Read an open file as [H, W, 3].

    Raises:
        gsam.errors.ImageError: It cannot be read; ``name`` begins the message.
    """
    with blamed(name):
        start = file.read(512)
        count, problem = None, None
        if start[:4] in tiff.MAGIC:
            try:
                with tiff.opened(file, name, options.frame or 0) as found:
                    _check_size(*found.size[::-1], name, options)
                    count, large = found.count, found.size[0] * found.size[1] > MAX_PIXELS
                    if not found.is_plain or (large and found.is_readable) or _by_pillow(file, start)[0] is None:
                        return _from_tiff(found, name, options)
            except tiff.DirectoryError as error:
                problem = error  # Pillow may know better
        image, why = _by_pillow(file, start)
        if image is None:
            raise ImageError(str(problem or f"{name}: {why}"))
        with image:
            return _decode(image, name, options, file, count)


def _from_tiff(found: tiff.Opened, name: str, options: Options) -> NDArray[np.uint8]:
    if found.count > 1 and options.frame is None:
        _warn_of_frames(name, found.count)
    given = {"composite": options.composite, "stretch": options.stretch}
    return np.ascontiguousarray(tiff.read(found, name, max_pixels=options.max_pixels, **given))


@functools.cache
def _formats() -> tuple[str, ...]:
    """Those of `FORMATS` that this Pillow was built with."""
    Image.init()
    return tuple(f for f in FORMATS if f in Image.OPEN)


def _by_pillow(file: IO[bytes], start: bytes) -> tuple[ImageFile.ImageFile | None, str]:
    """Open by the format that claims a file; None with what is wrong.

    Like `PIL.Image.open`, but that its limit of pixels is one for the whole process.
    """
    why = ""
    for kind in _formats():
        factory, accepts = Image.OPEN[kind]
        claimed = accepts is None or accepts(start[:16])
        if claimed is not True:
            continue
        file.seek(0)
        try:
            return factory(file, ""), ""
        except (SyntaxError, IndexError, TypeError, KeyError, struct.error) as error:
            why = f"{kind} of a kind that is not understood ({error or type(error).__name__})"
    return None, why or refusal(start, FORMATS)


def from_pillow(image: Image.Image, name: str, options: Options) -> NDArray[np.uint8]:
    """A user's image, at its frame; deep ones are read from its file again, where it is open."""
    file: Any = getattr(image, "fp", None)
    at = image.tell() if options.frame is None else options.frame
    options = dataclasses.replace(options, frame=at)
    unread = file if isinstance(image, ImageFile.ImageFile) and image.tile else None
    if image.format == "TIFF" and _is_deep(image):
        if unread is not None:
            return _again(unread, name, options)
        if _is_misread(image):
            raise ImageError(
                f"{name}: Pillow has read its planes of 16 bits wrongly: give the path", "image_unreadable"
            )
    if unread is not None and (
        at != image.tell() or (isinstance(image, ImageFile.ImageFile) and deep.bits_of(image) > 8)
    ):
        return _again(unread, name, options)
    if at != image.tell():
        raise ImageError(f"{name}: is at frame {image.tell()}: image.seek({at}) first", "image_no_frame")
    return _decode(image, name, options)


def _again(file: IO[bytes], name: str, options: Options) -> NDArray[np.uint8]:
    """Read the file of a user's image without touching what the image knows of it."""
    place = file.tell()
    try:
        file.seek(0)
        if file.read(4) in tiff.MAGIC:
            with tiff.opened(file, name, options.frame or 0) as found:
                _check_size(*found.size[::-1], name, options)
                return _from_tiff(found, name, options)
        file.seek(0)
        return from_file(io.BytesIO(file.read()), name, options)
    finally:
        file.seek(place)


def _is_deep(image: Image.Image) -> bool:
    """Whether a TIFF has more than 8 bits, by its tags."""
    bits = getattr(image, "tag_v2", {}).get(258, 8)
    return max(bits if isinstance(bits, tuple) else (bits,)) > 8


def _is_misread(image: Image.Image) -> bool:
    """Whether Pillow takes the planes of a deep TIFF for ones of 8 bits."""
    tags: Mapping[int, Any] = getattr(image, "tag_v2", {})
    return tags.get(284) == 2 and tags.get(277, 1) > 1


@contextlib.contextmanager
def blamed(name: str) -> Iterator[None]:
    """Whatever a decoder raises becomes an `ImageError`: a damaged file may trip any line of it."""
    try:
        yield
    except (ImageError, PermissionError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise ImageError(f"{name}: more pixels than it says ({error})", "image_too_large") from None
    except Exception as error:
        if isinstance(error, EOFError) or any(w in str(error).lower() for w in ("truncated", "not enough data")):
            raise ImageError(f"{name}: the file is truncated ({error or 'end of file'})", "image_truncated") from None
        raise ImageError(f"{name}: {error or type(error).__name__}", "image_unreadable") from None


def _check_size(width: int, height: int, name: str, options: Options) -> None:
    if width * height > options.max_pixels:
        told = f"{width} x {height} is more than {options.max_pixels:,} pixels"
        raise ImageError(f"{name}: {told}; max_pixels (--max-pixels) raises the limit", "image_too_large")
    if width == 0 or height == 0:
        raise ImageError(f"{name}: is empty, {width} x {height}", "image_empty")


def _decode(
    image: Image.Image, name: str, options: Options, file: IO[bytes] | None = None, count: int | None = None
) -> NDArray[np.uint8]:
    _check_size(image.width, image.height, name, options)
    bits = deep.bits_of(image) if isinstance(image, ImageFile.ImageFile) else 8
    if file is not None and image.format != "MPO":  # a phone's second image is no animation
        count = getattr(image, "n_frames", 1) if count is None else count
        if options.frame is not None:
            if not 0 <= options.frame < max(count, getattr(image, "n_frames", 1)):
                raise ImageError(f"{name}: has no frame {options.frame}, it has {count}", "image_no_frame")
            image.seek(options.frame)
        elif count > 1:
            _warn_of_frames(name, count)
            image.seek(0)
    if bits > 8 and options.stretch and file is not None and isinstance(image, ImageFile.ImageFile):
        values = deep.whole(image, file)
        if values is not None:
            return _deep_colour(values, image, name, options)
    image.load()
    with contextlib.suppress(Exception):  # a damaged orientation is no orientation
        image = ImageOps.exif_transpose(image)
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return to_rgb(np.asarray(image), name, stretch=options.stretch)
    transparent = image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info
    if options.composite and transparent:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    elif image.mode in ("P", "PA"):
        image = image.convert("RGBA" if transparent else "RGB")
    pixels = blank((image.height, image.width, 3), np.dtype(np.uint8))
    for rows in strips(image.height, image.width):
        pixels[rows] = np.asarray(image.crop((0, rows.start, image.width, rows.stop)).convert("RGB"))
    if bits > 8 and options.stretch:
        pixels = to_rgb(pixels.astype(np.uint16), name, stretch=True)
        warnings.warn(f"{name}: {bits} bits a band, stretched from 8; gsam-jax[tiff] reads all", stacklevel=5)
    elif bits > 8:
        warn_of_dark(pixels, bits, name)
    return pixels


def _deep_colour(
    values: NDArray[np.uint16], image: ImageFile.ImageFile, name: str, options: Options
) -> NDArray[np.uint8]:
    """All bits of PNG, PPM or JPEG 2000, stretched; transparency keeps its own range."""
    grey = values.shape[-1] < 3
    pixels = to_rgb(values[..., 0] if grey else values[..., :3], name, stretch=True)
    if options.composite and values.shape[-1] in (2, 4):
        share = (values[..., -1:] / np.float32(65535)).astype(np.float32)
        pixels = (pixels * share + 255 * (1 - share) + 0.5).astype(np.uint8)
    with contextlib.suppress(Exception):
        turn = int(image.getexif().get(274, 1))
        pixels = np.ascontiguousarray(tiff.turned(pixels, turn))
    return pixels


def _warn_of_frames(name: str, count: int) -> None:
    told = f"{name}: only the first of {count} frames is used"
    warnings.warn(f"{told}; gsam.open_image(path, frame=1) takes another", stacklevel=6)
