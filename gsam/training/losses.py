"""What training minimises: arrays -> arrays, float32, no parameters.

Nothing here reduces over the batch: the caller weighs and averages.  Sources: focal loss, Lin et al. 2017; dice,
Milletari et al. 2016; GIoU, Rezatofighi et al. 2019; best of several masks, Kirillov et al.
2023 (SAM).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp


def cross_entropy(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Binary cross-entropy of logits against targets in 0..1, elementwise and stable for any finite logit."""
    return jnp.maximum(logits, 0.0) - logits * targets + jnp.log1p(jnp.exp(-jnp.abs(logits)))


def focal(logits: jax.Array, targets: jax.Array, *, alpha: float = 0.5, gamma: float = 2.0) -> jax.Array:
    """Sigmoid focal loss, elementwise.

    ``targets`` in 0..1 (soft ones are interpolated); ``alpha`` weighs positives, ``1 - alpha`` negatives.
    """
    p = jax.nn.sigmoid(logits)
    missed = p * (1.0 - targets) + (1.0 - p) * targets
    weight = alpha * targets + (1.0 - alpha) * (1.0 - targets)
    return weight * missed**gamma * cross_entropy(logits, targets)


def dice(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """One minus the soft dice coefficient over the last two axes: [..., h, w] -> [...]; two empty masks cost 0."""
    p = jax.nn.sigmoid(logits)
    both = (p * targets).sum((-2, -1))
    return 1.0 - (2.0 * both + 1.0) / (p.sum((-2, -1)) + targets.sum((-2, -1)) + 1.0)


def mask_iou(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """IoU of two masks cut at logit 0 and target 0.5: [..., h, w] -> [...]; two empty masks agree perfectly."""
    a, b = logits > 0.0, targets > 0.5
    both, either = (a & b).sum((-2, -1)), (a | b).sum((-2, -1))
    return jnp.where(either > 0, both / jnp.maximum(either, 1), 1.0)


def corners(boxes: jax.Array) -> jax.Array:
    """Centre and size [..., 4] -> x0 y0 x1 y1."""
    centre, half = boxes[..., :2], boxes[..., 2:] / 2.0
    return jnp.concatenate([centre - half, centre + half], -1)


def box_l1(a: jax.Array, b: jax.Array) -> jax.Array:
    """Sum of absolute differences, [..., 4] -> [...], in whatever unit and form the boxes share."""
    return jnp.abs(a - b).sum(-1)


def giou(a: jax.Array, b: jax.Array) -> jax.Array:
    """Generalised IoU in -1..1 of boxes x0 y0 x1 y1, broadcast: [..., 4] -> [...].  Inverted boxes have no area."""

    def area(low: jax.Array, high: jax.Array) -> jax.Array:
        side = jnp.maximum(high - low, 0.0)
        return side[..., 0] * side[..., 1]

    (a0, a1), (b0, b1) = (a[..., :2], a[..., 2:]), (b[..., :2], b[..., 2:])
    both = area(jnp.maximum(a0, b0), jnp.minimum(a1, b1))
    either = area(a0, a1) + area(b0, b1) - both
    hull = area(jnp.minimum(a0, b0), jnp.maximum(a1, b1))
    return both / (either + 1e-7) - (hull - either) / (hull + 1e-7)


def contrastive(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Softmax cross-entropy against soft targets [..., C] that sum to 1 (or to 0: then nothing is asked) -> [...]."""
    return -(targets * jax.nn.log_softmax(logits, -1)).sum(-1)


def best_mask(costs: jax.Array) -> jax.Array:
    """SAM's rule for an ambiguous prompt: costs [..., M] -> weights [..., M], 1 for the cheapest mask, else 0."""
    return jax.nn.one_hot(jnp.argmin(jax.lax.stop_gradient(costs), -1), costs.shape[-1])


def weighted_mean(values: jax.Array, weights: jax.Array) -> jax.Array:
    """The mean of ``values`` under ``weights`` (both of one shape); 0 where all weights are 0."""
    return (values * weights).sum() / jnp.maximum(weights.sum(), 1.0)
