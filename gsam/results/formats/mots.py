"""MOTS: tracks as lines of text, or as 16-bit images.

An id is ``class * 1000 + instance``; 0 is background and 10000 what is not judged.  An instance is
the object's id, or where some are above 999 its place among those of its class, from 1.  A pixel
has one id: where masks overlap, the lower object id wins.  A line is ``frame id class height width
rle``, frames as counted by the data set (KITTI from 0, MOTSChallenge from 1).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gsam.errors import UsageError
from gsam.files import atomic_file
from gsam.results.masks import rle
from gsam.results.masks.rle import Rle
from gsam.results.tracks import TrackedFrame, Tracks

INSTANCES = 1000
IGNORED = 10_000
CLASSES = 64
"""The highest number of a class whose ids all fit 16 bits; class 10 is what is not judged."""


def classes_of(tracks: Tracks) -> dict[str, int]:
    """Labels numbered from 1, in the order they were asked for; 10 is left out."""
    labels = list(dict.fromkeys([*tracks.queries, *tracks.labels.values()]))
    numbers = [n for n in range(1, CLASSES + 1) if n != IGNORED // INSTANCES]
    if len(labels) > len(numbers):
        raise UsageError(f"{len(labels)} labels are more than the {len(numbers)} classes that MOTS has room for")
    return dict(zip(labels, numbers, strict=False))


def ids_of(tracks: Tracks, classes: Mapping[str, int]) -> dict[int, int]:
    """Each object id as MOTS has it: its class, by its label, and the instance.

    The instance is the id itself where all fit, else the object's place in its class, from 1.
    Raises `UsageError` for more objects of a class than that (``mots_too_many``), and for a label
    without a class.
    """
    found = {}
    fits = all(0 <= identity < INSTANCES for identity in tracks.ids)
    counts: dict[str, int] = {}
    for identity, label in tracks.labels.items():
        if label not in classes:
            raise UsageError(f"object {identity} is called {label!r}, which is no class: {', '.join(classes)}")
        counts[label] = counts.get(label, 0) + 1
        found[identity] = classes[label] * INSTANCES + (identity if fits else counts[label])
        if counts[label] >= INSTANCES and not fits:
            told = f"{tracks.name} has more objects called {label!r} than the {INSTANCES - 1} that MOTS has room for"
            raise UsageError(told, "mots_too_many")
    return found


def write_txt(
    tracks: Tracks, path: Path, classes: Mapping[str, int] | None = None, *, first: int = 0
) -> dict[str, int]:
    """One file, whole or not at all; returns the classes, by default `classes_of`.

    ``first``: the number of frame 0.
    """
    classes = classes_of(tracks) if classes is None else dict(classes)
    ids = ids_of(tracks, classes)
    height, width = tracks.size
    with atomic_file(path) as file:
        for frame in tracks:
            map_ = index_map(frame, ids)
            for number in np.unique(map_[map_ > 0]).tolist():
                counts = rle.encode(map_ == number)["counts"]
                line = f"{frame.index + first} {number} {number // INSTANCES} {height} {width} {counts}\n"
                file.write(line.encode("ascii"))
    return dict(classes)


def read_txt(path: Path, names: Mapping[int, str] | None = None, *, first: int = 0, count: int | None = None) -> Tracks:
    """Read the tracks of a file, with MOTS' own ids.

    ``names`` gives the labels of classes; those without a name are labelled by their number.

    ``count``: how many frames the video has, if there are more than the last line tells.  Raises
    `UsageError` naming the line that is not in this format.
    """
    rows: dict[int, list[tuple[int, str, Rle]]] = {}
    size: tuple[int, int] | None = None
    for number, line in enumerate(path.read_text(encoding="ascii").splitlines(), 1):
        if not line.strip():
            continue
        try:
            at, identity, kind, height, width, counts = line.split(" ")
            frame, known, here = int(at) - first, int(identity), (int(height), int(width))
        except ValueError:
            told = f"{os.fsdecode(path)}: line {number} is not 'frame id class height width rle'"
            raise UsageError(told, "mots_unreadable") from None
        if size is not None and here != size:
            raise UsageError(
                f"{os.fsdecode(path)}: line {number} is of a frame of {here}, the first of {size}", "mots_unreadable"
            )
        size = here
        row = rows.setdefault(frame, [])
        if known != IGNORED:
            name = (names or {}).get(int(kind), kind)
            row.append((known, name, {"size": list(here), "counts": counts}))
    if size is None:
        raise UsageError(f"{os.fsdecode(path)}: has no line, so nothing says how large the video is", "mots_unreadable")
    frames = [_frame(index, size, row) for index, row in sorted(rows.items())]
    return Tracks.of(frames, count=count, name=path.stem, queries=list((names or {}).values()))


def write_png(tracks: Tracks, folder: Path, classes: Mapping[str, int] | None = None) -> dict[str, int]:
    """``folder/000000.png`` ..., one a frame of the video; returns the classes."""
    classes = classes_of(tracks) if classes is None else dict(classes)
    ids = ids_of(tracks, classes)
    by_index = {frame.index: frame for frame in tracks}
    for index in range(tracks.count):
        found = by_index.get(index)
        pixels = np.zeros(tracks.size, np.uint16) if found is None else index_map(found, ids)
        with atomic_file(folder / f"{index:06d}.png") as file:
            Image.fromarray(pixels).save(file, "PNG")
    return dict(classes)


def read_png(folder: Path, names: Mapping[int, str] | None = None) -> Tracks:
    """The tracks of a folder of such images.

    Raises `UsageError` where there is none, or one is not of 16 bits.
    """
    files = sorted((int(p.stem), p) for p in folder.glob("*.png") if p.stem.isdigit())
    if not files:
        raise UsageError(f"{os.fsdecode(folder)}: no numbered PNG in this folder")
    frames = []
    for index, path in files:
        with Image.open(path) as image:
            if not image.mode.startswith("I"):
                raise UsageError(f"{os.fsdecode(path)}: is {image.mode}, MOTS' pictures have 16 bits a pixel")
            pixels = np.array(image).astype(np.uint16)
        there = [n for n in np.unique(pixels).tolist() if n not in (0, IGNORED)]
        row = [(n, (names or {}).get(n // INSTANCES, str(n // INSTANCES)), rle.encode(pixels == n)) for n in there]
        frames.append(_frame(index, (pixels.shape[0], pixels.shape[1]), row))
    return Tracks.of(frames, name=folder.name, queries=list((names or {}).values()))


def index_map(frame: TrackedFrame, ids: Mapping[int, int]) -> NDArray[np.uint16]:
    """[H, W]: the id of each pixel, that of the lowest object where masks overlap."""
    out = np.zeros(frame.size, np.uint16)
    for i in np.argsort(-frame.ids, kind="stable"):
        out[frame.mask(i)] = ids[int(frame.ids[i])]
    return out


def _frame(index: int, size: tuple[int, int], row: Sequence[tuple[int, str, Rle]]) -> TrackedFrame:
    ids = np.array([r[0] for r in row], np.int64)
    return TrackedFrame(index, size, ids, [r[1] for r in row], np.ones(len(row), np.float32), [r[2] for r in row])
