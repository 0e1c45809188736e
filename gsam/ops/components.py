"""Connected components of masks (8 neighbours) on any device: fill small holes, drop specks."""

from __future__ import annotations

import jax
import jax.numpy as jnp

SURE = 10.0
"""Distance from the threshold that changed logits are given by default."""


def areas(mask: jax.Array) -> jax.Array:
    """Area of the connected component that each pixel belongs to.

    Every pixel points at a pixel of its component with a lower index, at first at itself.  In turn,
    the lowest index around each pixel is passed on to the pixel that it points at, and paths are
    shortened by pointer jumping: the number of rounds grows with the logarithm of the longest path.

    Args:
        mask: [H, W] bool.

    Returns:
        [H, W] int32, in pixels; 0 outside of the mask.
    """
    h, w = mask.shape
    count = h * w
    start = jnp.where(mask, jnp.arange(count, dtype=jnp.int32).reshape(h, w), count)

    def low(x: jax.Array) -> jax.Array:  # the lowest of 3 by 3
        x = jnp.pad(x, 1, constant_values=count)
        x = jnp.minimum(jnp.minimum(x[:-2], x[1:-1]), x[2:])
        return jnp.minimum(jnp.minimum(x[:, :-2], x[:, 1:-1]), x[:, 2:])

    def turn(state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        old, _ = state
        near = jnp.where(mask, low(old), count)
        lowest = near.reshape(-1)
        new = jnp.append(lowest, count).at[old.reshape(-1)].min(lowest)
        for _ in range(2):
            new = new[new]
        grid = new[:count].reshape(h, w)
        return grid, (grid != old).any()

    label, _ = jax.lax.while_loop(lambda state: state[1], turn, (start, mask.any()))
    label = label.reshape(-1)
    sizes = jnp.zeros(count + 1, jnp.int32).at[label].add(1).at[count].set(0)
    return sizes[label].reshape(h, w)


def cleaned(
    logits: jax.Array, threshold: float | jax.Array, holes: float, sprinkles: float, *, sure: float = SURE
) -> jax.Array:
    """Fill small holes of masks and drop small components, as SAM 2's ``postprocess_masks`` does.

    Both kinds of components are those of the logits given, and a hole may touch the border.

    Args:
        logits: [..., H, W]: the mask is where they are above ``threshold``.
        threshold: The logit that separates mask and background.
        holes: Background components of at most so many pixels become mask; 0 fills none.
        sprinkles: Mask components of at most so many pixels become background; 0 drops none.
        sure: Distance from the threshold that changed logits get.

    Returns:
        [..., H, W] logits.
    """
    threshold = jnp.asarray(threshold, logits.dtype)

    def one(x: jax.Array) -> jax.Array:
        mask, y = x > threshold, x
        if holes > 0:
            area = areas(~mask)
            y = jnp.where((area > 0) & (area <= holes), threshold + sure, y)
        if sprinkles > 0:
            area = areas(mask)
            y = jnp.where((area > 0) & (area <= sprinkles), threshold - sure, y)
        return y

    flat = logits.reshape(-1, *logits.shape[-2:])
    return jax.lax.map(one, flat).reshape(logits.shape)
