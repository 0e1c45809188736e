"""Multi-scale deformable attention (Zhu et al.

2021): weighted bilinear samples from maps of several sizes.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

MARGIN = 2
CHUNK = 256
"""Number of queries sampled at a time, so that the values they gather stay in the cache."""
FEW = 1024
"""Largest number of queries for which building the table costs more than it saves."""


def sample(
    value: jax.Array, shapes: Sequence[tuple[int, int]], xy: jax.Array, weight: jax.Array, chunk: int = CHUNK
) -> jax.Array:
    """Sum the values at each query's sampling points, weighted, per head.

    On a CPU images go one after the other, and where there are many queries so do heads and chunks
    of queries; an accelerator takes everything at once, the gathers fused with the sums.

    Args:
        value: [B, S, K, D]: the maps one after the other, row by row.
        shapes: (h, w) of each of the L maps.
        xy: [B, Q, K, L, P, 2]: points in pixels of map L, where the centre of the first pixel is 0.
            Outside of a map the values are zero.
        weight: [B, Q, K, L, P].
        chunk: Number of queries at a time on a CPU.

    Returns:
        [B, Q, K * D] float32.
    """

    def singly(value: jax.Array, xy: jax.Array, weight: jax.Array) -> jax.Array:
        many = xy.shape[1] > FEW
        work = functools.partial(_many if many else _in_chunks, shapes=shapes, chunk=chunk)
        return lax.map(lambda image: work(*image), (value, xy, weight))

    def together(value: jax.Array, xy: jax.Array, weight: jax.Array) -> jax.Array:
        return jax.vmap(functools.partial(_few, shapes=shapes))(value, lax.optimization_barrier(xy), weight)

    return lax.platform_dependent(value, xy, weight, cpu=singly, default=together)


def _corner(xy: jax.Array, shapes: Sequence[tuple[int, int]]) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Row and column (with margin) of the pixel up and left of each point, and bilinear weights."""
    width = np.array([[w] for _, w in shapes], np.float32)
    height = np.array([[h] for h, _ in shapes], np.float32)
    x, y = xy[..., 0], xy[..., 1]
    left, top = jnp.floor(x), jnp.floor(y)
    right, below = x - left, y - top
    share = jnp.stack([(1 - right) * (1 - below), right * (1 - below), (1 - right) * below, right * below], -1)
    column = jnp.clip(left, -MARGIN, width).astype(jnp.int32) + MARGIN
    row = jnp.clip(top, -MARGIN, height).astype(jnp.int32) + MARGIN
    return row, column, share


def _maps(value: jax.Array, shapes: Sequence[tuple[int, int]]) -> list[jax.Array]:
    """Split values [S, ...] into maps [h + 4, w + 4, ...] with a margin of zeros, one per level."""
    ends = np.cumsum([h * w for h, w in shapes])
    parts = [value[end - h * w : end].reshape(h, w, *value.shape[1:]) for end, (h, w) in zip(ends, shapes, strict=True)]
    return [jnp.pad(p, [(MARGIN, MARGIN)] * 2 + [(0, 0)] * (p.ndim - 2)) for p in parts]


def _many(
    value: jax.Array, xy: jax.Array, weight: jax.Array, shapes: Sequence[tuple[int, int]], chunk: int
) -> jax.Array:
    """Sample through a table whose rows are the four pixels around a corner: one gather per point.

    Heads go one at a time: one head's table of some 10 MB stays in the cache, that of all eight
    does not.
    """
    q, heads = xy.shape[:2]
    width = value.shape[-1]
    first = np.cumsum([0, *((h + 3) * (w + 3) for h, w in shapes)])[:-1, None].astype(np.int32)
    stride = np.array([[w + 3] for _, w in shapes], np.int32)
    spare = -q % chunk

    def head(args: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        value, xy, weight = args  # [S, D], [q / chunk, chunk, L, P, 2], [.., L, P]
        maps = _maps(value, shapes)
        quads = [jnp.concatenate([m[:-1, :-1], m[:-1, 1:], m[1:, :-1], m[1:, 1:]], -1) for m in maps]
        table = jnp.concatenate([m.reshape(-1, 4 * width) for m in quads])  # [R, 4D]

        def some(args: tuple[jax.Array, jax.Array]) -> jax.Array:
            xy, weight = args
            row, column, share = _corner(xy, shapes)
            index = jnp.asarray(first + row * stride + column).reshape(chunk, -1)
            found = table.at[index].get(mode="promise_in_bounds").astype(jnp.float32)  # [chunk, LP, 4D]
            share = (share * weight[..., None]).reshape(chunk, -1)
            return jnp.einsum("qk,qkd->qd", share, found.reshape(chunk, -1, width))

        return lax.map(some, (xy, weight)).reshape(-1, width)

    def by_head(x: jax.Array) -> jax.Array:  # [q, K, ...] -> [K, q / chunk, chunk, ...]
        x = jnp.pad(x, ((0, spare),) + ((0, 0),) * (x.ndim - 1)).swapaxes(0, 1)
        return x.reshape(heads, -1, chunk, *x.shape[2:])

    out = lax.map(head, (value.swapaxes(0, 1), by_head(xy), by_head(weight)))  # [K, q, D]
    return out[:, :q].swapaxes(0, 1).reshape(q, heads * width)


def _in_chunks(
    value: jax.Array, xy: jax.Array, weight: jax.Array, shapes: Sequence[tuple[int, int]], chunk: int
) -> jax.Array:
    """Sample `_few` queries at a time, in two steps at least.

    What a loop reads is computed once, before it.  Without one, the compiler computes a point where
    its pixels are found and again where they are weighted, with another rounding: beside a pixel's
    centre the two then take different sides, and a wrong pixel counts in full.
    """
    q = xy.shape[0]
    steps = max(2, -(-q // chunk))
    each = -(-q // steps)

    def some(args: tuple[jax.Array, jax.Array]) -> jax.Array:
        return _few(value, *args, shapes)

    padded = (jnp.pad(x, ((0, steps * each - q),) + ((0, 0),) * (x.ndim - 1)) for x in (xy, weight))
    found = lax.map(some, tuple(x.reshape(steps, each, *x.shape[1:]) for x in padded))
    return found.reshape(steps * each, -1)[:q]


def _few(value: jax.Array, xy: jax.Array, weight: jax.Array, shapes: Sequence[tuple[int, int]]) -> jax.Array:
    """Sample by gathering the 2 x 2 pixels around each point: no table to build."""
    heads, width = value.shape[1:]
    row, column, share = _corner(xy, shapes)
    share = (share * weight[..., None]).reshape(*share.shape[:-1], 2, 2)
    head = jnp.broadcast_to(jnp.arange(heads)[None, :, None], row[:, :, 0].shape)
    numbers = lax.GatherDimensionNumbers(offset_dims=(3, 4, 5), collapsed_slice_dims=(2,), start_index_map=(0, 1, 2))
    total = jnp.zeros((xy.shape[0], heads, width), jnp.float32)
    for level, grid in enumerate(_maps(value, shapes)):
        index = jnp.stack([row[:, :, level], column[:, :, level], head], -1)
        found = lax.gather(
            grid, index, numbers, (2, 2, 1, width), mode=lax.GatherScatterMode.PROMISE_IN_BOUNDS
        )  # [q, K, P, 2, 2, D]
        total = total + (share[:, :, level, ..., None] * found.astype(jnp.float32)).sum((2, 3, 4))
    return total.reshape(-1, heads * width)
