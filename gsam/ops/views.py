"""Transforms between the pixels of an image and those of a view of it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from gsam.ops.letterbox import STEP
from gsam.types import Images, View

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
SAM_MEAN, SAM_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


def scale(images: Images, view: View) -> jax.Array:
    """View pixels per original pixel, [B, 2] as x y, float32."""
    size = images.size.astype(jnp.float32)
    if view.fit == "letterbox":
        factor = (rectangle(images, view).astype(jnp.float32) / size).min(-1, keepdims=True)
        return jnp.concatenate([factor, factor], -1)
    if view.fit == "square":
        factor = view.size / size.max(-1, keepdims=True)
        return jnp.concatenate([factor, factor], -1)
    return (images.content[view.key].astype(jnp.float32) / size)[:, ::-1]


def rectangle(images: Images, view: View) -> jax.Array:
    """Size of the rectangle of a letterboxed view that holds image and padding.

    Returns:
        [B, 2] int32 rows and columns, multiples of `STEP`.
    """
    return (images.content[view.key] + STEP - 1) // STEP * STEP


def corner(images: Images, view: View) -> jax.Array:
    """Position of the image's upper left corner in the view, [B, 2] as x y, float32.

    It is 0 except where the view is letterboxed.  There the image lies in the middle of its
    rectangle, unrounded; exactly at 0 along the axis that it fills.
    """
    if view.fit != "letterbox":
        return jnp.zeros(images.size.shape, jnp.float32)
    sides, size = rectangle(images, view)[:, ::-1], images.size[:, ::-1]
    spare = sides * size[:, ::-1] - sides[:, ::-1] * size
    return jnp.maximum(spare, 0).astype(jnp.float32) / (2 * size[:, ::-1]).astype(jnp.float32)


def to_view(xyxy: jax.Array, images: Images, view: View) -> jax.Array:
    """Transform boxes [B, N, 4] from original pixels to pixels of the view."""
    factor, start = scale(images, view), corner(images, view)
    return xyxy * jnp.concatenate([factor, factor], -1)[:, None, :] + jnp.concatenate([start, start], -1)[:, None, :]


def from_view(xyxy: jax.Array, images: Images, view: View) -> jax.Array:
    """Transform boxes [B, N, 4] from view pixels to original pixels, clipped to the image."""
    factor, start = scale(images, view), corner(images, view)
    xyxy = xyxy - jnp.concatenate([start, start], -1)[:, None, :]
    xyxy = xyxy / jnp.concatenate([factor, factor], -1)[:, None, :]
    limit = images.size[:, ::-1].astype(jnp.float32)
    return jnp.clip(xyxy, 0.0, jnp.concatenate([limit, limit], -1)[:, None, :])


def inside(images: Images, view: View) -> jax.Array:
    """Mask [B, H, W, 1] bool of the view's pixels that are image, not padding."""
    content = images.content[view.key]
    _, height, width, _ = images.view(view).shape
    start = (rectangle(images, view) - content) // 2 if view.fit == "letterbox" else jnp.zeros_like(content)
    rows, columns = jnp.arange(height) - start[:, :1], jnp.arange(width) - start[:, 1:]
    rows, columns = (rows >= 0) & (rows < content[:, :1]), (columns >= 0) & (columns < content[:, 1:])
    return (rows[:, :, None] & columns[:, None, :])[..., None]


def normalise(pixels: jax.Array, mean: tuple[float, ...], std: tuple[float, ...], dtype: jnp.dtype) -> jax.Array:
    """Subtract the mean and divide by the standard deviation per channel, computed in float32.

    Args:
        pixels: [..., C].
        mean: C values.
        std: C values.
        dtype: Dtype of the result.
    """
    shift, spread = np.asarray(mean, np.float32), np.asarray(std, np.float32)
    return ((pixels.astype(jnp.float32) - shift) / spread).astype(dtype)
