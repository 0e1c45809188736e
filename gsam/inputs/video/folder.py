"""Images in a row: a folder of files, or a list of anything that is an image."""

from __future__ import annotations

import dataclasses
import itertools
import math
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from gsam.errors import ImageError, VideoError
from gsam.inputs.video.source import Frame, Frames

if TYPE_CHECKING:
    from gsam.inputs.image import Source

SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".avif", ".jp2", ".gif")
)
SPARSE = 10
"""Least density of frame numbers: if fewer than one in ten exists, none counts as missing.

Such numbers are no counts, but time stamps, perhaps.
"""
Missing = Literal["warn", "raise"]


@dataclasses.dataclass(frozen=True)
class Opening:
    """Settings of opening images, see `gsam.inputs.image.open_image`."""

    stretch: bool = False
    max_pixels: int | None = None


PLAIN = Opening()


class Pictures(Frames):
    """Images that are there already: opened one by one, in any order."""

    def __init__(
        self,
        pictures: Sequence[Source],
        *,
        name: str = "pictures",
        rate: Fraction | None = None,
        numbers: Sequence[int] | None = None,
        look_ahead: int = 4,
        opening: Opening = PLAIN,
    ) -> None:
        """Take ``numbers`` [N] ascending, display times in 1 / ``rate``; by default 0 to N-1."""
        if not len(pictures):
            raise VideoError(f"{name}: no pictures, so no frames", "video_empty")
        self.pictures, self.name, self.rate, self.look_ahead = pictures, name, rate, look_ahead
        self.opening = opening
        self.time_base = None if rate is None else 1 / rate
        self.numbers = list(range(len(pictures))) if numbers is None else list(numbers)
        self.size = (0, 0)
        first = self._open(0)
        self.size = (first.pixels.shape[0], first.pixels.shape[1])

    @property
    def count(self) -> int:
        return len(self.pictures)

    def sequence(self, start: int, stop: int | None, step: int) -> Iterator[Frame]:
        end = stop if stop is not None else len(self.pictures) if step > 0 else -1
        return (self.frame(i) for i in range(start, end, step))

    def frame(self, index: int) -> Frame:
        return self.checked(self._open(index))

    def _open(self, index: int) -> Frame:
        time = None if self.rate is None else (self.numbers[index] - self.numbers[0]) / self.rate
        return opened(self.name, index, self.pictures[index], time, self.opening)


def opened(name: str, index: int, picture: Source, time: Fraction | None, opening: Opening = PLAIN) -> Frame:
    """An image as frame ``index`` of ``name``.  Raises `ImageError` or `TypeError` naming both."""
    from gsam.inputs.image import open_image

    try:
        found = open_image(picture, stretch=opening.stretch, max_pixels=opening.max_pixels)
    except (ImageError, TypeError, ValueError) as error:
        told = f"{name}: frame {index}: {error}"
        if isinstance(error, TypeError):
            raise TypeError(told) from error
        raise ImageError(told, getattr(error, "code", "image_unreadable")) from error
    return Frame(index, found.pixels, time, found.name)


def open_folder(
    folder: Path,
    *,
    rate: Fraction | None = None,
    missing: Missing = "warn",
    look_ahead: int = 4,
    opening: Opening = PLAIN,
) -> Pictures:
    """Open the images of a folder (`SUFFIXES`; no hidden files) in `ordered` order.

    Numbers may rise in equal steps (00000, 00005, 00010: one frame in five of a video is kept).  A
    number missing between is told of, by a warning or as a `VideoError` (but see `SPARSE`); the
    frames then follow one another in ``index``, and the hole stays in ``time``.  Raises
    `VideoError` where there is no image, or two have one number.
    """
    name = os.fsdecode(folder)
    found = [p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith(".") and p.is_file()]
    if not found:
        raise VideoError(f"{name}: no pictures in this folder", "video_empty")
    files, numbers = ordered(found)
    if numbers is None:
        return Pictures(files, name=folder.name, rate=rate, look_ahead=look_ahead, opening=opening)
    twice = next((i for i in range(1, len(files)) if numbers[i] == numbers[i - 1]), None)
    if twice is not None:
        raise VideoError(
            f"{name}: {files[twice - 1].name} and {files[twice].name} are both frame {numbers[twice]}",
            "frames_ambiguous",
        )
    step = math.gcd(*(b - a for a, b in itertools.pairwise(numbers))) or 1
    if (numbers[-1] - numbers[0]) // step + 1 > SPARSE * len(files):
        return Pictures(files, name=folder.name, rate=rate, look_ahead=look_ahead, opening=opening)
    there = set(numbers)
    holes = [n for n in range(numbers[0], numbers[-1], step) if n not in there]
    if holes:
        told = f"{name}: {len(holes)} frames between {numbers[0]} and {numbers[-1]} are missing: {ranges(holes, step)}"
        if missing == "raise":
            raise VideoError(told, "frames_missing")
        warnings.warn(told, stacklevel=3)
    times = [(n - numbers[0]) // step for n in numbers]
    return Pictures(files, name=folder.name, rate=rate, numbers=times, look_ahead=look_ahead, opening=opening)


def ordered(files: Sequence[Path]) -> tuple[list[Path], list[int] | None]:
    """Files in the order of their numbers, and the numbers if the names are alike but for one.

    Names that are numbers are in SAM 2's order; ``shot_9.png`` comes before ``shot_10.png``, and of
    ``cam2_take1_007.png`` the number is the one that differs from file to file.  Names that differ
    in more than a number are in the order that people expect (numbers in them as numbers, letters
    whatever their case), and have no number.
    """
    split = {f: re.split(r"(\d+)", f.stem) for f in files}
    words = {tuple(parts[0::2]) for parts in split.values()}
    if len(words) == 1:
        digits = {f: [int(d) for d in parts[1::2]] for f, parts in split.items()}
        columns = list(zip(*digits.values(), strict=True))
        varying = [i for i, column in enumerate(columns) if len(set(column)) > 1]
        if columns and len(varying) <= 1:
            at = varying[0] if varying else len(columns) - 1
            rows = sorted(files, key=lambda f: (digits[f][at], f.name))
            return rows, [digits[f][at] for f in rows]

    def key(file: Path) -> tuple[list[tuple[int, int, str]], str]:
        return [(0, int(p), "") if p.isdigit() else (1, 0, p.casefold()) for p in split[file] if p], file.name

    return sorted(files, key=key), None


def ranges(numbers: Sequence[int], step: int = 1, most: int = 8) -> str:
    """Format ascending numbers as ``7, 12-15``; after ``most`` pieces, the number of others."""
    runs: list[list[int]] = []
    for n in numbers:
        if runs and n == runs[-1][-1] + step:
            runs[-1].append(n)
        else:
            runs.append([n])
    shown = [str(r[0]) if len(r) == 1 else f"{r[0]}-{r[-1]}" for r in runs[:most]]
    more = sum(len(r) for r in runs[most:])
    return ", ".join(shown) + (f" and {more} more" if more else "")
