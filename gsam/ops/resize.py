"""Resampling as torch and Pillow define it, on arrays."""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from gsam.ops import resampling


def bilinear(x: jax.Array, height: int, width: int) -> jax.Array:
    """torch's ``interpolate(mode="bilinear", align_corners=False)`` of [..., h, w]; no anti-aliasing."""
    shape = (*x.shape[:-2], height, width)
    return jax.image.resize(x, shape, "linear", antialias=False, precision=jax.lax.Precision.HIGHEST)


def antialiased(x: jax.Array, height: int, width: int) -> jax.Array:
    """torch's ``interpolate(mode="bilinear", antialias=True)`` of [..., h, w]."""
    shape = (*x.shape[:-2], height, width)
    return jax.image.resize(x, shape, "linear", antialias=True, precision=jax.lax.Precision.HIGHEST)


def bicubic(x: jax.Array, height: int, width: int) -> jax.Array:
    """torch's ``interpolate(mode="bicubic", align_corners=False)`` of [..., h, w]; no anti-aliasing.

    `jax.image.resize` has another kernel (a = -0.5) and leaves out what lies beyond the border.
    """
    *_, h, w = x.shape
    rows, columns = (resampling.bicubic(*axis).astype(np.float32) for axis in ((h, height), (w, width)))
    exact = jax.lax.Precision.HIGHEST
    y = jnp.einsum("yh,...hw->...yw", rows, x.astype(jnp.float32), precision=exact)
    return jnp.einsum("...yw,xw->...yx", y, columns, precision=exact).astype(x.dtype)


def crop_weights(
    low: jax.Array, high: jax.Array, source: int, out: int, kernel: Literal["bilinear", "bicubic"]
) -> jax.Array:
    """Pillow's resampling of the span ``low``..``high`` [N] of ``source`` pixels to ``out``: weights [N, out, source].

    The filter widens with the span when shrinking (anti-aliasing) and is cut, not mirrored, at the borders of the source.
    """
    span = jnp.maximum(high - low, 1e-3)[:, None, None] / out
    reach = jnp.maximum(span, 1.0)
    centre = low[:, None, None] + (jnp.arange(out, dtype=jnp.float32)[None, :, None] + 0.5) * span
    distance = jnp.abs((jnp.arange(source, dtype=jnp.float32)[None, None, :] + 0.5 - centre) / reach)
    if kernel == "bilinear":
        weights = jnp.maximum(1.0 - distance, 0.0)
    else:
        near = (1.5 * distance - 2.5) * distance**2 + 1.0
        far = ((-0.5 * distance + 2.5) * distance - 4.0) * distance + 2.0
        weights = jnp.where(distance < 1.0, near, jnp.where(distance < 2.0, far, 0.0))
    total = weights.sum(-1, keepdims=True)
    return weights / jnp.where(jnp.abs(total) < 1e-6, 1.0, total)


def crops(pixels: jax.Array, xyxy: jax.Array, out: int, kernel: Literal["bilinear", "bicubic"]) -> jax.Array:
    """Boxes [N, 4] of a picture [S, S, 3], each resampled to [N, out, out, 3] float32, whole grey levels.

    Pillow's ``resize(box=...)`` of a uint8 picture: columns first, rounded and clipped after each pass.
    """
    side = pixels.shape[0]
    rows = crop_weights(xyxy[:, 1], xyxy[:, 3], side, out, kernel)
    columns = crop_weights(xyxy[:, 0], xyxy[:, 2], side, out, kernel)
    part = _whole(jnp.einsum("nxw,hwc->nhxc", columns, pixels.astype(jnp.float32)))
    return _whole(jnp.einsum("nyh,nhxc->nyxc", rows, part))


def _whole(x: jax.Array) -> jax.Array:
    """Pillow keeps whole grey levels after each pass."""
    return jnp.clip(jnp.round(x), 0.0, 255.0)
