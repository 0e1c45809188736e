"""Draw clips ahead of training.

``python -m gsam.nano.clips FOLDER --clips 2000 --frames 16 --side 128 --seed 1``

A pool is a folder of ``.npy`` arrays, of N clips of T frames, to be mapped and not read (`read`):

- ``rgb`` [N, T, S, S, 3] uint8;
- ``instances`` [N, T, S, S] uint8: 0 background, k + 1 what is visible of object k, `scenes.IGNORE`
  nothing to learn from;
- ``leaf`` [N, 8] int16: what object k is (an index into `gsam.nano.names.LEAVES`), -1 no object;
- ``boxes`` [N, T, 8, 4] float32: tight around what is visible, exclusive right and bottom, in
  pixels; zeros where nothing is;
- ``present`` [N, T, 8] bool: whether anything of object k is visible.

Frames are square, as SAM 2 sees them, and a part of them show the world squashed, as a wide or tall
video made square does.
"""

from __future__ import annotations

import argparse
import functools
import multiprocessing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from gsam.nano.batches import HostArray
from gsam.nano.moving import Clip, draw_clip
from gsam.nano.names import LEAVES
from gsam.nano.scenes import OBJECTS

MOST = 4
"""Things that are drawn in a clip; a row has room for `OBJECTS`, as in the pools of scenes."""
SQUASHED = 0.5
"""Probability that a clip is squashed, up to two to one."""

Row = tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.int16], NDArray[np.float32], NDArray[np.bool_]]


def fields(frames: int, side: int) -> dict[str, tuple[tuple[int, ...], type[np.generic]]]:
    """Array -> shape of a row and dtype, in the order of `Row`."""
    return {
        "rgb": ((frames, side, side, 3), np.uint8),
        "instances": ((frames, side, side), np.uint8),
        "leaf": ((OBJECTS,), np.int16),
        "boxes": ((frames, OBJECTS, 4), np.float32),
        "present": ((frames, OBJECTS), np.bool_),
    }


def draw_row(seed: tuple[int, int], frames: int = 16, side: int = 128) -> Row:
    """Clip number ``seed[1]`` of pool ``seed[0]``: the same whatever process draws it."""
    rng = np.random.default_rng((*seed, frames, side))
    squash = float(np.exp(rng.uniform(-1, 1) * np.log(2))) if rng.random() < SQUASHED else 1.0
    return row(draw_clip(rng, (side, side), frames, most=MOST, squash=squash))


def row(clip: Clip) -> Row:
    """A clip as a pool has it."""
    count = len(clip.names)
    leaf, boxes = np.full(OBJECTS, -1, np.int16), np.zeros((len(clip.rgb), OBJECTS, 4), np.float32)
    leaf[:count] = [LEAVES.index(n) for n in clip.names]
    boxes[:, :count] = clip.boxes()
    return clip.rgb, clip.instances, leaf, boxes, boxes[..., 2] > 0


def draw_pool(folder: Path, clips: int, frames: int, side: int, seed: int, processes: int) -> None:
    """Write the arrays of a pool, row by row, so that it may be larger than the memory; ``leaf``,
    which says that a pool is whole, takes its place last.
    """
    folder.mkdir(parents=True, exist_ok=True)
    last = folder / "leaf.npy"
    last.unlink(missing_ok=True)
    layout = fields(frames, side)
    places = [folder / (f"{name}.npy" if name != "leaf" else "leaf.part") for name in layout]
    arrays = [
        np.lib.format.open_memmap(place, "w+", dtype, (clips, *shape))
        for place, (shape, dtype) in zip(places, layout.values(), strict=True)
    ]
    draw = functools.partial(_draw, seed, frames, side)
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        rows = pool.imap(draw, range(clips), chunksize=8)
        for i, values in enumerate(tqdm(rows, total=clips, unit="clip", mininterval=5)):
            for array, value in zip(arrays, values, strict=True):
                array[i] = value
    for array in arrays:
        array.flush()
    (folder / "leaf.part").replace(last)


def read(folder: Path) -> dict[str, HostArray]:
    """The arrays of a pool, mapped.

    Raises `FileNotFoundError` where there is none, or it was never finished.
    """
    if not (folder / "leaf.npy").is_file():
        raise FileNotFoundError(f"{folder} is no finished pool of clips: draw one with python -m gsam.nano.clips")
    return {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in fields(1, 1)}


def _draw(seed: int, frames: int, side: int, number: int) -> Row:
    return draw_row((seed, number), frames, side)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m gsam.nano.clips", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--clips", type=int, default=2_000)
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=multiprocessing.cpu_count())
    args = parser.parse_args()
    draw_pool(args.folder, args.clips, args.frames, args.side, args.seed, args.processes)


if __name__ == "__main__":
    main()
