"""Draw scenes ahead of training: ``python -m gsam.nano.pool FOLDER --scenes 24000 --seed 1``.

Scenes come in all shapes; their longer side is the model's, and the rest of the square is zero, as
`gsam.inputs.image` makes views.  Some are drawn larger and scaled down, as users' images are.
"""

from __future__ import annotations

import argparse
import functools
import multiprocessing
from collections.abc import Collection
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from gsam.nano.close_ups import Row, close_ups
from gsam.nano.drawings import FONT, LEARNT
from gsam.nano.names import LEAVES
from gsam.nano.scenes import OBJECTS, Drawn, draw_scene
from gsam.nano.stills import still

FIELDS = {
    "rgb": ((0, 0, 3), np.uint8),
    "instances": ((0, 0), np.uint8),
    "leaf": ((OBJECTS,), np.int16),
    "boxes": ((OBJECTS, 4), np.float32),
    "content": ((2,), np.int16),
}
"""Array -> shape of a row (0 stands for the side) and dtype."""
ALONE = 0.4
"""Share of close-ups that show one window; the others show up to four."""


def draw_row(
    seed: tuple[int, int],
    side: int = 160,
    styles: tuple[str, ...] = (FONT,),
    restyle: float = 0.0,
    close: float = 0.0,
    stills: float = 0.0,
    often: Collection[str] = (),
) -> Row:
    """Scene number ``seed[1]`` of pool ``seed[0]``: the same whatever process draws it."""
    rng = np.random.default_rng(seed)
    if stills and rng.random() < stills:
        frame = still(rng, often)
        h, w = frame.rgb.shape[:2]
        scale = side / max(h, w)
        return letterbox(frame, (max(round(h * scale), 1), max(round(w * scale), 1)), side)
    if close and rng.random() < close:
        large = int(rng.integers(2 * side, 4 * side)), int(rng.integers(2 * side, 4 * side))
        scene = draw_scene(rng, large, styles=styles, restyle=restyle, often=often)
        row = close_ups(rng, scene, side, together=1 if rng.random() < ALONE else 2)
        if row is not None:
            return row
    short = side if rng.random() < 0.3 else int(rng.integers(round(0.55 * side), side + 1))
    h, w = (side, short) if rng.random() < 0.5 else (short, side)
    zoom = 1 if rng.random() < 0.7 else 2
    scene = draw_scene(rng, (h * zoom, w * zoom), styles=styles, restyle=restyle, often=often)
    return letterbox(scene, (h, w), side)


def letterbox(scene: Drawn, size: tuple[int, int], side: int) -> Row:
    """A scene scaled to ``size`` in the corner of a square of ``side``."""
    h, w = size
    rgb, instances = np.zeros((side, side, 3), np.uint8), np.zeros((side, side), np.uint8)
    rgb[:h, :w] = np.asarray(Image.fromarray(scene.rgb).resize((w, h), Image.Resampling.BILINEAR))
    instances[:h, :w] = np.asarray(Image.fromarray(scene.instances).resize((w, h), Image.Resampling.NEAREST))
    leaf, boxes = np.full(OBJECTS, -1, np.int16), np.zeros((OBJECTS, 4), np.float32)
    count = len(scene.names)
    leaf[:count] = [LEAVES.index(n) for n in scene.names]
    boxes[:count] = scene.boxes * (h / scene.rgb.shape[0])
    return rgb, instances, leaf, boxes, np.array([h, w], np.int16)


def draw_pool(
    folder: Path,
    scenes: int,
    seed: int,
    side: int,
    processes: int,
    styles: tuple[str, ...] = (FONT,),
    restyle: float = 0.0,
    close: float = 0.0,
    stills: float = 0.0,
    often: Collection[str] = (),
) -> None:
    """Write the arrays of a pool, row by row, so that it may be larger than the memory."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {
        name: np.lib.format.open_memmap(
            folder / f"{name}.npy", "w+", dtype, (scenes, *(side if s == 0 else s for s in shape))
        )
        for name, (shape, dtype) in FIELDS.items()
    }
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        draw = functools.partial(
            draw_row, side=side, styles=styles, restyle=restyle, close=close, stills=stills, often=often
        )
        rows = pool.imap(draw, ((seed, i) for i in range(scenes)), chunksize=64)
        for i, row in enumerate(tqdm(rows, total=scenes, unit="scene", mininterval=5)):
            for array, value in zip(arrays.values(), row, strict=True):
                array[i] = value
    for array in arrays.values():
        array.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--scenes", type=int, default=24_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--side", type=int, default=160)
    parser.add_argument("--processes", type=int, default=multiprocessing.cpu_count())
    parser.add_argument("--styles", action="store_true", help="half of the things in other styles (gsam.nano.drawings)")
    parser.add_argument("--restyle", type=float, default=0.0, help="share of things that are varied")
    parser.add_argument("--close", type=float, default=0.0, help="share of rows that are close-ups of small things")
    parser.add_argument("--stills", type=float, default=0.0, help="share of rows that are frames of clips")
    parser.add_argument("--often", default="", help="names that come three times as often as others: key, bicycle")
    args = parser.parse_args()
    styles = (*(FONT for _ in LEARNT), *LEARNT) if args.styles else (FONT,)
    shares = args.restyle, args.close, args.stills
    often = tuple(name.strip() for name in args.often.split(",") if name.strip())
    draw_pool(args.folder, args.scenes, args.seed, args.side, args.processes, styles, *shares, often)


if __name__ == "__main__":
    main()
