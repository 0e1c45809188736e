"""Image files of a data set: where they are, and whether they are as the data set says."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import os
import threading
import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

from gsam.errors import ImageError
from gsam.files import sha256
from gsam.inputs.decode import MAX_PIXELS
from gsam.inputs.header import Header, read_header
from gsam.inputs.image import open_image
from gsam.inputs.paths import shown
from gsam.training.data.faults import Fault, Tell
from gsam.types import Json, JsonMapping

Depth = Literal["header", "pixels"]
THREADS = 8
"""Files that are looked at at a time, at most."""


@dataclasses.dataclass(frozen=True)
class Looked:
    """An image file that was looked at."""

    path: Path
    """The file."""
    header: Header | None = None
    """Its stored size and orientation; None with an error."""
    size: tuple[int, int] = (0, 0)
    """Height and width of the upright image."""
    error: ImageError | None = None
    """Why it cannot be read."""
    digest: str | None = None
    """The SHA-256 of the file, if its pixels were read."""
    warnings: tuple[str, ...] = ()
    """Warnings about it."""


def looked_at(scenes: Iterable[Json], places: list[Path], depth: Depth, tell: Tell) -> Iterator[tuple[Json, Looked]]:
    """Look at the file of every image, in threads; gives the usable ones in their order.

    Args:
        scenes: The images.
        places: Folders in which they are looked for.
        depth: Whether to read the head of a file only, or its pixels too.
        tell: Is told every fault.
    """
    with ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1)) as pool, _warnings_kept():
        waiting: collections.deque[tuple[Json, Future[Looked]]] = collections.deque()
        try:
            for scene in scenes:
                waiting.append((scene, pool.submit(_look, scene, places, depth)))
                while len(waiting) > 2 * THREADS:
                    yield from _usable(*waiting.popleft(), tell)
            while waiting:
                yield from _usable(*waiting.popleft(), tell)
        finally:
            for _, future in waiting:
                future.cancel()


def _look(scene: JsonMapping, places: list[Path], depth: Depth) -> Looked:
    name = str(scene["image"])
    names = dict.fromkeys((name, str(scene.get("place", name)), name.replace("\\", "/")))
    files = [place / part for place in places for part in names]
    path = next((file for file in files if os.path.lexists(file)), files[0])
    if len(places) > 1 and not os.path.lexists(path):
        text = f"{shown(path)}: no such file, nor in the other usual folders; --images says where images are"
        return Looked(path, error=ImageError(text, "image_missing"))
    _heard.texts = []
    try:
        header = read_header(path)
        if header.width * header.height > MAX_PIXELS:
            told = f"{shown(path)}: {header.width} x {header.height} is more than {MAX_PIXELS:,} pixels"
            raise ImageError(told, "image_too_large")
        size, digest = header.upright, None
        if depth == "pixels":
            pixels = open_image(path).pixels
            size, digest = (pixels.shape[0], pixels.shape[1]), sha256(path)
        return Looked(path, header, size, digest=digest, warnings=tuple(_heard.texts))
    except ImageError as error:
        return Looked(path, error=error)
    finally:
        del _heard.texts


def _usable(scene: Json, future: Future[Looked], tell: Tell) -> Iterator[tuple[Json, Looked]]:
    found = future.result()
    name = str(scene["image"])
    if found.error is not None or found.header is None:
        assert found.error is not None
        tell(Fault(found.error.code, name, None, str(found.error)))
        return
    header, (height, width) = found.header, found.size
    given = (int(scene["height"]), int(scene["width"]))
    if given != (height, width):
        turned = header.orientation >= 5 and given == (width, height)
        text = f"the file is {width} x {height}, the data set says {given[1]} x {given[0]}"
        if turned:
            text += f": the sides as stored; upright (EXIF orientation {header.orientation}) they change places"
        tell(Fault("image_turned" if turned else "image_size", name, None, text))
        return
    if header.orientation > 1 and (header.orientation < 5 or width == height):
        text = f"EXIF orientation {header.orientation}: its masks must be of the upright image"
        tell(Fault("image_mirrored", name, None, text, "note"))
    for text in found.warnings:
        tell(Fault("image_converted", name, None, text, "note"))
    yield scene, found


_heard = threading.local()


@contextlib.contextmanager
def _warnings_kept() -> Iterator[None]:
    """Keep warnings about images for `Looked`, instead of printing them."""
    with warnings.catch_warnings():
        before = warnings.showwarning

        def show(message: Warning | str, *more: Any, **named: Any) -> None:
            if hasattr(_heard, "texts"):
                _heard.texts.append(" ".join(str(message).split()))
            else:
                before(message, *more, **named)

        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = show
        yield
