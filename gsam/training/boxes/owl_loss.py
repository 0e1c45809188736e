"""OWL's loss: names by focal sigmoids, boxes by L1 and GIoU, tokens matched to truths one to one.

As in Minderer et al., Simple Open-Vocabulary Object Detection with Vision Transformers (2022),
with DETR's weights 2 : 5 : 2 of names, L1 and GIoU, as in the costs of `gsam.training.matching`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpy.typing import NDArray

from gsam.models.owl_vit.model import OwlVit
from gsam.ops.boxes import cxcywh_to_xyxy
from gsam.training.losses import box_l1, giou, weighted_mean
from gsam.training.matching import candidates, cost, match
from gsam.training.task import Metrics

ALPHA, GAMMA = 0.3, 2.0
"""Focal loss: weight of what is there against what is not, and how little sure answers count."""
NAMES, L1, GIOU, OBJECTS = 2.0, 5.0, 2.0, 1.0
"""Weights of the parts."""


def owl_loss(
    model: OwlVit,
    tokens: jax.Array,
    queries: jax.Array,
    boxes: jax.Array,
    labels: jax.Array,
    ignored: jax.Array,
    centres: NDArray[np.float32],
    *,
    objectness: bool,
) -> tuple[jax.Array, Metrics]:
    """Compute the loss of a batch.

    Args:
        model: With its parameters bound.
        tokens: [B, T, D] of the image encoder.
        queries: [C, D] embeddings of all names.
        boxes: [B, N, 4] float32 true corners in 0..1 of the view.
        labels: [B, N] int32 true names, -1 for padding.
        ignored: [B, T] bool: tokens that are not told that there is nothing.
        centres: [T, 2] centres of the tokens, in 0..1 of the view.
        objectness: Whether the model has that head (OWLv2).

    Returns:
        The loss [] float32, and its parts with the share of matched tokens that are named right.
    """
    logits = model.logits(tokens, queries)  # [B, T, C]
    found = cxcywh_to_xyxy(model.boxes(tokens))
    costs = cost(logits, found, boxes, labels)
    assigned = match(costs, candidates(boxes, centres), labels >= 0, jnp.ones((), jnp.int32))

    matched = (assigned >= 0).astype(jnp.float32)
    row, count = jnp.maximum(assigned, 0), jnp.maximum(matched.sum(), 1.0)
    kept = jnp.maximum(1.0 - ignored.astype(jnp.float32), matched)
    named = jnp.maximum(jnp.take_along_axis(labels, row, 1), 0)
    wanted = jax.nn.one_hot(named, logits.shape[-1]) * matched[..., None]
    names = (optax.sigmoid_focal_loss(logits, wanted, alpha=ALPHA, gamma=GAMMA) * kept[..., None]).sum() / count
    target = jnp.take_along_axis(boxes, row[..., None], 1)
    near = weighted_mean(box_l1(found, target), matched)
    overlap = weighted_mean(1.0 - giou(found, target), matched)
    total = NAMES * names + L1 * near + GIOU * overlap
    metrics = {"names": names, "l1": near, "giou": overlap}
    if objectness:
        objects = optax.sigmoid_focal_loss(model.objectness(tokens), matched, alpha=ALPHA, gamma=GAMMA)
        metrics["objects"] = (objects * kept).sum() / count
        total = total + OBJECTS * metrics["objects"]
    right = (logits.argmax(-1) == named).astype(jnp.float32)
    metrics["right"] = weighted_mean(right, matched)
    return total, metrics
