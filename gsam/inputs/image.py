"""Image input: anything a user may pass -> upright uint8 RGB -> the views the stages ask for.

Pillow and numpy only.  Formats come from an allow-list, sizes are checked before anything is
decoded, and what a file says about its orientation is obeyed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import os
import stat
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from gsam.errors import ImageError
from gsam.inputs import letterbox
from gsam.inputs.resizing import resized

if TYPE_CHECKING:
    from gsam.types import View  # which needs JAX; opening an image does not

Source = str | os.PathLike[str] | bytes | Image.Image | NDArray[Any]
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "AVIF", "JPEG2000")
MAX_PIXELS = 100_000_000


@dataclasses.dataclass(frozen=True)
class Picture:
    """An opened image."""

    pixels: NDArray[np.uint8]
    """[H, W, 3] RGB, upright."""
    name: str | None = None
    """The file's name, if it came from one."""
    views: Mapping[str, NDArray[Any]] = dataclasses.field(default_factory=dict)
    """Views made already, by `View.key`, on the smallest canvas that holds it alone."""


@dataclasses.dataclass(frozen=True)
class _Options:
    max_pixels: int
    alpha: str
    stretch: bool


def open_image(
    source: Source,
    *,
    max_pixels: int = MAX_PIXELS,
    alpha: Literal["drop", "composite"] = "drop",
    stretch: bool = False,
) -> Picture:
    """Open a path, a PIL image, uint8 RGB [H, W, 3] or the bytes of a file.

    EXIF orientation is applied.  16-bit images keep their high byte; float images need
    ``stretch``, which maps their range to 0..255 (and does the same for 16 bits).  Transparency is
    dropped, or put on white with ``alpha="composite"``. Of an animation or several pages, the first
    is taken with a warning.  Raises `ImageError`, whose code says what is wrong, and `TypeError`
    for what is no image at all.
    """
    options = _Options(max_pixels, alpha, stretch)
    if isinstance(source, np.ndarray):
        return Picture(_array(source, max_pixels))
    if isinstance(source, Image.Image):
        with _blame("this picture", options):
            return Picture(_decode(source, "this picture", options))
    if isinstance(source, bytes | bytearray | memoryview):
        return Picture(_from_file(io.BytesIO(source), "these bytes", options))
    if not isinstance(source, str | os.PathLike):
        raise TypeError(f"a picture is a path, a PIL image, a uint8 array or bytes, not {type(source).__name__}")
    path = Path(source)
    name = _shown(path)
    try:
        mode = path.stat().st_mode  # before opening: a FIFO would wait for ever
        if not stat.S_ISREG(mode):
            kind = "a folder" if stat.S_ISDIR(mode) else "not a regular file"
            raise ImageError(f"{name}: is {kind}", "image_not_a_file")
        with path.open("rb") as file:
            return Picture(_from_file(file, name, options), path.name)
    except FileNotFoundError:
        raise ImageError(f"{name}: no such file", "image_missing") from None
    except PermissionError:
        raise ImageError(f"{name}: permission denied", "image_forbidden") from None
    except ImageError:
        raise
    except (OSError, ValueError) as error:  # a name that is too long, holds NUL, links to itself
        raise ImageError(f"{name}: {getattr(error, 'strerror', None) or error}", "image_missing") from None


def make_view(pixels: NDArray[np.uint8], view: View, shape: tuple[int, int] | None = None) -> NDArray[Any]:
    """Return a stage's view [S, S, 3] ([H, W, 3] for ``shape``), uint8 or float32 in 0..255."""
    h, w = pixels.shape[:2]
    if view.fit == "square":
        side = max(h, w)
        padded = np.full((side, side, 3), view.pad, view.dtype)
        padded[:h, :w] = pixels
        return resized(padded, (view.size, view.size), view.filter)
    if view.fit == "letterbox":
        return letterbox.place(pixels, view.size, shape or canvas(view, [(h, w)]), round(view.pad))
    rows, columns = content(view, (h, w))
    small = resized(pixels, (rows, columns), view.filter)
    shape = shape or canvas(view, [(h, w)])
    if (rows, columns) == shape:
        return small
    out = np.full((*shape, 3), round(view.pad), small.dtype)
    out[:rows, :columns] = small
    return out


