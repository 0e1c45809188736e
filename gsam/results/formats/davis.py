"""Masks of a video in DAVIS' format: ``<video>/00000.png`` ..., palette PNGs of object ids.

0 is background and 255 what is not judged, so ids are 1 to 254; a video with others has its objects
numbered from 1 in the order of their ids.  A pixel has one id: where masks overlap, the lower id
wins.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gsam.errors import UsageError
from gsam.files import atomic_file
from gsam.results.tracks import TrackedFrame, Tracks

VOID = 255
HIGHEST = 254


@functools.cache
def palette() -> bytes:
    """Return the colours of 256 ids, 768 bytes r g b: the colour map of Pascal VOC.

    Bits 0, 1, 2 of an id are the highest bits of red, green and blue, bits 3, 4, 5 the next ones,
    and so on.
    """
    ids = np.arange(256)
    rgb = np.zeros((256, 3), np.uint8)
    for channel in range(3):
        for k in range(8):
            if 3 * k + channel < 8:
                rgb[:, channel] |= ((ids >> (3 * k + channel) & 1) << (7 - k)).astype(np.uint8)
    return rgb.tobytes()


def ids_of(tracks: Tracks) -> dict[int, int]:
    """Object id -> its number in the images: itself where all fit, else its place, from 1.

    Raises `UsageError` for more objects than there are numbers (``davis_too_many``).
    """
    ids = tracks.ids
    if all(1 <= i <= HIGHEST for i in ids):
        return {i: i for i in ids}
    if len(ids) > HIGHEST:
        raise UsageError(f"{tracks.name} has {len(ids)} objects, DAVIS has room for {HIGHEST}", "davis_too_many")
    return {i: number for number, i in enumerate(ids, 1)}


def index_map(frame: TrackedFrame, ids: Mapping[int, int] | None = None) -> NDArray[np.uint8]:
    """[H, W]: the number of each pixel, that of the lowest object where masks overlap.

    ``ids``: the number of each object, by default its id.  Raises `UsageError` for one that does
    not fit a byte.
    """
    out = np.zeros(frame.size, np.uint8)
    for i in np.argsort(-frame.ids, kind="stable"):
        number = int(frame.ids[i]) if ids is None else ids[int(frame.ids[i])]
        if not 1 <= number <= HIGHEST:
            raise UsageError(
                f"frame {frame.index}: object id {number} is not one of 1 to {HIGHEST}, which DAVIS has room for"
            )
        out[frame.mask(i)] = number
    return out


def write_frame(ids: NDArray[np.uint8] | TrackedFrame, path: Path) -> None:
    """One image [H, W] of ids, whole or not at all."""
    pixels = index_map(ids) if isinstance(ids, TrackedFrame) else ids
    image = Image.fromarray(np.asarray(pixels, np.uint8))
    image.putpalette(palette())
    with atomic_file(path) as file:
        image.save(file, "PNG", optimize=True)


def write(tracks: Tracks, folder: Path) -> dict[int, int]:
    """Write ``folder/00000.png`` ..., one per frame; a frame without objects is all background.

    Returns the number of each object, see `ids_of`, which says what is raised.
    """
    ids = ids_of(tracks)
    by_index = {frame.index: frame for frame in tracks}
    for index in range(tracks.count):
        found = by_index.get(index)
        write_frame(np.zeros(tracks.size, np.uint8) if found is None else index_map(found, ids), folder / name(index))
    return ids


def name(index: int) -> str:
    """The file of a frame."""
    return f"{index:05d}.png"


def read_frame(path: Path) -> NDArray[np.uint8]:
    """[H, W] ids of one image.  Raises `UsageError` for an image that has colours and no ids."""
    with Image.open(path) as image:
        if image.mode not in ("P", "L", "1"):
            raise UsageError(f"{os.fsdecode(path)}: has colours ({image.mode}), a DAVIS picture has one id a pixel")
        return np.array(image, np.uint8)


def read(folder: Path) -> Tracks:
    """Read a folder's tracks: index from file names, labels empty, scores 1, `VOID` left out.

    Raises `UsageError` where there is no image or their sizes differ.
    """
    files = sorted((int(p.stem), p) for p in folder.glob("*.png") if p.stem.isdigit())
    if not files:
        raise UsageError(f"{os.fsdecode(folder)}: no numbered PNG in this folder")
    frames: list[TrackedFrame] = []
    for index, path in files:
        ids = read_frame(path)
        if frames and ids.shape != frames[0].size:
            raise UsageError(f"{os.fsdecode(path)}: is {ids.shape}, the pictures before it are {frames[0].size}")
        found = [int(i) for i in np.unique(ids) if i not in (0, VOID)]
        masks = ids[None] == np.array(found, np.uint8)[:, None, None] if found else np.zeros((0, *ids.shape), bool)
        frames.append(TrackedFrame.of(index, masks, found))
    return Tracks.of(frames, name=folder.name)
