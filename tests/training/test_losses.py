from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gsam.ops.boxes import cxcywh_to_xyxy
from gsam.training import losses

Loss = Callable[..., jax.Array]


def cross_entropy(logits: jax.Array, targets: jax.Array) -> jax.Array:
    return jnp.maximum(logits, 0.0) - logits * targets + jnp.log1p(jnp.exp(-jnp.abs(logits)))


def focal(logits: jax.Array, targets: jax.Array) -> jax.Array:
    p = jax.nn.sigmoid(logits)
    missed = p * (1.0 - targets) + (1.0 - p) * targets
    return 0.5 * missed**2 * cross_entropy(logits, targets)


def dice(logits: jax.Array, targets: jax.Array) -> jax.Array:
    p = jax.nn.sigmoid(logits)
    both = (p * targets).sum((-2, -1))
    return 1.0 - (2.0 * both + 1.0) / (p.sum((-2, -1)) + targets.sum((-2, -1)) + 1.0)


def contrastive(logits: jax.Array, targets: jax.Array) -> jax.Array:
    return -(targets * jax.nn.log_softmax(logits, -1)).sum(-1)


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize(
    ("written", "used"),
    [
        (cross_entropy, optax.sigmoid_binary_cross_entropy),
        (focal, functools.partial(optax.sigmoid_focal_loss, alpha=0.5)),
        (dice, losses.dice),
        (contrastive, optax.softmax_cross_entropy),
    ],
)
@pytest.mark.long
def test_the_losses_that_nano_learnt_with_are_optax(written: Loss, used: Loss, soft: bool) -> None:
    """Values and gradients of the formulas that stood here before; targets broadcast where masks
    share a truth.
    """
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(0, 8, (3, 4, 5, 6)), jnp.float32)
    t = jnp.asarray(rng.random((3, 1, 5, 6)), jnp.float32)
    t = t / t.sum(-1, keepdims=True) if soft else jax.nn.one_hot(t.argmax(-1), 6)
    np.testing.assert_allclose(used(x, t), written(x, t), rtol=2e-5, atol=1e-6)
    slopes = (jax.grad(lambda x, loss=loss: loss(x, t).sum())(x) for loss in (used, written))
    np.testing.assert_allclose(*slopes, rtol=2e-4, atol=2e-6)


def test_focal_is_cross_entropy_at_gamma_zero_and_forgives_the_easy() -> None:
    x, t = jnp.array([-3.0, 0.0, 3.0]), jnp.array([0.0, 1.0, 1.0])
    half = functools.partial(optax.sigmoid_focal_loss, labels=t, alpha=0.5)
    np.testing.assert_allclose(2 * half(x, gamma=0.0), cross_entropy(x, t), rtol=1e-6)
    ratio = 2 * half(x) / cross_entropy(x, t)
    np.testing.assert_allclose(ratio, [jax.nn.sigmoid(-3.0) ** 2, 0.25, jax.nn.sigmoid(-3.0) ** 2], rtol=1e-5)
    assert np.isfinite(jax.grad(lambda x: half(x).sum())(jnp.array([200.0, -200.0, 0.0]))).all()


def test_no_target_costs_nothing() -> None:
    x = jnp.asarray(np.random.default_rng(0).normal(0, 20, (4, 5)), jnp.float32)
    assert not optax.softmax_cross_entropy(x, jnp.zeros_like(x)).any()


def test_dice_and_mask_iou() -> None:
    truth = jnp.zeros((8, 8)).at[:4].set(1.0)
    right = jnp.where(truth > 0, 50.0, -50.0)
    assert float(losses.dice(right, truth)) < 1e-6
    assert float(losses.dice(-right, truth)) > 0.9
    assert float(losses.mask_iou(right, truth)) == 1.0
    assert float(losses.mask_iou(jnp.full((8, 8), 1.0), truth)) == 0.5
    assert float(losses.mask_iou(jnp.full((8, 8), -1.0), jnp.zeros((8, 8)))) == 1.0


@pytest.mark.parametrize(
    ("a", "b", "value"),
    [
        ([0, 0, 2, 2], [0, 0, 2, 2], 1.0),
        ([0, 0, 1, 1], [0, 0, 1, 1], 1.0),
        ([0, 0, 1, 1], [1, 0, 2, 1], 0.0),
        ([0, 0, 1, 1], [3, 0, 4, 1], -0.5),
        ([0, 0, 2, 2], [1, 1, 3, 3], 1 / 7 - 2 / 9),
        ([1, 1, 0, 0], [0, 0, 1, 1], 0.0),
    ],
)
def test_giou(a: list[float], b: list[float], value: float) -> None:
    assert float(losses.giou(jnp.array(a, float), jnp.array(b, float))) == pytest.approx(value, abs=1e-5)


def test_corners_best_and_mean() -> None:
    np.testing.assert_allclose(cxcywh_to_xyxy(jnp.array([0.5, 0.5, 0.2, 0.4])), [0.4, 0.3, 0.6, 0.7], rtol=1e-6)
    assert float(losses.box_l1(jnp.array([0.0, 1, 2, 3]), jnp.zeros(4))) == 6.0
    np.testing.assert_array_equal(losses.best_mask(jnp.array([[3.0, 1.0, 2.0]])), [[0, 1, 0]])
    assert float(losses.weighted_mean(jnp.array([1.0, 5.0]), jnp.array([0.0, 2.0]))) == 5.0
    assert float(losses.weighted_mean(jnp.array([1.0]), jnp.array([0.0]))) == 0.0


def test_the_cost_of_a_mask_is_focal_and_dice_where_the_truth_is_known() -> None:
    rng = np.random.default_rng(1)
    x = jnp.asarray(rng.normal(0, 4, (2, 3, 5, 6)), jnp.float32)
    t = jnp.asarray(rng.random((2, 1, 5, 6)) > 0.5, jnp.float32)
    every = jnp.ones((2, 1, 5, 6), bool)
    cost, iou = losses.mask_cost(x, t, every, alpha=0.5)
    np.testing.assert_allclose(cost, 20.0 * focal(x, t).mean((-2, -1)) + dice(x, t), rtol=1e-5)
    np.testing.assert_array_equal(iou, losses.mask_iou(x, t))
    some = every.at[:, :, :2].set(False)
    cost, iou = losses.mask_cost(x, t, some)
    other = losses.mask_cost(x.at[:, :, :2].set(9.0), t.at[:, :, :2].set(1.0), some)
    np.testing.assert_allclose((cost, iou), other, rtol=1e-6)
    assert np.isfinite(losses.mask_cost(x, t, ~every)[0]).all()


def test_a_target_that_rounding_left_above_one_counts_as_one() -> None:
    """Optax's focal loss is not a number there."""
    logits = jnp.full((1, 4, 4), 25.0)
    over = jnp.full((1, 4, 4), 1.0000006)
    (cost, _), slope = (
        f(logits)
        for f in (
            lambda x: losses.mask_cost(x, over, x > 0),
            jax.grad(lambda x: losses.mask_cost(x, over, x > 0)[0].sum()),
        )
    )
    np.testing.assert_array_equal(cost, losses.mask_cost(logits, jnp.ones((1, 4, 4)), logits > 0)[0])
    assert np.isfinite(slope).all()
