"""Losses that optax does not have: arrays -> arrays, float32, no parameters.

Nothing here reduces over the batch: the caller weighs and averages.  Sources: dice, Milletari et
al. 2016; GIoU, Rezatofighi et al. 2019; best of several masks, and focal 20 : dice 1, Kirillov et
al. 2023 (SAM).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax

from gsam.ops.boxes import area

FOCAL = 20.0
"""Weight of the focal loss of a mask beside its dice loss."""
UNKNOWN = -20.0
"""Logit of pixels whose truth is not known: surely not mask, as their target is."""


def dice(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """One minus the soft dice coefficient over the last two axes.

    Args:
        logits: [..., h, w] float32.
        targets: [..., h, w] in 0..1, broadcast against ``logits``.

    Returns:
        [...] in 0..1; 0 for two empty masks.
    """
    logits, targets = jnp.broadcast_arrays(logits, targets)
    return optax.losses.dice_loss(logits[..., None], targets[..., None], smooth=0.5, axis=(-3, -2))


def mask_cost(
    logits: jax.Array, targets: jax.Array, known: jax.Array, *, alpha: float = 0.25
) -> tuple[jax.Array, jax.Array]:
    """SAM's loss of a mask, 20 focal and 1 dice, where the truth is known, and the mask's IoU.

    Args:
        logits: [..., h, w] float32.
        targets: [..., h, w] float32 in 0..1, of the same number of axes: the share of each pixel
            that is mask.  What resampling puts a little outside is cut: the focal loss is no number
            there.
        known: [..., h, w] bool, of the same number of axes: pixels that count.
        alpha: Weight of mask in the focal loss, and 1 - ``alpha`` of what is not mask.

    Returns:
        The loss [...], which is to be minimised, and the IoU [...] in 0..1, which has no gradient.
    """
    seen = known.astype(logits.dtype)
    quiet, wanted = jnp.where(known, logits, jnp.asarray(UNKNOWN, logits.dtype)), jnp.clip(targets, 0.0, 1.0) * seen
    local = (optax.sigmoid_focal_loss(logits, wanted, alpha=alpha) * seen).sum((-2, -1))
    cost = FOCAL * local / jnp.maximum(seen.sum((-2, -1)), 1.0) + dice(quiet, wanted)
    return cost, mask_iou(jax.lax.stop_gradient(quiet), wanted)


def mask_iou(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """IoU of two masks cut at logit 0 and target 0.5: [..., h, w] -> [...]; two empty masks agree
    perfectly.
    """
    a, b = logits > 0.0, targets > 0.5
    both, either = (a & b).sum((-2, -1)), (a | b).sum((-2, -1))
    return jnp.where(either > 0, both / jnp.maximum(either, 1), 1.0)


def box_l1(a: jax.Array, b: jax.Array) -> jax.Array:
    """Sum of absolute differences, [..., 4] -> [...], in whatever unit and form the boxes share."""
    return jnp.abs(a - b).sum(-1)


def giou(a: jax.Array, b: jax.Array) -> jax.Array:
    """Generalised IoU in -1..1 of boxes x0 y0 x1 y1, broadcast: [..., 4] -> [...].

    Inverted boxes have no area.
    """
    (a0, a1), (b0, b1) = (a[..., :2], a[..., 2:]), (b[..., :2], b[..., 2:])
    both = area(jnp.concatenate([jnp.maximum(a0, b0), jnp.minimum(a1, b1)], -1))
    hull = area(jnp.concatenate([jnp.minimum(a0, b0), jnp.maximum(a1, b1)], -1))
    either = area(a) + area(b) - both
    return both / (either + 1e-7) - (hull - either) / (hull + 1e-7)


def best_mask(costs: jax.Array) -> jax.Array:
    """SAM's rule for an ambiguous prompt: costs [..., M] -> weights [..., M], 1 for the cheapest
    mask, else 0.
    """
    return jax.nn.one_hot(jnp.argmin(jax.lax.stop_gradient(costs), -1), costs.shape[-1])


def weighted_mean(values: jax.Array, weights: jax.Array) -> jax.Array:
    """The mean of ``values`` under ``weights`` (both of one shape); 0 where all weights are 0."""
    return (values * weights).sum() / jnp.maximum(weights.sum(), 1.0)
