"""`gsam.ops.nms.best`: the suppression of any number of boxes without a matrix of their overlaps."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsam.ops.nms import best, nms


def boxes(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    corner, side = rng.uniform(0, 60, (count, 2)), rng.uniform(5, 40, (count, 2))
    return np.concatenate([corner, corner + side], 1).astype(np.float32), rng.permutation(count).astype(np.float32)


@pytest.mark.parametrize("overlap", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("n", [5, 80])
def test_best_is_nms(n: int, overlap: float) -> None:
    xyxy, score = boxes(80, 3)
    score[:20] = -np.inf
    order = np.argsort(-score)
    kept = order[np.asarray(nms(jnp.asarray(xyxy[order]), jnp.asarray(score[order] > -np.inf), jnp.float32(overlap)))]
    rows, valid = jax.jit(best, static_argnums=3)(jnp.asarray(xyxy), jnp.asarray(score), jnp.float32(overlap), n)
    assert rows.shape == valid.shape == (n,)
    assert np.asarray(rows)[np.asarray(valid)].tolist() == kept[:n].tolist()
    assert int(valid.sum()) == min(len(kept), n)


def test_ties_go_to_the_first_row_and_the_threshold_itself_survives() -> None:
    xyxy = jnp.asarray([[0, 0, 4, 4], [0, 0, 4, 4], [0, 0, 4, 8], [20, 20, 30, 30]], jnp.float32)
    rows, valid = best(xyxy, jnp.asarray([0.5, 0.5, 0.5, 0.5]), jnp.float32(0.5), 4)
    assert np.asarray(rows)[np.asarray(valid)].tolist() == [0, 2, 3]  # 2 overlaps 0 by exactly a half


def test_nothing_to_keep() -> None:
    rows, valid = best(jnp.zeros((3, 4)), jnp.full(3, -jnp.inf), jnp.float32(0.5), 2)
    assert not valid.any()
    assert rows.shape == (2,)
