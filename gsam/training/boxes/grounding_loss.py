"""Grounding DINO's loss: words by focal sigmoids, boxes by L1 and GIoU, queries matched to truths
one to one, after the proposals and after each layer of the decoder.

As in Liu et al., Grounding DINO: Marrying DINO with Grounded Pre-Training for Open-Set Object
Detection (2023): 2 : 5 : 2 of names, L1 and GIoU in the costs of matching, 1 : 5 : 2 in the loss.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from gsam.ops.boxes import area, cxcywh_to_xyxy, intersection, xyxy_to_cxcywh
from gsam.training.losses import box_l1, giou, weighted_mean
from gsam.training.matching import match
from gsam.training.task import Metrics

ALPHA, GAMMA = 0.25, 2.0
"""Focal loss: weight of what is there against what is not, and how little sure answers count."""
NAMES, L1, GIOU = 1.0, 5.0, 2.0
"""Weights of the parts."""
COSTS = 2.0, 5.0, 2.0
"""Weights of the parts in the costs of matching."""
IN_CROWD = 0.5
"""Share of a box from which on it may show a part of a crowd."""
TINY = 1e-8


class ImageTruth(NamedTuple):
    """The boxes of one image, padded to N, and of its crowds, padded to M; in 0..1 of the image."""

    boxes: Any
    """[N, 4] float32 corners; zeros for padding."""
    labels: Any
    """[N] int32 index of the name, -1 for padding."""
    crowds: Any
    """[M, 4] float32 corners of areas that hold several objects; zeros for padding."""


def grounding_loss(
    logits: jax.Array, boxes: jax.Array, alive: jax.Array, real: jax.Array, words: jax.Array, truth: ImageTruth
) -> tuple[jax.Array, Metrics]:
    """Compute the loss of a batch, the mean over A answers, each of which is matched by itself.

    Args:
        logits: [B, A, Q, T] float32 of every query for every token, see
            `gsam.models.grounding_dino.model.GroundingDino.every`.
        boxes: [B, A, Q, 4] float32 centre and size in 0..1.
        alive: [B, Q] bool: queries that lie in the image.
        real: [B, T] bool: tokens that are not padding.
        words: [C, T] bool: the tokens that are words of each name.
        truth: Of the images, [B, ...].

    Returns:
        The loss [] float32, and its parts with the share of matched queries that score best for the
        right name.
    """
    count = logits.shape[1]
    alive, real, truth = jax.tree.map(lambda leaf: jnp.repeat(leaf, count, 0), (alive, real, truth))
    logits, boxes = (x.reshape(-1, *x.shape[2:]) for x in (logits, boxes))
    return answer_loss(logits, boxes, alive, real, words, truth)


def answer_loss(
    logits: jax.Array, boxes: jax.Array, alive: jax.Array, real: jax.Array, words: jax.Array, truth: ImageTruth
) -> tuple[jax.Array, Metrics]:
    """Compute the loss of one answer to each image, [B, Q, ...]; see `grounding_loss`."""
    logits = jnp.where(real[:, None], logits, 0.0)  # padding has -inf
    found = cxcywh_to_xyxy(boxes)
    own = words.astype(jnp.float32)
    share = own / jnp.maximum(own.sum(1, keepdims=True), 1.0)
    there = truth.labels >= 0
    costs = cost(logits, boxes, share[jnp.maximum(truth.labels, 0)], truth.boxes)
    assigned = match(costs, jnp.broadcast_to(alive[:, None], costs.shape), there, jnp.ones((), jnp.int32))

    matched = (assigned >= 0).astype(jnp.float32)
    row, count = jnp.maximum(assigned, 0), jnp.maximum(there.sum(), 1).astype(jnp.float32)
    label = jnp.maximum(jnp.take_along_axis(truth.labels, row, 1), 0)
    wanted = own[label] * matched[..., None]
    told = alive & ((matched > 0) | ~in_crowd(lax.stop_gradient(found), truth.crowds))
    focal = optax.sigmoid_focal_loss(logits, wanted, alpha=ALPHA, gamma=GAMMA)
    names = jnp.where(told[..., None] & real[:, None], focal, 0.0).sum() / count
    target = jnp.take_along_axis(truth.boxes, row[..., None], 1)
    near = weighted_mean(box_l1(boxes, xyxy_to_cxcywh(target)), matched)
    overlap = weighted_mean(1.0 - giou(found, target), matched)
    scores = jnp.einsum("bqt,ct->bqc", jax.nn.sigmoid(logits), share)
    right = weighted_mean((scores.argmax(-1) == label).astype(jnp.float32), matched)
    total = NAMES * names + L1 * near + GIOU * overlap
    return total, {"names": names, "l1": near, "giou": overlap, "right": right}


def cost(logits: jax.Array, boxes: jax.Array, share: jax.Array, truth: jax.Array) -> jax.Array:
    """Compute the cost of giving truths to queries.

    Args:
        logits: [B, Q, T], finite.
        boxes: [B, Q, 4] centre and size in 0..1.
        share: [B, N, T] each truth's words, which sum to one.
        truth: [B, N, 4] corners in 0..1.

    Returns:
        [B, N, Q].
    """
    p = jax.nn.sigmoid(logits)
    there = ALPHA * (1 - p) ** GAMMA * -jnp.log(p + TINY)
    absent = (1 - ALPHA) * p**GAMMA * -jnp.log(1 - p + TINY)
    names = jnp.einsum("bqt,bnt->bnq", there - absent, share)
    near = box_l1(boxes[:, None], xyxy_to_cxcywh(truth)[:, :, None])
    overlap = giou(cxcywh_to_xyxy(boxes)[:, None], truth[:, :, None])
    return COSTS[0] * names + COSTS[1] * near - COSTS[2] * overlap


def in_crowd(boxes: jax.Array, crowds: jax.Array) -> jax.Array:
    """Tell which boxes [B, Q, 4] lie in a crowd [B, M, 4] by half or more: [B, Q] bool."""
    return (intersection(boxes, crowds) >= IN_CROWD * jnp.maximum(area(boxes), TINY)[..., None]).any(-1)
