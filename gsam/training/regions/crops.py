"""Crops of the objects of an image, cut as a pipeline's classifier cuts them."""

from __future__ import annotations

import functools
import zlib
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from gsam.inputs.image import content, make_view
from gsam.models.region_classifier import RegionClassifier
from gsam.ops.regions import widen
from gsam.ops.resize import crops
from gsam.ops.views import normalise
from gsam.training.data.entries import Entry

JITTER = 0.08
"""Deviation of a moved border, as a share of the box's width or height."""
CANVAS_STEP = 256
"""Canvases of small images are cut to multiples of this, which saves time and changes nothing."""
ROWS = 16
"""Crops that are cut or encoded together."""


def usable(entry: Entry) -> list[int]:
    """List the objects of an image that have an area and are no crowd."""
    boxes = entry.boxes
    area = np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(-1) if len(boxes) else np.zeros(0)
    return [i for i, one in enumerate(entry.objects) if not one.crowd and area[i] > 0]


def variants(boxes: NDArray[np.float32], size: tuple[int, int], count: int, name: str) -> NDArray[np.float32]:
    """Move the borders of boxes a little, as a detector's boxes lie.

    Args:
        boxes: [N, 4] float32 pixels.
        size: Height and width of the image, which no border leaves.
        count: Variants of a box; the first is the box itself.
        name: Of the image: equal names give equal variants.

    Returns:
        [N, count, 4] float32.
    """
    rng = np.random.default_rng(zlib.crc32(name.encode("utf-8", "surrogateescape")))
    sides = np.tile(boxes[:, 2:] - boxes[:, :2], 2)[:, None]
    moved = rng.normal(0.0, JITTER, (len(boxes), count, 4)).clip(-2.5 * JITTER, 2.5 * JITTER) * sides
    moved[:, :1] = 0.0
    height, width = size
    out = np.clip(boxes[:, None] + moved, 0, [width, height, width, height])
    return np.where(np.arange(count)[:, None] > 0, out, boxes[:, None]).astype(np.float32)


def cut_crops(stage: RegionClassifier, pixels: NDArray[np.uint8], boxes: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Cut boxes out of an image.

    Args:
        stage: The classifier: its canvas, context, resampling and side are used.
        pixels: [H, W, 3] uint8.
        boxes: [N, 4] float32 pixels of the image.

    Returns:
        [N, S, S, 3] uint8, exactly as `RegionClassifier.classify` sees them.
    """
    h, w = pixels.shape[:2]
    rows, columns = content(stage.view, (h, w))
    reach = int(max(rows, columns) * (1 + stage.context)) + 4  # the padding beyond is in no crop
    side = min(-(-reach // CANVAS_STEP) * CANVAS_STEP, stage.view.size)
    canvas = make_view(pixels, stage.view)[:side, :side]
    scale = np.array([columns / w, rows / h], np.float32)
    where = boxes * np.concatenate([scale, scale])
    out: list[Any] = []
    for start in range(0, len(where), ROWS):
        part = where[start : start + ROWS]
        filled = np.concatenate([part, np.tile(part[-1:], (ROWS - len(part), 1))])
        cut = _cut(canvas, filled, stage.config.image_size, stage.resampling, stage.context)
        out.append(np.asarray(cut)[: len(part)].astype(np.uint8))
    return np.concatenate(out) if out else np.zeros((0, *(stage.config.image_size,) * 2, 3), np.uint8)


@functools.partial(jax.jit, static_argnums=(2, 3, 4))
def _cut(canvas: Any, boxes: Any, side: int, kernel: Any, context: float) -> jax.Array:
    return crops(canvas, widen(boxes, context), side, kernel)


def normalised(stage: RegionClassifier, cut: jax.Array, dtype: Any) -> jax.Array:
    """Turn crops [..., S, S, 3] of 0..255 into the encoder's input."""
    return normalise(cut.astype("float32") / 255.0, stage.mean, stage.std, dtype)
