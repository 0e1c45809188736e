"""Suppress detections: score threshold, NMS, group boxes and contained masks."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from gsam.ops.boxes import area, intersection, iou
from gsam.ops.suppression import contained, keep_best, surrounds_group, without_duplicates
from gsam.ops.top import take
from gsam.ops.windows import extents, is_window, onto
from gsam.types import Scene

CELLS = 64
"""Masks are compared on a grid of so many cells a side."""


class Kept(NamedTuple):
    """Rows of a scene: first those that are kept, in their order or best first, then the rest."""

    rows: jax.Array
    """[B, N] int32: which row of the scene each is."""
    valid: jax.Array
    """[B, N] bool."""

    def of(self, scene: Scene) -> Scene:
        """The scene's rows in this order."""
        boxes, labels, masks = jax.tree.map(lambda x: take(x, self.rows), (scene.boxes, scene.labels, scene.masks))
        boxes = dataclasses.replace(boxes, valid=self.valid)
        return dataclasses.replace(scene, boxes=boxes, labels=labels, masks=masks)


def suppress(scene: Scene) -> Scene:
    """Drop boxes below the threshold of their query, those around a group of others, and then
    `deduplicate`.
    """
    scene = deduplicate(above_threshold(scene))
    return _in_front(scene.boxes.valid & ~is_group_box(scene)).of(scene)


def above_threshold(scene: Scene) -> Scene:
    """Only boxes above the threshold of their query."""
    threshold = jnp.broadcast_to(scene.thresholds.threshold, scene.text.valid.shape)
    valid = scene.boxes.valid & (scene.labels.score > take(threshold, scene.labels.index))
    return dataclasses.replace(scene, boxes=dataclasses.replace(scene.boxes, valid=valid))


def deduplicate(scene: Scene) -> Scene:
    """Keep the best of boxes that overlap too much, and move those that are kept to the front.

    Too much is an IoU above ``thresholds.nms`` for one label (non-maximum suppression), and above
    ``thresholds.duplicate`` for two.
    """
    return deduplicated(scene).of(scene)


def deduplicated(scene: Scene) -> Kept:
    """The rows that `deduplicate` keeps."""
    rank = jnp.argsort(jnp.where(scene.boxes.valid, -scene.labels.score, jnp.inf), axis=1, stable=True)
    xyxy, valid, index = (take(x, rank) for x in (scene.boxes.xyxy, scene.boxes.valid, scene.labels.index))
    same, limits = _same(scene, index), scene.thresholds
    kept = jax.vmap(without_duplicates, (0, 0, 0, None, None))(
        iou(xyxy, xyxy), same, valid, limits.nms, limits.duplicate
    )
    order, kept = _in_front(kept)
    return Kept(take(rank, order), kept)


def is_group_box(scene: Scene) -> jax.Array:
    """Which boxes [B, N] surround a group, see `gsam.ops.suppression.surrounds_group`."""
    xyxy, valid = scene.boxes.xyxy, scene.boxes.valid
    same = _same(scene, scene.labels.index) & valid[:, :, None] & valid[:, None, :]
    return surrounds_group(area(xyxy), intersection(xyxy, xyxy), same, scene.thresholds.group)


def suppress_contained(scene: Scene) -> Scene:
    """Drop masks that say what a better one of their label says: most of the smaller lies inside
    the other.

    The share is measured on masks, so that two things whose boxes overlap both stay.  Nothing
    happens without masks.
    """
    return scene if scene.masks is None else not_contained(scene).of(scene)


def not_contained(scene: Scene) -> Kept:
    """The rows that `suppress_contained` keeps of a scene with masks."""
    assert scene.masks is not None
    logits = scene.masks.logits
    step = max(logits.shape[-1] // CELLS, 1)
    mask = logits[..., step // 2 :: step, step // 2 :: step] > 0
    if scene.masks.window is not None:
        mask = _on_view(scene, mask)
    flat = mask.reshape(*mask.shape[:2], -1).astype(jnp.float32)
    clash = contained(flat.sum(-1), flat @ flat.swapaxes(1, 2), scene.thresholds.inside)
    return _in_front(jax.vmap(keep_best)(clash & _same(scene, scene.labels.index), scene.boxes.valid))


def _on_view(scene: Scene, mask: jax.Array) -> jax.Array:
    """Lay those of the masks [B, N, s, s] that lie over windows on the grid of the others."""
    masks = scene.masks
    assert masks is not None
    assert masks.window is not None
    view = extents(dataclasses.replace(masks, window=None), scene.images.size)
    cells = mask.shape[-1]
    own = jax.vmap(onto, (0, 0, 0, None, None))(masks.logits, masks.window, view, cells, -1.0) > 0
    return jnp.where(is_window(masks.window)[..., None], own, mask)


def _same(scene: Scene, index: jax.Array) -> jax.Array:
    """[B, N, N] bool: which two of the queries ``index`` [B, N] have one label."""
    groups = scene.text.groups
    index = index if groups is None else take(groups, index)
    return index[:, :, None] == index[:, None, :]


def _in_front(valid: jax.Array) -> Kept:
    """The ``valid`` rows [B, N] in front, in their order."""
    rows = jnp.argsort(~valid, axis=1, stable=True)
    return Kept(rows, take(valid, rows))
