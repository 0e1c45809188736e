"""Image input: anything a user may pass -> upright uint8 RGB -> the views the stages ask for.

Formats come from an allow-list, sizes are checked before anything is decoded, and what a file says
about its orientation is obeyed.  docs/images.md lists what opens.
"""

from __future__ import annotations

import dataclasses
import io
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gsam.errors import ImageError
from gsam.inputs import letterbox
from gsam.inputs.arrays import from_array
from gsam.inputs.decode import FORMATS as FORMATS
from gsam.inputs.decode import MAX_PIXELS, Options, blamed, from_file, from_pillow
from gsam.inputs.open_files import content_of
from gsam.inputs.paths import expanded, missing, shown
from gsam.inputs.protected import READ
from gsam.inputs.remote import fetch, is_url, name_of
from gsam.inputs.resizing import reduced, resized

if TYPE_CHECKING:
    from gsam.types import View  # which needs JAX; opening an image does not


@runtime_checkable
class ArrayLike(Protocol):
    """An array of another library, JAX's for instance."""

    def __array__(self) -> np.ndarray: ...


@dataclasses.dataclass(frozen=True)
class Picture:
    """An opened image."""

    pixels: NDArray[np.uint8]
    """[H, W, 3] RGB, upright."""
    name: str | None = None
    """The file's name, if it came from one."""
    views: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    """Views made already, by `View.key`, on the smallest canvas that holds it alone."""


Source = str | os.PathLike[str] | bytes | IO[bytes] | Image.Image | np.ndarray | ArrayLike | Picture


def open_image(
    source: Source,
    *,
    max_pixels: int | None = None,
    alpha: Literal["drop", "composite"] = "drop",
    stretch: bool = False,
    frame: int | None = None,
) -> Picture:
    """Open anything that is an image.

    EXIF orientation is applied. 16-bit images keep their high byte; a warning says so where grey,
    or nearly black.

    Args:
        source: A path (``~`` is your home), an http or https address, the bytes of a file, a file
            opened in binary mode, a PIL image (read at the frame it is at, and left there), an
            array (uint8 [H, W, 3] RGB, [H, W, 4] RGBA, [H, W] or [H, W, 1] grey, of numpy, JAX or
            whatever has ``__array__``), or a `Picture`, which is given back.
        max_pixels: The largest number of pixels; by default 100 million. Of larger images a
            temporary file holds the pixels, and they are looked at in tiles (``tile=``).
        alpha: Drop transparency, or put the image on white with ``"composite"``.
        stretch: Map the range of the values, over all bands, to 0..255: for floats, which have no
            range of their own, and for 16 bits of which few are used. 8 bits stay as they are.
        frame: The page or frame of a file, from 0; by default the first, with a warning where
            there are several.

    Returns:
        The image.

    Raises:
        gsam.errors.ImageError: It cannot be read; the code says why.
        TypeError: It is no image at all, or an array of other numbers.
        ValueError: It is an array of another shape.

    Example:
        >>> gsam.open_image("notebooks/scene.png").pixels.shape
        (512, 512, 3)
    """
    if isinstance(source, Picture):
        return source
    options = Options(MAX_PIXELS if max_pixels is None else max_pixels, alpha == "composite", stretch, frame)
    if isinstance(source, Image.Image):
        with blamed("this picture"):
            return Picture(from_pillow(source, "this picture", options))
    if isinstance(source, bytes | bytearray | memoryview):
        return Picture(from_file(io.BytesIO(source), "these bytes", options))
    if not isinstance(source, str | os.PathLike):
        if callable(getattr(source, "read", None)):
            return _from_stream(source, options)  # type: ignore[arg-type]
        if hasattr(source, "__array__"):
            array = np.asarray(source)
            given = {"composite": options.composite, "stretch": stretch}
            return Picture(from_array(array, max_pixels=options.max_pixels, **given))
        several = ": pipe.stream(pictures, query) takes several" if isinstance(source, list | tuple) else ""
        raise TypeError(
            f"a picture is a path, bytes, an open file, a PIL image or a uint8 array, not {type(source).__name__}{several}"
        )
    if not os.fspath(source):
        raise ImageError("an empty text is no path of a picture", "image_missing")
    if is_url(source):
        url = str(source)
        return Picture(from_file(io.BytesIO(fetch(url)), url, options), name_of(url))
    path = expanded(source)
    name = shown(path)
    try:
        mode = path.stat().st_mode  # before opening: a FIFO would wait for ever
        if not stat.S_ISREG(mode):
            kind = "a folder" if stat.S_ISDIR(mode) else "not a regular file"
            raise ImageError(f"{name}: is {kind}", "image_not_a_file")
        READ.add(path)
        with path.open("rb") as file:
            return Picture(from_file(file, name, options), path.name)
    except FileNotFoundError:
        raise missing(path) from None
    except PermissionError:
        raise ImageError(f"{name}: permission denied", "image_forbidden") from None
    except ImageError:
        raise
    except (OSError, ValueError) as error:  # a name that is too long, holds NUL, links to itself
        raise ImageError(f"{name}: {getattr(error, 'strerror', None) or error}", "image_missing") from None


def make_view(pixels: NDArray[np.uint8], view: View, shape: tuple[int, int] | None = None) -> np.ndarray:
    """Return a stage's view [S, S, 3] ([H, W, 3] for ``shape``), uint8 or float32 in 0..255."""
    h, w = pixels.shape[:2]
    if h * w > MAX_PIXELS:
        pixels = reduced(pixels, MAX_PIXELS)
    if view.fit == "square":
        side = max(pixels.shape[:2])
        padded = np.full((side, side, 3), view.pad, view.dtype)
        padded[: pixels.shape[0], : pixels.shape[1]] = pixels
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


def _from_stream(file: IO[bytes], options: Options) -> Picture:
    """An open file; what can be rewound is left where it was."""
    data, name = content_of(file, ImageError)
    told = shown(Path(name)) if name else "this file"
    return Picture(from_file(io.BytesIO(data), told, options), Path(name).name if name else None)
