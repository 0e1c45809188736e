"""Scenes that are hard to write, by what is hard about them."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gsam.results.formats.dataset import scene, segment
from gsam.results.masks import rle

SIZE = (96, 128)
"""Height and width of the images."""
HUGE = (40_000, 60_000)
KOREAN = "고양이 한 마리"
ODD = ("R&D <\"a\">, 'b'; 100%", '=1+1,"c"')
"""Labels with characters that XML, CSV and JSON set apart."""
Scene = dict[str, Any]
HUGE_BOX, HUGE_MASK = "box in 60,000 x 40,000", "mask in 60,000 x 40,000"


def _scene(name: str, *masks: tuple[str, NDArray[np.bool_]], score: float | None = None) -> list[Scene]:
    found = [segment(label, rle.encode(mask), score=score) for label, mask in masks]
    return [scene(f"{name}.png", SIZE, found)]


def _blank() -> NDArray[np.bool_]:
    return np.zeros(SIZE, bool)


def _disc(y: float, x: float, radius: float) -> NDArray[np.bool_]:
    rows, columns = np.ogrid[: SIZE[0], : SIZE[1]]
    return np.asarray((rows - y) ** 2 + (columns - x) ** 2 <= radius**2)


def _hole() -> list[Scene]:
    mask = _disc(45, 60, 35) & ~_disc(40, 50, 9)
    mask[60:66, 65:80] = False
    return _scene("hole", ("ring", mask))


def _parts() -> list[Scene]:
    return _scene("parts", ("pair", _disc(30, 30, 17) | _disc(60, 95, 21)))


def _pixel() -> list[Scene]:
    mask = _blank()
    mask[41, 77] = True
    return _scene("pixel", ("dot", mask))


def _line() -> list[Scene]:
    flat, upright, slanted = _blank(), _blank(), _blank()
    flat[20, 10:90] = upright[5:80, 100] = slanted[range(40, 90), range(10, 60)] = True
    return _scene("line", ("flat", flat), ("upright", upright), ("slanted", slanted))


def _overlapping() -> list[Scene]:
    return _scene("overlap", ("left", _disc(48, 50, 30)), ("right", _disc(48, 75, 30)))


def _many() -> list[Scene]:
    found = []
    for i in range(3):
        masks = []
        for j in range(100):
            mask = _blank()
            y, x = divmod(j, 12)
            mask[y * 10 + 1 : y * 10 + 8, x * 10 + 2 : x * 10 + 9] = True
            masks.append((f"class {100 * i + j:03d}", mask))
        found += _scene(f"many{i}", *masks)
    return found


def _huge_box() -> list[Scene]:
    box = [59_000.25, 12_345.5, 59_999.75, 39_999.5]
    return [scene("huge.png", HUGE, [segment("ship", None, box=box)])]


def _huge_mask() -> list[Scene]:
    height, width = HUGE
    first, runs = (width - 20) * height + height - 50, []
    for column in range(12):
        runs += [first if column == 0 else height - 30 - column, 30 + column]
    mask = rle.compress({"size": [*HUGE], "counts": [*runs, height * width - sum(runs)]})
    return [scene("huge.png", HUGE, [segment("ship", mask)])]


CASES: Mapping[str, Callable[[], list[Scene]]] = {
    "hole": _hole,
    "two parts": _parts,
    "one pixel": _pixel,
    "line one pixel wide": _line,
    "empty mask": lambda: _scene("empty", ("nothing", _blank())),
    "full image": lambda: _scene("full", ("all", ~_blank())),
    "300 classes": _many,
    "Korean label": lambda: _scene("korean", (KOREAN, _disc(48, 60, 20))),
    "odd characters": lambda: _scene("odd", (ODD[0], _disc(30, 30, 20)), (ODD[1], _disc(60, 95, 20))),
    "overlap": _overlapping,
    "score": lambda: _scene("score", ("sure", _disc(48, 60, 20)), score=0.87654),
    HUGE_BOX: _huge_box,
    HUGE_MASK: _huge_mask,
}
"""Images by what is hard about them."""


def draw(scenes: Sequence[Scene], folder: Path) -> None:
    """Write a blank PNG for each image; of one that is huge, only the head that tells its size."""
    folder.mkdir(parents=True)
    for one in scenes:
        if one["width"] * one["height"] < 1 << 24:
            Image.new("RGB", (one["width"], one["height"])).save(folder / one["image"])
            continue
        head = struct.pack(">IIBBBBB", one["width"], one["height"], 1, 0, 0, 0, 0)
        parts = ((b"IHDR", head), (b"IDAT", zlib.compress(b"")), (b"IEND", b""))
        content = [struct.pack(">I", len(b)) + n + b + struct.pack(">I", zlib.crc32(n + b)) for n, b in parts]
        (folder / one["image"]).write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(content))
