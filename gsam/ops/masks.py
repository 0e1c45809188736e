"""Masks: low-resolution logits in, what prompts and results need out."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def filled(xyxy: jax.Array, side: int, out: int) -> jax.Array:
    """Boxes [N, 4] in pixels of a ``side`` square -> maps [N, out, out]: 1 inside, -1 outside, between where an edge cuts."""
    edge = jnp.arange(out, dtype=jnp.float32)
    corners = xyxy * (out / side)

    def cover(low: jax.Array, high: jax.Array) -> jax.Array:  # how much of each cell lies between: [N, out]
        return jnp.clip(jnp.minimum(high[:, None], edge + 1) - jnp.maximum(low[:, None], edge), 0.0, 1.0)

    inside = cover(corners[:, 1], corners[:, 3])[:, :, None] * cover(corners[:, 0], corners[:, 2])[:, None, :]
    return 2.0 * inside - 1.0
