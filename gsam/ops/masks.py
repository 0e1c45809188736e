"""Mask prompts made from boxes."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def filled(xyxy: jax.Array, side: int, out: int) -> jax.Array:
    """Draw boxes as maps that are 1 inside, -1 outside and between where an edge cuts a cell.

    Args:
        xyxy: [N, 4] in pixels of a square.
        side: Side of that square in pixels.
        out: Side of the maps in cells.

    Returns:
        [N, out, out] float32.
    """
    edge = jnp.arange(out, dtype=jnp.float32)
    corners = xyxy * (out / side)

    def cover(low: jax.Array, high: jax.Array) -> jax.Array:  # how much of each cell lies between: [N, out]
        return jnp.clip(jnp.minimum(high[:, None], edge + 1) - jnp.maximum(low[:, None], edge), 0.0, 1.0)

    inside = cover(corners[:, 1], corners[:, 3])[:, :, None] * cover(corners[:, 0], corners[:, 2])[:, None, :]
    return 2.0 * inside - 1.0
