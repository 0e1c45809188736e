"""Formats, areas and overlaps of boxes ``x0 y0 x1 y1``, exclusive at the right and bottom."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def cxcywh_to_xyxy(boxes: jax.Array) -> jax.Array:
    """Convert boxes [..., 4] from centre and size to corners."""
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return jnp.concatenate([centre - half, centre + half], -1)


def xyxy_to_cxcywh(boxes: jax.Array) -> jax.Array:
    """Convert boxes [..., 4] from corners to centre and size."""
    low, high = boxes[..., :2], boxes[..., 2:]
    return jnp.concatenate([(low + high) / 2, high - low], -1)


def area(xyxy: jax.Array) -> jax.Array:
    """Areas [...] of boxes [..., 4]; 0 for boxes without extent."""
    side = jnp.maximum(xyxy[..., 2:] - xyxy[..., :2], 0.0)
    return side[..., 0] * side[..., 1]


def intersection(a: jax.Array, b: jax.Array) -> jax.Array:
    """Area shared by each ``a`` [..., N, 4] with each ``b`` [..., M, 4]: [..., N, M]."""
    low = jnp.maximum(a[..., :, None, :2], b[..., None, :, :2])
    high = jnp.minimum(a[..., :, None, 2:], b[..., None, :, 2:])
    side = jnp.maximum(high - low, 0.0)
    return side[..., 0] * side[..., 1]


def iou(a: jax.Array, b: jax.Array) -> jax.Array:
    """Intersection over union of each ``a`` [..., N, 4] with each ``b`` [..., M, 4].

    Returns:
        [..., N, M]; 0 where both boxes are empty.
    """
    shared = intersection(a, b)
    union = area(a)[..., :, None] + area(b)[..., None, :] - shared
    return shared / jnp.maximum(union, 1e-9)
