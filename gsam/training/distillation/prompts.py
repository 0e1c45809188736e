"""Prompts for images that nobody labelled: random clicks, and the boxes of what the teacher finds
there.

Positions are shares of the image's width and height, so that each model gets them in its own view.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Generic, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from gsam.models.promptable import PromptableSegmenter
from gsam.nn.prompt import ABSENT, BOTTOM_RIGHT, FOREGROUND, PAD, TOP_LEFT

A = TypeVar("A")
HostArray = NDArray[Any]
FIRST_ROWS = 3
"""Rows of a prompt that are not corrections: two corners and a click."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Draws(Generic[A]):
    """Chance for Q prompts on each of B images."""

    clicks: A
    """[B, Q, 2] float32 x y in 0..1."""
    boxes: A
    """[B, Q, 4] float32 x0 y0 x1 y1 in 0..1, asked where a model takes no clicks."""
    jitter: A
    """[B, Q, 4] float32 normal: how far the sides of a found box move."""
    seed: A
    """[] uint32, for the corrections."""


def draw(rng: np.random.Generator, images: int, prompts: int) -> Draws[HostArray]:
    """Draw what prompts need of chance.

    Args:
        rng: Random numbers.
        images: B, the number of images.
        prompts: Q, prompts per image.

    Returns:
        The draws, on the host.
    """
    centre = rng.uniform(0.1, 0.9, (images, prompts, 2))
    half = rng.uniform(0.05, 0.3, (images, prompts, 2))
    boxes = np.clip(np.concatenate([centre - half, centre + half], -1), 0.0, 1.0)
    return Draws(
        rng.uniform(size=(images, prompts, 2)).astype(np.float32),
        boxes.astype(np.float32),
        rng.normal(size=(images, prompts, 4)).astype(np.float32),
        np.asarray(rng.integers(2**32), np.uint32),
    )


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Prompts:
    """Q prompts of P rows on each of B images, for any model."""

    at: jax.Array
    """[B, Q, P, 2] float32 x y in 0..1."""
    labels: jax.Array
    """[B, Q, P] int32 as in `gsam.nn.prompt`."""
    has_box: jax.Array
    """[B, Q] bool: the first two rows are the corners of a box."""

    def with_click(self, row: jax.Array, at: jax.Array, labels: jax.Array) -> Prompts:
        """Replace a row.

        Args:
            row: [] int32, its index.
            at: [B, Q, 2] x y in 0..1.
            labels: [B, Q] int32.
        """
        return dataclasses.replace(self, at=self.at.at[:, :, row].set(at), labels=self.labels.at[:, :, row].set(labels))


def lone_clicks(clicks: jax.Array, rows: int = 0) -> Prompts:
    """Make prompts of one foreground click.

    Args:
        clicks: [B, Q, 2] x y in 0..1.
        rows: Absent rows that follow.
    """
    kinds = jnp.asarray([PAD, ABSENT, FOREGROUND, *[ABSENT] * rows], jnp.int32)
    at = jnp.broadcast_to(clicks[:, :, None], (*clicks.shape[:2], FIRST_ROWS + rows, 2))
    return Prompts(at, jnp.broadcast_to(kinds, at.shape[:3]), jnp.zeros(clicks.shape[:2], bool))


def lone_boxes(boxes: jax.Array, rows: int = 0) -> Prompts:
    """Make prompts of one box.

    Args:
        boxes: [B, Q, 4] x0 y0 x1 y1 in 0..1.
        rows: Absent rows that follow.
    """
    kinds = jnp.asarray([TOP_LEFT, BOTTOM_RIGHT, ABSENT, *[ABSENT] * rows], jnp.int32)
    corners = boxes.reshape(*boxes.shape[:2], 2, 2)
    at = jnp.concatenate([corners, jnp.zeros((*boxes.shape[:2], 1 + rows, 2), boxes.dtype)], 2)
    return Prompts(at, jnp.broadcast_to(kinds, at.shape[:3]), jnp.ones(boxes.shape[:2], bool))


def choose(first: jax.Array, a: Prompts, b: Prompts) -> Prompts:
    """Take each prompt from one of two sets of the same shape.

    Args:
        first: [] or [Q] or [B, Q] bool: from ``a``.
        a: The first set.
        b: The second one.
    """

    def pick(x: jax.Array, y: jax.Array) -> jax.Array:
        known = jnp.broadcast_to(first, x.shape[:2])
        return jnp.where(known.reshape(*known.shape, *[1] * (x.ndim - 2)), x, y)

    return jax.tree.map(pick, a, b)


def ask(
    stage: PromptableSegmenter,
    model: Any,
    features: jax.Array,
    content: jax.Array,
    prompts: Prompts,
    *,
    multimask: bool,
) -> tuple[jax.Array, jax.Array]:
    """Decode prompts with a model.  Pure.

    Args:
        stage: The segmenter.
        model: Its module with its parameters.
        features: [B, h, w, D].
        content: [B, 2] rows and columns of its view that are image.
        prompts: The prompts.
        multimask: Whether to return the masks for an ambiguous prompt.

    Returns:
        Logits [B, Q, M, h, w] over its view and predicted IoU [B, Q, M], both float32.
    """
    extent = content[:, None, None, ::-1].astype(jnp.float32)  # as x y
    points = prompts.at * extent

    def one_image(
        features: jax.Array, points: jax.Array, labels: jax.Array, has_box: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        mask = stage.box_mask_prompt(points[:, :2].reshape(-1, 4))
        more = {} if mask is None else {"mask": mask, "has_mask": has_box}
        return stage.decode(model, features, points, labels, multimask, **more)

    return jax.vmap(one_image)(features, points, prompts.labels, prompts.has_box)
