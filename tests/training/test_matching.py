from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from gsam.training import matching


def test_solve_is_optimal_and_ignores_the_absent() -> None:
    rng = np.random.default_rng(0)
    cost = rng.normal(size=(1, 3, 5)).astype(np.float32)
    valid = np.array([[True, False, True]])
    assigned = matching.solve(cost, np.ones((1, 3, 5), bool), valid, np.int32(1))[0]
    best = min(cost[0, 0, i] + cost[0, 2, j] for i, j in itertools.permutations(range(5), 2))
    assert sorted(assigned[assigned >= 0]) == [0, 2]
    assert np.isclose(sum(cost[0, k, t] for t, k in enumerate(assigned) if k >= 0), best)


def test_copies_take_more_tokens_but_only_allowed_ones() -> None:
    cost = np.tile(np.arange(6, dtype=np.float32), (1, 2, 1))
    allowed = np.zeros((1, 2, 6), bool)
    allowed[0, 0, :4] = allowed[0, 1, 5] = True
    assigned = matching.solve(cost, allowed, np.ones((1, 2), bool), np.int32(3))[0]
    np.testing.assert_array_equal(assigned, [0, 0, 0, -1, -1, 1])


def test_a_truth_with_one_candidate_is_not_robbed() -> None:
    cost = np.array([[[0.0, 0.1], [0.0, -9.0]]], np.float32)
    allowed = np.array([[[True, True], [True, False]]])
    np.testing.assert_array_equal(matching.solve(cost, allowed, np.ones((1, 2), bool), np.int32(1)), [[1, 0]])


def test_no_truth_and_cost_that_is_not_a_number() -> None:
    cost = np.full((2, 1, 3), np.nan, np.float32)
    assigned = matching.solve(cost, np.ones((2, 1, 3), bool), np.array([[False], [True]]), np.int32(1))
    assert (assigned[0] == -1).all()
    assert (assigned[1] >= 0).sum() == 1


def test_candidates_are_centres_inside_or_the_nearest() -> None:
    centres = matching.cell_centres(4)
    truth = jnp.array([[[0.0, 0.0, 0.5, 0.5], [0.6, 0.6, 0.61, 0.61]]])
    found = np.asarray(matching.candidates(truth, centres))[0]
    assert set(np.flatnonzero(found[0])) == {0, 1, 4, 5}
    assert list(np.flatnonzero(found[1])) == [10]


def test_match_under_jit_has_no_gradient_and_prefers_the_right_token() -> None:
    boxes = jnp.array([[[0.1, 0.1, 0.4, 0.4], [0.5, 0.5, 0.9, 0.9], [0.1, 0.1, 0.4, 0.4]]])
    logits = jnp.array([[[-3.0, 0.0], [0.0, 0.0], [3.0, 0.0]]])
    truth, label = boxes[:, :2], jnp.array([[0, 1]])

    @jax.jit
    def run(logits: jax.Array) -> tuple[jax.Array, jax.Array]:
        price = matching.cost(logits, boxes, truth, label)
        assigned = matching.match(price, jnp.ones_like(price, bool), label >= 0, jnp.int32(1))
        return jnp.where(assigned >= 0, logits.sum(-1), 0.0).sum(), assigned

    (_, assigned), grads = jax.value_and_grad(run, has_aux=True)(logits)
    np.testing.assert_array_equal(assigned, [[-1, 1, 0]])
    np.testing.assert_array_equal(grads[0, :, 0], [0, 1, 1])
