"""What a detector found -> what is kept of it."""

from __future__ import annotations

import dataclasses

import jax

from gsam.ops.nms import nms
from gsam.ops.top import valid_first
from gsam.types import Scene


def suppress(scene: Scene) -> Scene:
    """Drop boxes below the threshold of their query and boxes that repeat a better one of the same label.

    Boxes must be sorted best first, as detectors give them.  What is kept moves to the front.
    """
    text = scene.text
    valid = scene.boxes.valid & (scene.labels.score > text.threshold[scene.labels.index])
    valid = jax.vmap(nms, in_axes=(0, 0, None, 0))(scene.boxes.xyxy, valid, text.overlap, scene.labels.index)
    valid, (boxes, labels) = valid_first(valid, (scene.boxes, scene.labels))
    return dataclasses.replace(scene, boxes=dataclasses.replace(boxes, valid=valid), labels=labels)
