"""What classifiers of regions share: boxes cut out of a picture, with or without what lies around the object."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp

from gsam.ops.resize import crop_weights, crops
from gsam.ops.views import normalise, scale, to_view
from gsam.types import Labels, Scene, View

HIGHEST = jax.lax.Precision.HIGHEST


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Regions:
    """What to cut out, [B, N, ...]."""

    xyxy: jax.Array
    """[B, N, 4] pixels of the canvas; may reach beyond it."""
    on_mask: jax.Array | None = None
    """[B, N, 4]: the same boxes in pixels of the masks."""
    logits: jax.Array | None = None
    """[B, N, h, w]: above 0 is the object."""


def regions(scene: Scene, canvas: View, context: float, *, masked: bool) -> Regions:
    """The scene's boxes with ``context`` added; with their masks if ``masked``, and there are any."""
    wide = widen(to_view(scene.boxes.xyxy, scene.images, canvas), context)
    masks = scene.masks
    if not masked or masks is None:
        return Regions(wide)
    size = scene.images.size.astype(jnp.float32)[:, None]  # [B, 1, 2]
    whole = jnp.asarray(masks.logits.shape[-2:], jnp.float32)
    factor = (whole if masks.content is None else masks.content) / size  # [B, N, 2], rows and columns
    factor = jnp.broadcast_to(factor[..., ::-1], (*wide.shape[:2], 2)) / scale(scene.images, canvas)[:, None]
    return Regions(wide, wide * jnp.concatenate([factor, factor], -1), masks.logits)


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
    """Regions of canvases [B, S, S, 3] as an encoder takes them: [B, N, side, side, 3], normalised, in ``dtype``.

    Pixels outside the mask are moved towards the mean colour, which is 0 after normalisation: ``background`` is how much of
    them is left.  A mask that has no pixel in its region changes nothing.
    """
    seen = jax.vmap(lambda p, b: crops(p, b, side, kernel))(pixels, where.xyxy)
    seen = normalise(seen / 255.0, mean, std, dtype)
    if where.logits is None or where.on_mask is None:
        return seen
    inside = jax.vmap(lambda m, b: inside_mask(m, b, side))(where.logits, where.on_mask)[..., None]
    shown = inside | ~inside.any((2, 3, 4), keepdims=True)
    return jnp.where(shown, seen, seen * jnp.asarray(background, dtype))


def inside_mask(logits: jax.Array, xyxy: jax.Array, side: int) -> jax.Array:
    """Boxes [N, 4] of masks [N, h, w] -> [N, side, side] bool: the logits, resampled linearly, are above 0."""
    rows = crop_weights(xyxy[:, 1], xyxy[:, 3], logits.shape[1], side, "bilinear")
    columns = crop_weights(xyxy[:, 0], xyxy[:, 2], logits.shape[2], side, "bilinear")
    part = jnp.einsum("nxw,nhw->nhx", columns, logits.astype(jnp.float32), precision=HIGHEST)
    return jnp.einsum("nyh,nhx->nyx", rows, part, precision=HIGHEST) > 0


def widen(xyxy: jax.Array, context: float) -> jax.Array:
    """Boxes [..., 4] with ``context`` of their width and height added on each side."""
    margin = jnp.maximum(xyxy[..., 2:] - xyxy[..., :2], 1.0) * context
    return xyxy + jnp.concatenate([-margin, margin], -1)


def average(text: Callable[[jax.Array], jax.Array], ids: jax.Array) -> jax.Array:
    """Token ids [n, K, T] of K sentences a query -> unit vectors [n, P]: the mean of the sentences' own, at unit length.

    One sentence after the other, so that memory does not grow with K.
    """
    if ids.shape[1] == 1:
        return text(ids[:, 0])
    each = jax.lax.map(text, ids.swapaxes(0, 1))  # [K, n, P]
    mean = each.astype(jnp.float32).mean(0)
    return (mean / jnp.linalg.norm(mean, axis=-1, keepdims=True)).astype(each.dtype)


def similarity(seen: jax.Array, against: jax.Array) -> jax.Array:
    """Unit vectors [B, N, P] and [B, C, P] -> [B, N, C] float32."""
    return jnp.einsum("bnp,bcp->bnc", seen.astype(jnp.float32), against.astype(jnp.float32), precision=HIGHEST)


def reweigh(labels: Labels, probability: jax.Array, valid: jax.Array, weight: float) -> Labels:
    """The detector's scores and a ``probability`` [B, N, C], weighted geometrically; the label is the best.

    A query that is not ``valid`` [B, C] scores 0.
    """
    scores = labels.scores ** (1.0 - weight) * probability**weight
    scores = jnp.where(valid[:, None], scores, 0.0)
    return dataclasses.replace(labels, index=scores.argmax(-1).astype(jnp.int32), score=scores.max(-1), scores=scores)
