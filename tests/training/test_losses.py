from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gsam.training import losses


def test_cross_entropy_and_contrastive_are_optax() -> None:
    x = jnp.asarray(np.random.default_rng(0).normal(0, 20, (4, 5)), jnp.float32)
    soft = jax.nn.softmax(x[::-1])
    np.testing.assert_allclose(
        losses.cross_entropy(x, soft), optax.sigmoid_binary_cross_entropy(x, soft), rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(losses.contrastive(x, soft), optax.softmax_cross_entropy(x, soft), rtol=1e-5)
    assert not losses.contrastive(x, jnp.zeros_like(x)).any()


def test_focal_is_cross_entropy_at_gamma_zero_and_forgives_the_easy() -> None:
    x, t = jnp.array([-3.0, 0.0, 3.0]), jnp.array([0.0, 1.0, 1.0])
    np.testing.assert_allclose(2 * losses.focal(x, t, gamma=0.0), losses.cross_entropy(x, t), rtol=1e-6)
    ratio = 2 * losses.focal(x, t) / losses.cross_entropy(x, t)
    np.testing.assert_allclose(ratio, [jax.nn.sigmoid(-3.0) ** 2, 0.25, jax.nn.sigmoid(-3.0) ** 2], rtol=1e-5)
    assert np.isfinite(jax.grad(lambda x: losses.focal(x, t).sum())(jnp.array([200.0, -200.0, 0.0]))).all()


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
        ([0, 0, 1, 1], [1, 0, 2, 1], 0.0),
        ([0, 0, 1, 1], [3, 0, 4, 1], -0.5),
        ([0, 0, 2, 2], [1, 1, 3, 3], 1 / 7 - 2 / 9),
        ([1, 1, 0, 0], [0, 0, 1, 1], 0.0),
    ],
)
def test_giou(a: list[float], b: list[float], value: float) -> None:
    assert float(losses.giou(jnp.array(a, float), jnp.array(b, float))) == pytest.approx(value, abs=1e-5)


def test_corners_best_and_mean() -> None:
    np.testing.assert_allclose(losses.corners(jnp.array([0.5, 0.5, 0.2, 0.4])), [0.4, 0.3, 0.6, 0.7], rtol=1e-6)
    assert float(losses.box_l1(jnp.array([0.0, 1, 2, 3]), jnp.zeros(4))) == 6.0
    np.testing.assert_array_equal(losses.best_mask(jnp.array([[3.0, 1.0, 2.0]])), [[0, 1, 0]])
    assert float(losses.weighted_mean(jnp.array([1.0, 5.0]), jnp.array([0.0, 2.0]))) == 5.0
    assert float(losses.weighted_mean(jnp.array([1.0]), jnp.array([0.0]))) == 0.0
