"""Clips and prompts from which nano's tracker learns."""

from __future__ import annotations

import dataclasses
from typing import Generic

import jax
import numpy as np
from numpy.typing import NDArray

from gsam.nano.batches import A, HostArray
from gsam.nano.scenes import OBJECTS
from gsam.nn.prompt import ABSENT, BOTTOM_RIGHT, FOREGROUND, TOP_LEFT
from gsam.ops.bounds import bounds

KINDS = {"click": 0.5, "box": 0.25, "mask": 0.25}
"""Shares in which an object's prompt on the first frame is one click, a box (moved a little), or
its mask.
"""
MIN_AREA = 1e-3
"""The smallest visible part of an object that is prompted, as a fraction of the frame."""
JITTER = 0.06
"""The sides of a box move by a normal share of its size."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ClipBatch(Generic[A]):
    """B clips of T frames, of each of which Q objects are tracked."""

    rgb: A
    """[B, T, s, s, 3] uint8."""
    instances: A
    """[B, T, s, s] uint8, as pools have them."""
    objects: A
    """[B, Q] int32: the object."""
    points: A
    """[B, Q, 3, 2] float32: two corners and a click on the first frame, in its pixels."""
    labels: A
    """[B, Q, 3] int32 as in `gsam.nn.prompt`."""
    mask_prompt: A
    """[B, Q] bool: the mask itself is the prompt."""
    valid: A
    """[B, Q] bool."""
    gain: A
    """[B, 3] float32: what the grey levels are multiplied by."""
    shift: A
    """[B] float32: what is then added."""
    seed: A
    """[B] uint32, for the corrections."""


def clip_batch(
    rng: np.random.Generator,
    pool: dict[str, HostArray],
    rows: NDArray[np.int64],
    frames: int,
    per_clip: int,
    kinds: dict[str, float] = KINDS,
    *,
    still: bool = False,
) -> ClipBatch[HostArray]:
    """Cut parts out of clips and prompt their objects.

    Parts run forwards or backwards, mirrored or not, over every frame or every second one; with
    ``still`` they are the first frames as they are.
    """
    rgb, instances = [], []
    for row in rows:
        order = np.arange(frames) if still else _frame_order(rng, pool["rgb"].shape[1], frames)
        pixels, truth = np.array(pool["rgb"][row][order]), np.array(pool["instances"][row][order])
        if not still and rng.random() < 0.5:
            pixels, truth = pixels[:, :, ::-1], truth[:, :, ::-1]
        rgb.append(pixels)
        instances.append(truth)
    b = len(rows)
    objects, points = np.zeros((b, per_clip), np.int32), np.zeros((b, per_clip, 3, 2), np.float32)
    labels = np.full((b, per_clip, 3), ABSENT, np.int32)
    labels[..., 2] = FOREGROUND
    mask_prompt, valid = np.zeros((b, per_clip), bool), np.zeros((b, per_clip), bool)
    for i, truth in enumerate(instances):
        sizes = np.bincount(truth[0].ravel(), minlength=256)[1 : 1 + OBJECTS]
        visible = np.flatnonzero(sizes > MIN_AREA * truth[0].size)
        for q, k in enumerate(rng.permutation(visible)[:per_clip]):
            valid[i, q], objects[i, q] = True, k
            kind = rng.choice(list(kinds), p=list(kinds.values()))
            _prompt(rng, truth[0] == k + 1, kind, points[i, q], labels[i, q])
            mask_prompt[i, q] = kind == "mask"
    gain = np.ones((b, 3)) if still else rng.uniform(0.8, 1.2, (b, 1)) * rng.uniform(0.92, 1.08, (b, 3))
    shift = np.zeros(b) if still else rng.uniform(-16, 16, b)
    return ClipBatch(
        np.stack(rgb),
        np.stack(instances),
        objects,
        points,
        labels,
        mask_prompt,
        valid,
        gain.astype(np.float32),
        shift.astype(np.float32),
        rng.integers(2**32, size=b, dtype=np.uint32),
    )


def _frame_order(rng: np.random.Generator, whole: int, frames: int) -> NDArray[np.int64]:
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
        moved = (corners + size * rng.normal(0, JITTER, 4).clip(-0.15, 0.15)).clip(0, mask.shape[0])
        points[:2], labels[:] = moved.reshape(2, 2), (TOP_LEFT, BOTTOM_RIGHT, ABSENT)
        return
    rows, columns = np.nonzero(mask)
    at = rng.integers(len(rows))
    points[2] = columns[at] + 0.5, rows[at] + 0.5