def content(view: View, size: tuple[int, int]) -> tuple[int, int]:
    """Return the rows and columns of a view that an image of ``size`` (h, w) fills.

    As in segment_anything: the scale in double precision, then ``int(side * scale + 0.5)``; at
    least one pixel.  The shorter side as in GroundingDINO (``datasets/transforms.py``): it is
    rounded first, and the longer one cut to whole pixels from it, which may pass the limit by a few
    (of images longer than 20:1 by many: there we stop).
    """
    h, w = size
    if view.fit == "squash":
        return view.size, view.size
    if view.fit == "letterbox":
        return letterbox.content(view.size, size)
    if view.fit == "shortest":
        return _shortest(view, h, w)
    scale = view.size * 1.0 / max(h, w)
    if view.fit == "at_most":
        scale = min(scale, 1.0)
    return max(int(h * scale + 0.5), 1), max(int(w * scale + 0.5), 1)


def canvas(view: View, sizes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Rows and columns of a view that holds images of ``sizes`` (h, w) together.

    A square, but for the fits ``"shortest"`` and ``"letterbox"``: there one of a few rectangles,
    multiples of 64 and of 128, so that few programs are compiled.
    """
    if view.fit == "letterbox":
        return letterbox.canvas(view.size, sizes)
    if view.fit != "shortest":
        return view.size, view.size
    rows, columns = np.max([content(view, s) for s in sizes], axis=0)
    full, most = _up(view.size), _up(view.limit)
    longer = sorted({most - step for step in range(0, most - full, 128)} | {full})
    long = next(side for side in longer if side >= max(rows, columns))
    short = full if long < most else next(s for s in [*range(128, full, 128), full, most] if s >= min(rows, columns))
    short = long if min(rows, columns) > short else short
    return (short, long) if columns >= rows else (long, short)


def middle(pixels: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Square an image as CLIP does: shorter side to ``size``, bicubic; the longer is cropped.

    An image longer than 16:1 is cut to its middle first, so that scaling it needs no memory for
    what is cut anyway.
    """
    h, w = pixels.shape[:2]
    short = min(h, w)
    if max(h, w) > 16 * short:
        top, left = max((h - 16 * short) // 2, 0), max((w - 16 * short) // 2, 0)
        pixels = np.ascontiguousarray(pixels[top : top + 16 * short, left : left + 16 * short])
        h, w = pixels.shape[:2]
    rows, columns = (size, int(size * w / h)) if h <= w else (int(size * h / w), size)
    small = np.asarray(Image.fromarray(pixels).resize((columns, rows), Image.Resampling.BICUBIC))
    top, left = round((rows - size) / 2.0), round((columns - size) / 2.0)
    return small[top : top + size, left : left + size]


def _up(side: int) -> int:
    return -(-side // 64) * 64


def _shortest(view: View, h: int, w: int) -> tuple[int, int]:
    low, high = min(h, w), max(h, w)
    size = view.size
    if high / low * size > view.limit:
        size = max(round(view.limit * low / high), 1)
    longer = min(high if low == size else int(size * high / low), _up(view.limit))
    return (size, longer) if h <= w else (longer, size)


@functools.cache
def _formats() -> tuple[str, ...]:
    """Those of `FORMATS` that this Pillow was built with."""
    Image.init()
    return tuple(f for f in FORMATS if f in Image.OPEN)


def _from_file(file: IO[bytes], name: str, options: _Options) -> NDArray[np.uint8]:
    with _blame(name, options):
        try:
            image = Image.open(file, formats=_formats())
        except UnidentifiedImageError:
            file.seek(0)
            raise _refused(file.read(512), name) from None
        with image:
            return _decode(image, name, options)


@contextlib.contextmanager
def _blame(name: str, options: _Options) -> Iterator[None]:
    """Whatever a decoder raises becomes an `ImageError`: a damaged file may trip any line of it."""
    try:
        yield
    except (ImageError, PermissionError, MemoryError):
        raise
    except Image.DecompressionBombError:
        most = min(options.max_pixels, 2 * (Image.MAX_IMAGE_PIXELS or options.max_pixels))
        raise ImageError(f"{name}: more than {most:,} pixels", "image_too_large") from None
    except Exception as error:
        if isinstance(error, EOFError) or any(w in str(error).lower() for w in ("truncated", "not enough data")):
            raise ImageError(f"{name}: the file is truncated ({error or 'end of file'})", "image_truncated") from None
        raise ImageError(f"{name}: {error or type(error).__name__}", "image_unreadable") from None


def _refused(start: bytes, name: str) -> ImageError:
    """Describe a file that no allowed format claims, by its first bytes."""
    text = start.lstrip().lower()
    if not start:
        what = "an empty file"
    elif start[4:8] == b"ftyp" and start[8:12] in (b"heic", b"heix", b"mif1", b"msf1", b"heim", b"heis"):
        what = "HEIC: convert it to JPEG or PNG, or pass what pillow-heif opens"
    elif text.startswith((b"<!doctype html", b"<html")):
        what = "a web page, not a picture"
    elif text.startswith(b"<svg") or b"<svg" in text:
        what = "an SVG, a drawing without pixels"
    elif text.startswith(b"%pdf"):
        what = "a PDF, not a picture"
    elif text.startswith((b"%!ps", b"\xc5\xd0\xd3\xc6")):
        what = "PostScript, which is a program and not run"
    else:
        what = f"not a picture of a known format ({', '.join(FORMATS)})"
    return ImageError(f"{name}: {what}")


def _decode(image: Image.Image, name: str, options: _Options) -> NDArray[np.uint8]:
    if image.width * image.height > options.max_pixels:
        size = f"{image.width} x {image.height}"
        raise ImageError(f"{name}: {size} is more than {options.max_pixels:,} pixels", "image_too_large")
    if image.width == 0 or image.height == 0:
        raise ImageError(f"{name}: is empty, {image.width} x {image.height}", "image_empty")
    frames = getattr(image, "n_frames", 1) if image.format != "MPO" else 1  # a phone's second image is no animation
    if frames > 1:
        warnings.warn(f"{name}: only the first of {frames} frames is used", stacklevel=5)
        image.seek(0)
    image.load()
    with contextlib.suppress(Exception):  # a damaged orientation is no orientation
        image = ImageOps.exif_transpose(image)
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _deep(image, name, options.stretch)
    transparent = image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info
    if options.alpha == "composite" and transparent:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    elif image.mode in ("P", "PA"):
        image = image.convert("RGBA" if transparent else "RGB")
    return np.array(image.convert("RGB"))


def _deep(image: Image.Image, name: str, stretch: bool) -> NDArray[np.uint8]:
    """More than 8 bits a pixel: Pillow's own conversion would clip it to white."""
    values = np.asarray(image).astype(np.float64)
    if stretch:
        finite = values[np.isfinite(values)]
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
        known = np.nan_to_num(values, nan=low, posinf=high, neginf=low)
        grey = (known - low) / max(high - low, 1e-12) * 255
    elif image.mode == "F" or values.min() < 0 or values.max() > 65535:
        kind, code = ("floating-point", "image_float") if image.mode == "F" else ("32-bit", "image_depth")
        raise ImageError(f"{name}: {kind} pixels have no known range; open it with stretch=True", code)
    else:
        warnings.warn(f"{name}: 16 bits a pixel, the high byte is used", stacklevel=6)
        grey = values // 256
    return np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, -1)


def _array(array: NDArray[Any], max_pixels: int) -> NDArray[np.uint8]:
    if array.ndim != 3 or array.shape[-1] != 3:
        hint = "; channels come last" if array.ndim == 3 and array.shape[0] == 3 else ""
        raise ValueError(f"an array must be [H, W, 3] RGB, this one is {list(array.shape)}{hint}")
    if array.dtype != np.uint8:
        hint = "; multiply by 255 and convert" if array.dtype.kind == "f" else ""
        raise TypeError(f"an array must be uint8 (0 to 255), this one is {array.dtype}{hint}")
    if 0 in array.shape:
        raise ImageError(f"the picture is empty, {list(array.shape)}", "image_empty")
    if array.shape[0] * array.shape[1] > max_pixels:
        raise ImageError(f"{array.shape[1]} x {array.shape[0]} is more than {max_pixels:,} pixels", "image_too_large")
    return np.ascontiguousarray(array)


def _shown(path: Path) -> str:
    """A path for a message, on one line whatever its name."""
    return repr(str(path)) if not str(path).isprintable() else str(path)
