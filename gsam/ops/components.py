"""Connected components of masks, 8 neighbours, on any device: what is small can be filled or dropped."""

from __future__ import annotations

import jax
import jax.numpy as jnp

SURE = 10.0
"""How far from the threshold logits are that were changed, if nothing else is wanted."""


def areas(mask: jax.Array) -> jax.Array:
    """How large the component of each pixel of [H, W] is, int32; 0 where ``mask`` is not.

    Every pixel points at one of its component with a lower index, at first itself.  In turn, the one it points at is told the
    lowest that any neighbour points at, and ways are cut short: a number of rounds that grows with the logarithm of the way.
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
        told = near.reshape(-1)
        new = jnp.append(told, count).at[old.reshape(-1)].min(told)
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
    """Of logits [..., H, W], background components of at most ``holes`` pixels as mask, and mask components of at most
    ``sprinkles`` as background, ``sure`` beyond the threshold.

    As SAM 2's ``SAM2Transforms.postprocess_masks``: mask is what is above ``threshold``, both kinds of components are those of
    the logits given, and a hole may lie at the border.
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
