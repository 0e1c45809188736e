"""Assign tokens to true objects: bipartite matching (Carion et al. 2020) with a centre prior.

Early in training a truth may be repeated so that several tokens learn from it; late, one token
answers for each.  The assignment runs on the host (SciPy's Jonker-Volgenant solver): a hundred
tokens and a few truths take microseconds.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from gsam.training.losses import box_l1, giou

FORBIDDEN = 1e4


def cell_centres(grid: int) -> NDArray[np.float32]:
    """Centres of the cells of a square grid, row by row: [grid * grid, 2] as x y in 0..1."""
    line = ((np.arange(grid) + 0.5) / grid).astype(np.float32)
    y, x = np.meshgrid(line, line, indexing="ij")
    return np.stack([x, y], -1).reshape(-1, 2)


def candidates(truth: jax.Array, centres: NDArray[np.float32]) -> jax.Array:
    """[B, N, 4] corners and [T, 2] -> [B, N, T] bool: tokens whose centre lies in the box, or else
    the nearest one.
    """
    at = jnp.asarray(centres)
    x, y = at[:, 0], at[:, 1]
    low, high = truth[..., None, :2], truth[..., None, 2:]
    inside = (x >= low[..., 0]) & (x < high[..., 0]) & (y >= low[..., 1]) & (y < high[..., 1])
    away = jnp.abs(at - (low + high) / 2.0).sum(-1)
    nearest = jax.nn.one_hot(away.argmin(-1), centres.shape[0], dtype=bool)
    return inside | (nearest & ~inside.any(-1, keepdims=True))


def cost(logits: jax.Array, boxes: jax.Array, truth: jax.Array, label: jax.Array) -> jax.Array:
    """Class, L1 and GIoU: logits [B, T, C], boxes [B, T, 4], truth [B, N, 4], label [B, N] -> [B,
    N, T].

    Boxes are corners in 0..1.  ``label`` is a column of ``logits``; rows of absent truths hold
    anything.
    """
    own = jnp.take_along_axis(logits, jnp.maximum(label, 0)[:, None, :], 2).swapaxes(1, 2)  # [B, N, T]
    pair, against = boxes[:, None], truth[:, :, None]
    return -2.0 * jax.nn.sigmoid(own) + 5.0 * box_l1(pair, against) - 2.0 * giou(pair, against)


def solve(
    cost: NDArray[np.float32], allowed: NDArray[np.bool_], valid: NDArray[np.bool_], repeat: NDArray[np.int32]
) -> NDArray[np.int32]:
    """On the host: cost, allowed [B, N, T], valid [B, N], repeat [] -> assigned [B, T], the truth
    of each token or -1.

    The copies of a truth are placed one after the other, each time all truths at once, so that no
    truth takes a second token before every truth has had its chance at a first.
    """
    from scipy.optimize import linear_sum_assignment

    assigned = np.full((cost.shape[0], cost.shape[2]), -1, np.int32)
    for b, row in enumerate(assigned):
        costs = np.where(allowed[b], np.nan_to_num(cost[b], nan=FORBIDDEN / 2), FORBIDDEN)
        for _ in range(int(repeat)):
            free, real = np.flatnonzero(row < 0), np.flatnonzero(valid[b])
            if not free.size or not real.size:
                break
            i, j = linear_sum_assignment(costs[np.ix_(real, free)])
            taken = allowed[b][real[i], free[j]]
            row[free[j[taken]]] = real[i[taken]]
    return assigned


def match(cost: jax.Array, allowed: jax.Array, valid: jax.Array, repeat: jax.Array) -> jax.Array:
    """`solve` inside `jax.jit`, without a gradient: assigned [B, T] int32."""
    shape = jax.ShapeDtypeStruct((cost.shape[0], cost.shape[2]), jnp.int32)
    arguments = jax.tree.map(jax.lax.stop_gradient, (cost, allowed, valid, jnp.asarray(repeat, jnp.int32)))
    assigned: jax.Array = jax.pure_callback(_solve_arrays, shape, *arguments)
    return assigned


@functools.wraps(solve)
def _solve_arrays(*arguments: jax.Array) -> NDArray[np.int32]:
    cost, allowed, valid, repeat = (np.asarray(a) for a in arguments)
    return solve(cost, allowed, valid, repeat)
