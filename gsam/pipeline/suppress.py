"""What a detector found, or a classifier renamed -> what is kept of it."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from gsam.ops.boxes import area, intersection
from gsam.ops.nms import nms, sweep
from gsam.ops.top import take, valid_first
from gsam.types import Scene

MEMBER = 0.9
"""How much of a box must lie in another for it to count as one of the group that the other surrounds."""
CELLS = 64
"""Masks are compared on a grid of so many cells a side."""


def suppress(scene: Scene) -> Scene:
    """Drop boxes below the threshold of their query, those around a group of others, and then `deduplicate`."""
    scene = deduplicate(above_threshold(scene))
    return _front(scene, scene.boxes.valid & ~is_group_box(scene))


def above_threshold(scene: Scene) -> Scene:
    """Only boxes above the threshold of their query."""
    threshold = jnp.broadcast_to(scene.thresholds.threshold, scene.text.valid.shape)
    above = scene.labels.score > take(threshold, scene.labels.index)
    return _keep(scene, scene.boxes.valid & above)


def deduplicate(scene: Scene) -> Scene:
    """Of boxes that overlap too much only the best stays; the rest moves to the front, best first.

    Too much is an IoU above ``thresholds.nms`` for one label (non-maximum suppression), and above
    ``thresholds.duplicate`` for two.
    """
    rank = jnp.argsort(jnp.where(scene.boxes.valid, -scene.labels.score, jnp.inf), axis=1, stable=True)
    rows = jax.tree.map(lambda x: take(x, rank), (scene.boxes, scene.labels, scene.masks))
    scene = dataclasses.replace(scene, boxes=rows[0], labels=rows[1], masks=rows[2])
    valid = jax.vmap(nms, in_axes=(0, 0, None, 0))(
        scene.boxes.xyxy, scene.boxes.valid, scene.thresholds.nms, scene.labels.index
    )
    return _front(scene, jax.vmap(nms, in_axes=(0, 0, None))(scene.boxes.xyxy, valid, scene.thresholds.duplicate))


def is_group_box(scene: Scene) -> jax.Array:
    """Which boxes [B, N] surround a group: two or more smaller ones of their label fill more than ``thresholds.group`` of them.

    Detectors of text like to add one box around everything a plural names.
    """
    xyxy, valid = scene.boxes.xyxy, scene.boxes.valid
    size = area(xyxy)
    shared = intersection(xyxy, xyxy)  # [B, N, M]
    same = (scene.labels.index[:, :, None] == scene.labels.index[:, None, :]) & valid[:, :, None] & valid[:, None, :]
    smaller = size[:, None, :] < MEMBER * size[:, :, None]
    member = same & smaller & (shared > MEMBER * size[:, None, :])
    filled = jnp.where(member, shared, 0.0).sum(-1)
    return (member.sum(-1) >= 2) & (filled > scene.thresholds.group * size) & (scene.thresholds.group < 1.0)


def suppress_contained(scene: Scene) -> Scene:
    """Drop masks that say what a better one of their label says: most of the smaller lies inside the other.

    The share is measured on masks, so that two things whose boxes overlap both stay.  Nothing happens without masks.
    """
    if scene.masks is None:
        return scene
    logits = scene.masks.logits
    step = max(logits.shape[-1] // CELLS, 1)
    inside = logits[..., step // 2 :: step, step // 2 :: step] > 0
    flat = inside.reshape(*inside.shape[:2], -1).astype(jnp.float32)
    shared = flat @ flat.swapaxes(1, 2)
    cells = flat.sum(-1)
    smaller = jnp.minimum(cells[:, :, None], cells[:, None, :])
    clash = shared > scene.thresholds.inside * jnp.maximum(smaller, 1.0)
    clash &= scene.labels.index[:, :, None] == scene.labels.index[:, None, :]
    valid = jax.vmap(sweep)(clash, scene.boxes.valid)
    return _front(scene, valid)


def _front(scene: Scene, valid: jax.Array) -> Scene:
    """Only the ``valid`` rows, moved to the front."""
    valid, rows = valid_first(valid, (scene.boxes, scene.labels, scene.masks))
    return _keep(dataclasses.replace(scene, boxes=rows[0], labels=rows[1], masks=rows[2]), valid)


def _keep(scene: Scene, valid: jax.Array) -> Scene:
    return dataclasses.replace(scene, boxes=dataclasses.replace(scene.boxes, valid=valid))
