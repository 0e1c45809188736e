"""Find the inputs that paths, folders and patterns name, and give each result its own name."""

from __future__ import annotations

import dataclasses
import glob
import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Sequence, Set
from pathlib import Path, PurePosixPath

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif"}
    | {".avif", ".jp2", ".ppm", ".pgm", ".pnm", ".heic", ".heif"}
)
"""Suffixes of the images taken from a folder.  A file that is named is always tried."""
MAX_NAME = 180
"""Most bytes of an output's name without its suffix; file systems allow 255 with it."""


@dataclasses.dataclass(frozen=True)
class Item:
    """An input and the name of its results."""

    path: Path
    name: str
    """Path in the folder it was found in, with its suffix, unique in the run: ``sub/scene.png``."""
    stem: str
    """Path of its results in the output folder, no suffix, unique in the run: ``sub/scene``."""


def collect(arguments: Iterable[str], recursive: bool = False, reserved: Set[str] = frozenset()) -> list[Item]:
    """List the images that files, folders and patterns name, in order, each file once.

    A named file is called by its own name, one from a folder by its path in it.  Where that would
    call two the same, all are called by their path from the folder that holds them all; those that
    differ in the suffix only keep it.

    Args:
        arguments: Paths of files and folders, and glob patterns, as they come from a command line.
        recursive: Whether to look into the folders of folders, linked ones too, each once.
        reserved: Lower-case stems that no result may have.

    Returns:
        One item per file, those of a folder or pattern sorted.
    """
    found: dict[str, tuple[Path, PurePosixPath]] = {}
    for argument in arguments:
        for path, name in _expand(argument, recursive):
            found.setdefault(os.path.abspath(path), (path, PurePosixPath(name.as_posix())))
    names, stems = _distinct(list(found), [name for _, name in found.values()], reserved)
    return [Item(path, str(n), s) for (path, _), n, s in zip(found.values(), names, stems, strict=True)]


def _expand(argument: str, recursive: bool) -> list[tuple[Path, Path]]:
    path = Path(argument)
    if path.is_dir():
        return [(p, p.relative_to(path)) for p in _images(path, recursive)]
    if not os.path.lexists(path) and glob.has_magic(argument):
        matches = sorted(Path(m) for m in glob.glob(argument, recursive=True))
        return [(m, Path(m.name)) for m in matches if not m.is_dir() and m.suffix.lower() in SUFFIXES]
    return [(path, Path(path.name))]


def _images(folder: Path, recursive: bool) -> list[Path]:
    found, seen = [], {os.path.realpath(folder)}
    for place, folders, files in os.walk(folder, followlinks=True):
        wanted = [f for f in sorted(folders) if recursive and not f.startswith(".")]
        folders.clear()
        for name in wanted:
            if (real := os.path.realpath(Path(place, name))) not in seen:  # a link may lead back
                seen.add(real)
                folders.append(name)
        found += [Path(place, f) for f in files if Path(f).suffix.lower() in SUFFIXES and not f.startswith(".")]
    return sorted(found)


def _distinct(
    absolute: Sequence[str], names: list[PurePosixPath], reserved: Set[str]
) -> tuple[list[PurePosixPath], list[str]]:
    """Give names and stems, no two stems alike even where case does not count."""
    stems = [str(n.with_suffix("")) for n in names]
    if _repeated(stems):
        whole = [PurePosixPath(Path(os.path.relpath(a, _common(absolute))).as_posix()) for a in absolute]
        longer = [str(n.with_suffix("")) for n in whole]
        if len(_repeated(longer)) < len(_repeated(stems)):
            names, stems = whole, longer
    for i in {*_repeated(stems), *(i for i, s in enumerate(stems) if s.casefold() in reserved)}:
        stems[i] = str(names[i])
    stems = [_short(s) for s in stems]
    for i in _repeated(stems):
        stems[i] += "-" + _digest(absolute[i])
    return names, stems


def _repeated(names: Sequence[str]) -> list[int]:
    counts = Counter(n.casefold() for n in names)
    return [i for i, n in enumerate(names) if counts[n.casefold()] > 1]


def _common(paths: Sequence[str]) -> str:
    try:
        return os.path.commonpath([os.path.dirname(p) for p in paths])
    except ValueError:  # different drives
        return os.sep


def _short(stem: str) -> str:
    *folders, name = stem.split("/")
    if len(os.fsencode(name)) > MAX_NAME:
        name = os.fsencode(name)[: MAX_NAME - 9].decode(errors="ignore") + "-" + _digest(name)
    return "/".join([*folders, name])


def _digest(text: str) -> str:
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:8]
