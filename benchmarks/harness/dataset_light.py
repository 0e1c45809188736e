"""A pipeline of cheap compiled steps for measurements in which no model matters."""

from __future__ import annotations

import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

import gsam
from gsam.ops.masks import filled
from gsam.runtime.compilation_cache import enable_compilation_cache
from gsam.types import Boxes, Images, Labels, Masks, Params, PyTree, View

SIDE = 32
HALF = SIDE // 2
QUERY = "bright thing. other"
CORNERS = 4


class CornerDetector:
    """Finds what is bright in each quarter of the image: up to four objects.

    Args:
        milliseconds: Time that a device is at an image, without any work of the host: a sleep
            inside of the compiled program.
    """

    params: Params = {}  # noqa: RUF012
    view = View(SIDE, "longest")
    text = gsam.QueryFeatures(lambda queries: np.array([[len(q)] for q in queries], np.float32))

    def __init__(self, milliseconds: float = 0.0) -> None:
        self.milliseconds = milliseconds

    def detect(self, params: Params, images: Images, text: PyTree, valid: jax.Array, n: int) -> tuple[Boxes, Labels]:
        """Find the box around the bright pixels of each quarter."""
        bright = images.view(self.view)[..., 0] > 128  # [B, S, S]
        b, c = valid.shape
        quarters = bright.reshape(b, 2, HALF, 2, HALF).transpose(0, 1, 3, 2, 4).reshape(b, CORNERS, HALF, HALF)
        span = jnp.arange(HALF)

        def ends(line: jax.Array) -> tuple[jax.Array, jax.Array]:
            return jnp.where(line, span, SIDE).min(-1), jnp.where(line, span, -1).max(-1) + 1

        (x0, x1), (y0, y1) = ends(quarters.any(2)), ends(quarters.any(3))
        right, below = jnp.array([0, HALF, 0, HALF]), jnp.array([0, 0, HALF, HALF])
        zoom = images.size.max(-1).astype(jnp.float32)[:, None, None] / SIDE
        boxes = jnp.stack([x0 + right, y0 + below, x1 + right, y1 + below], -1).astype(jnp.float32) * zoom
        limit = images.size[:, None, ::-1].astype(jnp.float32)  # a view may end inside of a cell
        boxes = jnp.minimum(boxes, jnp.concatenate([limit, limit], -1))
        there = quarters.any((2, 3)) & (boxes[..., 2] - boxes[..., 0] > 1) & (boxes[..., 3] - boxes[..., 1] > 1)
        best = 0.9 - 0.1 * jnp.arange(CORNERS, dtype=jnp.float32)
        score = jnp.where(valid[:, None], best[None, :, None], 0.0)  # [B, 4, C]
        score = score.at[..., 1:].multiply(0.5) + self._pause(b, boxes)
        xyxy = jnp.zeros((b, n, 4)).at[:, :CORNERS].set(boxes)
        scores = jnp.zeros((b, n, c)).at[:, :CORNERS].set(score)
        found = jnp.zeros((b, n), bool).at[:, :CORNERS].set(there)
        return Boxes(xyxy, found), Labels(scores.argmax(-1).astype(jnp.int32), scores.max(-1), scores)

    def _pause(self, images: int, after: jax.Array) -> jax.Array:
        """0, after the time of a batch."""
        if not self.milliseconds:
            return jnp.zeros(())

        def sleep(_: object) -> np.ndarray:
            time.sleep(self.milliseconds * images / 1000)
            return np.zeros((), np.float32)

        return jax.pure_callback(sleep, jax.ShapeDtypeStruct((), jnp.float32), after[0, 0, 0])


class BoxSegmenter:
    """The mask of a box is the box."""

    params: Params = {}  # noqa: RUF012
    view = View(SIDE, "longest")

    def features(self, params: Params, images: Images) -> jax.Array:
        """Give a few pixels."""
        return images.view(self.view)[:, ::4, ::4, 0].astype(jnp.float32)

    def segment(self, params: Params, features: PyTree, images: Images, boxes: Boxes) -> Masks:
        """Fill boxes."""
        scale = SIDE / images.size.max(-1).astype(jnp.float32)[:, None, None]
        return Masks(jax.vmap(lambda b: filled(b, SIDE, SIDE))(boxes.xyxy * scale), jnp.full(boxes.valid.shape, 0.5))


def light_pipeline(milliseconds: float = 0.0) -> gsam.Pipeline:
    """Make the pipeline.

    Args:
        milliseconds: As for `CornerDetector`.
    """
    enable_compilation_cache()
    return gsam.Pipeline(CornerDetector(milliseconds), BoxSegmenter(), boxes=6, name="light")


def light_images(folder: Path, count: int) -> list[Path]:
    """Write small images, each with up to four bright things."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(count):
        rng = np.random.default_rng((18, number))
        pixels = rng.integers(0, 60, (120, 160, 3), dtype=np.uint8)
        for y, x in rng.integers(0, (90, 120), (3, 2)):
            h, w = rng.integers(10, 30, 2)
            pixels[y : y + h, x : x + w] = 230
        paths.append(folder / f"{number:05d}.png")
        Image.fromarray(pixels).save(paths[-1])
    return paths
