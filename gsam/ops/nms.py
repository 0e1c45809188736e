"""Greedy non-maximum suppression with static shapes, exact for any threshold."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from gsam.ops.boxes import iou

State = tuple[jax.Array, jax.Array, jax.Array]


def nms(xyxy: jax.Array, valid: jax.Array, overlap: jax.Array, group: jax.Array | None = None) -> jax.Array:
    """Which of the boxes [N, 4], sorted best first, survive: [N] bool.

    A box falls when its IoU with a surviving better box of the same ``group`` [N] is above ``overlap`` (torchvision's rule:
    strictly above).  Boxes that are not ``valid`` neither survive nor suppress.
    """
    clash = iou(xyxy, xyxy) > overlap
    if group is not None:
        clash &= group[:, None] == group[None, :]
    return sweep(clash, valid)


def best(xyxy: jax.Array, score: jax.Array, overlap: jax.Array, n: int) -> tuple[jax.Array, jax.Array]:
    """The first ``n`` survivors of `nms` among any number of boxes [A, 4] in any order: their rows [n], and which exist [n].

    Best first, of equal scores [A] the first row first.  A score of -inf never survives nor suppresses.  One box after the
    other, so time and memory grow with n and A alone, where a matrix of overlaps would have A times A.
    """

    def more(state: State) -> jax.Array:
        count, left, _ = state
        return (count < n) & (left.max() > -jnp.inf)

    def take(state: State) -> State:
        count, left, rows = state
        row = left.argmax().astype(jnp.int32)
        clash = iou(xyxy[row][None], xyxy)[0] > overlap
        left = jnp.where(clash, -jnp.inf, left).at[row].set(-jnp.inf)
        return count + 1, left, rows.at[count].set(row)

    start = jnp.zeros((), jnp.int32), score.astype(jnp.float32), jnp.zeros(n, jnp.int32)
    count, _, rows = lax.while_loop(more, take, start)
    return rows, jnp.arange(n) < count


def sweep(clash: jax.Array, valid: jax.Array) -> jax.Array:
    """Of rows sorted best first, keep each ``valid`` [N] one that no kept better one clashes with ([N, N] bool)."""
    n = valid.shape[0]
    later = jnp.arange(n)

    def visit(i: jax.Array, keep: jax.Array) -> jax.Array:
        return keep & ~(keep[i] & clash[i] & (later > i))

    return lax.fori_loop(0, n, visit, valid)
