"""Simulated users for training: where the next click goes, given a mask and what was meant (SAM,
appendix A)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from gsam.nn.prompt import BACKGROUND, FOREGROUND

DEEPEST = 8
"""Cells from the border at which all cells count as equally far inside."""
CENTRED = 0.6
"""Share of users who click into the middle of what is wrong; the others click anywhere in it."""


def depth(region: jax.Array) -> jax.Array:
    """Count how many cells each cell of ``region`` [..., h, w] lies inside it, 0 outside, at most
    `DEEPEST`: float32.

    Steps go to all eight neighbours; what lies beyond the edge is not region.
    """

    def erode(_: int, state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        left, total = state
        framed = jnp.pad(left, [(0, 0)] * (left.ndim - 2) + [(1, 1), (1, 1)])
        rows = jnp.minimum(jnp.minimum(framed[..., :-2, :], framed[..., 1:-1, :]), framed[..., 2:, :])
        left = jnp.minimum(jnp.minimum(rows[..., :-2], rows[..., 1:-1]), rows[..., 2:])
        return left, total + left

    start = region.astype(jnp.float32)
    return lax.fori_loop(1, DEEPEST, erode, (start, start))[1]


def correction(
    key: jax.Array, mask: jax.Array, want: jax.Array, known: jax.Array, *, background: bool = True
) -> tuple[jax.Array, jax.Array]:
    """Choose the next click on each of Q masks.

    It goes where the mask is wrong and the truth is known: to the middle of the larger error, or
    anywhere wrong (`CENTRED`).  Where nothing is wrong it is a foreground click on what was meant.

    Args:
        key: Decides what is left to chance.
        mask: [Q, h, w] bool: the masks to correct.
        want: [Q, h, w] bool: what was meant.
        known: [Q, h, w] bool: where ``want`` is known.
        background: Whether clicks may say what is not meant; some models take no such clicks.

    Returns:
        The cell [Q, 2] int32 as x y, and the label [Q] int32.
    """
    which, noise = jax.random.split(key)
    lacks, spills = want & ~mask & known, mask & ~want & known & background
    wrong = lacks | spills
    centred = jax.random.bernoulli(which, CENTRED, (len(mask), 1, 1))
    middle = jnp.where(centred, jnp.maximum(depth(lacks), depth(spills)), 0.0)
    chance = jax.random.uniform(noise, mask.shape)
    # Wrong cells come before right ones of the thing, those before all others; within a kind the
    # deepest, then chance.
    score = jnp.where(wrong, 4.0 + middle, jnp.where(want, 2.0, 0.0)) + 0.9 * chance
    at = score.reshape(len(mask), -1).argmax(-1)
    inside = jnp.take_along_axis(want.reshape(len(mask), -1), at[:, None], -1)[:, 0]
    xy = jnp.stack([at % mask.shape[-1], at // mask.shape[-1]], -1)
    return xy, jnp.where(inside, FOREGROUND, BACKGROUND)
