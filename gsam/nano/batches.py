"""Read a pool of drawn scenes: which examples a step gets, and how they are augmented.

A pool is a folder of ``.npy`` arrays, mapped and not read: ``rgb`` [N, S, S, 3] uint8,
``instances`` [N, S, S] uint8 (0 background, k + 1 object k, `IGNORE` nothing to learn from),
``leaf`` [N, 8] int16 (-1 no object), ``boxes`` [N, 8, 4] float32 corners in pixels, ``content`` [N,
2] int16: the height and width of the image, which lies top left.
"""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Generic, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gsam.nano.scenes import IGNORE
from gsam.ops.bounds import bounds

HostArray = np.ndarray
A = TypeVar("A", HostArray, jax.Array)
"""NumPy's arrays while a batch is made, JAX's in the compiled step."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Examples(Generic[A]):
    """Some scenes of a pool; the fields are those of the pool, plus the light they are seen in."""

    rgb: A
    instances: A
    leaf: A
    boxes: A
    content: A
    gain: A
    """[B, 3] float32: what the grey levels are multiplied by, channel by channel."""
    shift: A
    """[B] float32: what is then added."""


class Pool:
    """The scenes of one folder."""

    def __init__(self, folder: Path) -> None:
        self.arrays = {
            f: np.load(folder / f"{f}.npy", mmap_mode="r") for f in ("rgb", "instances", "leaf", "boxes", "content")
        }
        self.count = len(self.arrays["leaf"])

    def order(self, step: int, size: int, seed: int) -> NDArray[np.int64]:
        """Rows of ``step``.

        Each epoch is a permutation of its own: no scene is seen twice before all are seen once.
        """
        at = np.arange(step * size, (step + 1) * size)
        return np.array([_permutation(seed, int(i) // self.count, self.count)[int(i) % self.count] for i in at])

    def names(self, step: int, size: int, seed: int) -> list[str]:
        """Names of the rows of ``step``, for messages."""
        return [f"scene {row}" for row in self.order(step, size, seed)]

    def examples(self, rows: NDArray[np.int64]) -> Examples[HostArray]:
        """The scenes of ``rows`` as they are."""
        found = {name: np.array(array[rows]) for name, array in self.arrays.items()}
        found["leaf"], found["content"] = found["leaf"].astype(np.int32), found["content"].astype(np.int32)
        return Examples(**found, gain=np.ones((len(rows), 3), np.float32), shift=np.zeros(len(rows), np.float32))


@functools.lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, epoch]).permutation(count)


def augment(examples: Examples[HostArray], rng: np.random.Generator, *, zoom: float = 0.5) -> Examples[HostArray]:
    """Mirror half of the scenes, cut a part out of some (probability ``zoom``), and vary light and
    colour.
    """
    rgb, instances, leaf = examples.rgb, examples.instances, examples.leaf
    boxes, content = examples.boxes, examples.content
    for b in range(len(rgb)):
        h, w = content[b]
        if rng.random() < 0.5:
            rgb[b, :h, :w] = rgb[b, :h, :w][:, ::-1].copy()
            instances[b, :h, :w] = instances[b, :h, :w][:, ::-1].copy()
            boxes[b] = np.where(leaf[b][:, None] >= 0, boxes[b][:, [2, 1, 0, 3]] * [-1, 1, -1, 1] + [w, 0, w, 0], 0)
        if rng.random() < zoom:
            _crop(examples, b, rng)
    gain = rng.uniform(0.75, 1.25, (len(rgb), 1)) * rng.uniform(0.92, 1.08, (len(rgb), 3))
    shift = rng.uniform(-20, 20, len(rgb))
    return dataclasses.replace(examples, gain=gain.astype(np.float32), shift=shift.astype(np.float32))


def _crop(examples: Examples[HostArray], b: int, rng: np.random.Generator) -> None:
    """Replace scene ``b`` by a part of itself, enlarged; objects of which little is left become
    `IGNORE`.
    """
    side = examples.rgb.shape[1]
    h, w = (int(v) for v in examples.content[b])
    part = rng.uniform(0.65, 1.0) * np.exp(rng.uniform(-0.1, 0.1, 2))
    ch, cw = np.maximum(np.minimum(part, 1.0) * (h, w), 32)
    y, x = rng.uniform(0, max(h - ch, 0)), rng.uniform(0, max(w - cw, 0))
    scale = side / max(ch, cw)
    nh, nw = min(round(ch * scale), side), min(round(cw * scale), side)
    span = (x, y, min(x + cw, w), min(y + ch, h))
    before = np.bincount(examples.instances[b].ravel(), minlength=256)
    rgb = Image.fromarray(examples.rgb[b]).resize((nw, nh), Image.Resampling.BILINEAR, box=span)
    cut = np.asarray(Image.fromarray(examples.instances[b]).resize((nw, nh), Image.Resampling.NEAREST, box=span)).copy()
    examples.rgb[b] = 0
    examples.rgb[b, :nh, :nw] = np.asarray(rgb)
    for k in np.flatnonzero(examples.leaf[b] >= 0):
        mask = cut == k + 1
        left = mask.sum() / scale**2 / max(before[k + 1], 1)
        if left < 0.35 or mask.any(1).sum() < 6 or mask.any(0).sum() < 6:
            cut[mask] = IGNORE
            examples.leaf[b, k], examples.boxes[b, k] = -1, 0
        else:
            examples.boxes[b, k] = bounds(mask)
    examples.instances[b] = 0
    examples.instances[b, :nh, :nw] = cut
    examples.content[b] = nh, nw


def pixels(examples: Examples[jax.Array], mean: tuple[float, ...], std: tuple[float, ...]) -> jax.Array:
    """The input of a model, [B, S, S, 3] float32: lit, normalised (``mean``, ``std`` of 0..255),
    zero outside the image.
    """
    lit = examples.rgb.astype(jnp.float32) * examples.gain[:, None, None] + examples.shift[:, None, None, None]
    normalised = (jnp.clip(lit, 0.0, 255.0) - jnp.asarray(mean, jnp.float32)) / jnp.asarray(std, jnp.float32)
    line = jnp.arange(examples.rgb.shape[1])
    inside = (line < examples.content[:, :1])[:, :, None] & (line < examples.content[:, 1:])[:, None, :]
    return jnp.where(inside[..., None], normalised, 0.0)
