"""Regions for classifiers: boxes cut out of images, with or without the object's surroundings."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp

from gsam.ops.resize import crop_weights, crops
from gsam.ops.views import normalise, scale, to_view
from gsam.ops.windows import is_window, twice
from gsam.types import Labels, Scene, View

HIGHEST = jax.lax.Precision.HIGHEST


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Regions:
    """Regions to cut out, [B, N, ...]."""

    xyxy: jax.Array
    """[B, N, 4] pixels of the canvas; may reach beyond it."""
    on_mask: jax.Array | None = None
    """[B, N, 4] the boxes in pixels of the masks."""
    logits: jax.Array | None = None
    """[B, N, h, w] mask logits: above 0 is the object."""


def regions(scene: Scene, canvas: View, context: float, *, masked: bool) -> Regions:
    """Take the regions of a scene's boxes, with their masks if ``masked`` and there are any.

    Args:
        scene: Images, boxes and perhaps masks.
        canvas: The view whose pixels the regions are in.
        context: Share of a box's width and height added on each side.
        masked: Whether to take the masks along.
    """
    wide = widen(to_view(scene.boxes.xyxy, scene.images, canvas), context)
    masks = scene.masks
    if not masked or masks is None:
        return Regions(wide)
    size = scene.images.size.astype(jnp.float32)[:, None]  # [B, 1, 2]
    whole = jnp.asarray(masks.logits.shape[-2:], jnp.float32)
    factor = (whole if masks.content is None else masks.content) / size  # [B, N, 2], rows and columns
    factor = jnp.broadcast_to(factor[..., ::-1], (*wide.shape[:2], 2)) / scale(scene.images, canvas)[:, None]
    on_mask = wide * jnp.concatenate([factor, factor], -1)
    if masks.window is not None:
        start, side = masks.window[..., :2], masks.window[..., 2:] - masks.window[..., :2]
        own = widen(scene.boxes.xyxy, context) - twice(start)
        own *= twice(whole[::-1] / jnp.maximum(side, 1e-3))
        on_mask = jnp.where(is_window(masks.window), own, on_mask)
    return Regions(wide, on_mask, masks.logits)


def cut(
    pixels: jax.Array,
    where: Regions,
    side: int,
    kernel: Literal["bilinear", "bicubic"],
    mean: tuple[float, ...],
    std: tuple[float, ...],
    background: float,
    dtype: jnp.dtype,
) -> jax.Array:
    """Cut regions out of canvases as an encoder takes them.

    Pixels outside the mask are moved towards the mean colour, which is 0 after normalisation.  A
    mask that has no pixel in its region changes nothing.

    Args:
        pixels: Canvases [B, S, S, 3], 0..255.
        where: The regions.
        side: Side of the result in pixels.
        kernel: Pillow's resampling.
        mean: Mean per channel, of values in 0..1.
        std: Standard deviation per channel.
        background: Share of the pixels outside the mask that is left, 0..1.
        dtype: Dtype of the result.

    Returns:
        [B, N, side, side, 3], normalised.
    """
    crop = jax.vmap(lambda p, b: crops(p, b, side, kernel))(pixels, where.xyxy)
    crop = normalise(crop / 255.0, mean, std, dtype)
    if where.logits is None or where.on_mask is None:
        return crop
    inside = jax.vmap(lambda m, b: inside_mask(m, b, side))(where.logits, where.on_mask)[..., None]
    visible = inside | ~inside.any((2, 3, 4), keepdims=True)
    return jnp.where(visible, crop, crop * jnp.asarray(background, dtype))


def inside_mask(logits: jax.Array, xyxy: jax.Array, side: int) -> jax.Array:
    """Resample boxes [N, 4] of masks [N, h, w] linearly: [N, side, side] bool, logits above 0."""
    rows = crop_weights(xyxy[:, 1], xyxy[:, 3], logits.shape[1], side, "bilinear")
    columns = crop_weights(xyxy[:, 0], xyxy[:, 2], logits.shape[2], side, "bilinear")
    part = jnp.einsum("nxw,nhw->nhx", columns, logits.astype(jnp.float32), precision=HIGHEST)
    return jnp.einsum("nyh,nhx->nyx", rows, part, precision=HIGHEST) > 0


def widen(xyxy: jax.Array, context: float) -> jax.Array:
    """Add ``context`` times their width and height to boxes [..., 4] on each side."""
    margin = jnp.maximum(xyxy[..., 2:] - xyxy[..., :2], 1.0) * context
    return xyxy + jnp.concatenate([-margin, margin], -1)


def average(text: Callable[[jax.Array], jax.Array], ids: jax.Array) -> jax.Array:
    """Average the unit vectors of a query's sentences, and scale the mean to unit length.

    The sentences go one after the other, so that memory does not grow with K.

    Args:
        text: Token ids [n, T] -> unit vectors [n, P].
        ids: [n, K, T]: K sentences per query.

    Returns:
        [n, P].
    """
    if ids.shape[1] == 1:
        return text(ids[:, 0])
    each = jax.lax.map(text, ids.swapaxes(0, 1))  # [K, n, P]
    mean = each.astype(jnp.float32).mean(0)
    return (mean / jnp.linalg.norm(mean, axis=-1, keepdims=True)).astype(each.dtype)


def similarity(objects: jax.Array, queries: jax.Array) -> jax.Array:
    """Cosines of unit vectors [B, N, P] with [B, C, P]: [B, N, C] float32."""
    a, b = objects.astype(jnp.float32), queries.astype(jnp.float32)
    return jnp.einsum("bnp,bcp->bnc", a, b, precision=HIGHEST)


def reweigh(labels: Labels, probability: jax.Array, valid: jax.Array, weight: float) -> Labels:
    """Combine a detector's scores with a classifier's as a weighted geometric mean, and label anew.

    Args:
        labels: The detector's labels.
        probability: [B, N, C] of the classifier.
        valid: [B, C]: a query that is not valid scores 0.
        weight: Weight of the classifier, 0..1.
    """
    scores = labels.scores ** (1.0 - weight) * probability**weight
    scores = jnp.where(valid[:, None], scores, 0.0)
    return dataclasses.replace(labels, index=scores.argmax(-1).astype(jnp.int32), score=scores.max(-1), scores=scores)
