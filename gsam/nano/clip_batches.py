"""Clips and prompts for the training of nano's tracker."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from gsam.nano.scenes import OBJECTS
from gsam.nn.prompt import ABSENT, BOTTOM_RIGHT, FOREGROUND, TOP_LEFT
from gsam.ops.bounds import bounds

KINDS = {"click": 0.5, "box": 0.25, "mask": 0.25}
"""How often an object's prompt on the first frame is one click, a box (moved a little), or its mask."""
LEAST = 1e-3
"""Of a frame: what is seen of a thing must be larger than this for a prompt."""
SPREAD = 0.06
"""The sides of a box move by a normal share of its size."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ClipBatch:
    """B clips of T frames, Q objects of each followed."""

    rgb: Any
    """[B, T, s, s, 3] uint8."""
    instances: Any
    """[B, T, s, s] uint8, as pools have them."""
    which: Any
    """[B, Q] int32: the object."""
    points: Any
    """[B, Q, 3, 2] float32: two corners and a click on the first frame, in its pixels."""
    labels: Any
    """[B, Q, 3] int32 as in `gsam.nn.prompt`."""
    drawn: Any
    """[B, Q] bool: the mask itself is the prompt."""
    real: Any
    """[B, Q] bool."""
    gain: Any
    """[B, 3] float32: what the grey levels are multiplied with."""
    shift: Any
    """[B] float32: what is then added."""
    seed: Any
    """[B] uint32: of what is left to chance later."""


def lesson(
    rng: np.random.Generator,
    pool: dict[str, NDArray[Any]],
    rows: NDArray[np.int64],
    frames: int,
    objects: int,
    kinds: dict[str, float] = KINDS,
    *,
    still: bool = False,
) -> ClipBatch:
    """Parts of clips, forwards or backwards, mirrored or not, every frame or every other; whole and as they are if ``still``."""
    rgb, instances = [], []
    for row in rows:
        order = np.arange(frames) if still else _part(rng, pool["rgb"].shape[1], frames)
        pixels, truth = np.array(pool["rgb"][row][order]), np.array(pool["instances"][row][order])
        if not still and rng.random() < 0.5:
            pixels, truth = pixels[:, :, ::-1], truth[:, :, ::-1]
        rgb.append(pixels)
        instances.append(truth)
    b = len(rows)
    which, points = np.zeros((b, objects), np.int32), np.zeros((b, objects, 3, 2), np.float32)
    labels = np.full((b, objects, 3), ABSENT, np.int32)
    labels[..., 2] = FOREGROUND
    drawn, real = np.zeros((b, objects), bool), np.zeros((b, objects), bool)
    for i, truth in enumerate(instances):
        sizes = np.bincount(truth[0].ravel(), minlength=256)[1 : 1 + OBJECTS]
        seen = np.flatnonzero(sizes > LEAST * truth[0].size)
        for q, k in enumerate(rng.permutation(seen)[:objects]):
            real[i, q], which[i, q] = True, k
            kind = rng.choice(list(kinds), p=list(kinds.values()))
            _prompt(rng, truth[0] == k + 1, kind, points[i, q], labels[i, q])
            drawn[i, q] = kind == "mask"
    gain = np.ones((b, 3)) if still else rng.uniform(0.8, 1.2, (b, 1)) * rng.uniform(0.92, 1.08, (b, 3))
    shift = np.zeros(b) if still else rng.uniform(-16, 16, b)
    return ClipBatch(
        np.stack(rgb),
        np.stack(instances),
        which,
        points,
        labels,
        drawn,
        real,
        gain.astype(np.float32),
        shift.astype(np.float32),
        rng.integers(2**32, size=b, dtype=np.uint32),
    )


def _part(rng: np.random.Generator, whole: int, frames: int) -> NDArray[np.int64]:
    step = 2 if rng.random() < 0.5 and 2 * (frames - 1) < whole else 1
    first = int(rng.integers(whole - step * (frames - 1)))
    order = first + step * np.arange(frames)
    return order[::-1] if rng.random() < 0.5 else order


def _prompt(
    rng: np.random.Generator, mask: NDArray[np.bool_], kind: str, points: NDArray[np.float32], labels: NDArray[np.int32]
) -> None:
    """Fill in the prompt of one object, points [3, 2] and labels [3]."""
    if kind == "box":
        corners = np.array(bounds(mask), np.float64)
        size = np.tile(corners[2:] - corners[:2], 2)
        moved = (corners + size * rng.normal(0, SPREAD, 4).clip(-0.15, 0.15)).clip(0, mask.shape[0])
        points[:2], labels[:] = moved.reshape(2, 2), (TOP_LEFT, BOTTOM_RIGHT, ABSENT)
        return
    rows, columns = np.nonzero(mask)
    at = rng.integers(len(rows))
    points[2] = columns[at] + 0.5, rows[at] + 0.5
