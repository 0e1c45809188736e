"""Greedy non-maximum suppression with static shapes, exact for any threshold."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from gsam.ops.boxes import iou


def nms(xyxy: jax.Array, valid: jax.Array, overlap: jax.Array, group: jax.Array | None = None) -> jax.Array:
    """Which of the boxes [N, 4], sorted best first, survive: [N] bool.

    A box falls when its IoU with a surviving better box of the same ``group`` [N] is above ``overlap`` (torchvision's rule:
    strictly above).  Boxes that are not ``valid`` neither survive nor suppress.
    """
    clash = iou(xyxy, xyxy) > overlap
    if group is not None:
        clash &= group[:, None] == group[None, :]
    return sweep(clash, valid)


def sweep(clash: jax.Array, valid: jax.Array) -> jax.Array:
    """Of rows sorted best first, keep each ``valid`` [N] one that no kept better one clashes with ([N, N] bool)."""
    n = valid.shape[0]
    later = jnp.arange(n)

    def visit(i: jax.Array, keep: jax.Array) -> jax.Array:
        return keep & ~(keep[i] & clash[i] & (later > i))

    return lax.fori_loop(0, n, visit, valid)
