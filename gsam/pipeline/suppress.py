"""What a detector found, or a classifier renamed -> what is kept of it."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from gsam.ops.nms import nms
from gsam.ops.top import take, valid_first
from gsam.types import Scene


def suppress(scene: Scene) -> Scene:
    """Drop boxes below the threshold of their query, and then `deduplicate`."""
    above = scene.labels.score > scene.text.threshold[scene.labels.index]
    return deduplicate(_keep(scene, scene.boxes.valid & above))


def deduplicate(scene: Scene) -> Scene:
    """Of boxes that overlap too much only the best stays; the rest moves to the front, best first.

    Too much is an IoU above ``text.overlap`` for one label (non-maximum suppression), and above ``text.duplicate`` for two.
    """
    rank = jnp.argsort(jnp.where(scene.boxes.valid, -scene.labels.score, jnp.inf), axis=1, stable=True)
    rows = jax.tree.map(lambda x: take(x, rank), (scene.boxes, scene.labels, scene.masks))
    scene = dataclasses.replace(scene, boxes=rows[0], labels=rows[1], masks=rows[2])
    valid = jax.vmap(nms, in_axes=(0, 0, None, 0))(
        scene.boxes.xyxy, scene.boxes.valid, scene.text.overlap, scene.labels.index
    )
    valid = jax.vmap(nms, in_axes=(0, 0, None))(scene.boxes.xyxy, valid, scene.text.duplicate)
    valid, rows = valid_first(valid, (scene.boxes, scene.labels, scene.masks))
    return _keep(dataclasses.replace(scene, boxes=rows[0], labels=rows[1], masks=rows[2]), valid)


def _keep(scene: Scene, valid: jax.Array) -> Scene:
    return dataclasses.replace(scene, boxes=dataclasses.replace(scene.boxes, valid=valid))
