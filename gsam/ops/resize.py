"""Resampling as torch and Pillow define it, on JAX arrays."""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from gsam.ops import resampling


def bilinear(x: jax.Array, height: int, width: int) -> jax.Array:
    """Resize [..., h, w] as torch's ``interpolate(mode="bilinear", align_corners=False)`` does."""
    shape = (*x.shape[:-2], height, width)
    return jax.image.resize(x, shape, "linear", antialias=False, precision=jax.lax.Precision.HIGHEST)


def antialiased(x: jax.Array, height: int, width: int) -> jax.Array:
    """Resize [..., h, w] as torch's ``interpolate(mode="bilinear", antialias=True)`` does."""
    shape = (*x.shape[:-2], height, width)
    return jax.image.resize(x, shape, "linear", antialias=True, precision=jax.lax.Precision.HIGHEST)


def bicubic(x: jax.Array, height: int, width: int) -> jax.Array:
    """Resize [..., h, w] as torch's ``interpolate(mode="bicubic", align_corners=False)`` does.

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
    """Weights of Pillow's resampling of a part of an axis.

    The filter widens with the span when shrinking (anti-aliasing) and is cut, not mirrored, at the
    borders of the source.

    Args:
        low: [N] begin of each span, in pixels.
        high: [N] end of each span.
        source: Number of pixels of the axis.
        out: Number of pixels that each span becomes.
        kernel: Pillow's filter.

    Returns:
        [N, out, source] float32.
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
    """Crop boxes out of an image and resample each, as Pillow's ``resize(box=...)`` does.

    Columns come first, and values are rounded and clipped after each pass.

    Args:
        pixels: Image [S, S, 3], 0..255.
        xyxy: Boxes [N, 4] in its pixels.
        out: Side of the crops in pixels.
        kernel: Pillow's filter.

    Returns:
        [N, out, out, 3] float32, whole grey levels.
    """
    side = pixels.shape[0]
    rows = crop_weights(xyxy[:, 1], xyxy[:, 3], side, out, kernel)
    columns = crop_weights(xyxy[:, 0], xyxy[:, 2], side, out, kernel)
    part = _whole(jnp.einsum("nxw,hwc->nhxc", columns, pixels.astype(jnp.float32)))
    return _whole(jnp.einsum("nyh,nhxc->nyxc", rows, part))


def _whole(x: jax.Array) -> jax.Array:
    """Round to whole grey levels, as Pillow does after each pass."""
    return jnp.clip(jnp.round(x), 0.0, 255.0)
