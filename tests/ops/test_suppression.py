"""Suppression: any number of boxes without a matrix of their overlaps, and that each rule is the
same on host and device.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gsam.ops.boxes import area, intersection, iou
from gsam.ops.suppression import best, contained, keep_best, nms, surrounds_group, without_duplicates


def boxes(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    corner, side = rng.uniform(0, 60, (count, 2)), rng.uniform(5, 40, (count, 2))
    return np.concatenate([corner, corner + side], 1).astype(np.float32), rng.permutation(count).astype(np.float32)


@pytest.mark.parametrize("overlap", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("n", [5, 80])
@pytest.mark.long
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


N = 12
SHARES = st.sampled_from([0.0, 0.3, 0.5, 0.7, 0.9, 1.0])


@st.composite
def scenes(draw: st.DrawFn) -> tuple[np.ndarray, ...]:
    """N boxes on a coarse grid, so that many lie in each other or are equal; their labels; which of
    them exist.
    """
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    corner, side = rng.integers(0, 8, (N, 2)), rng.integers(0, 8, (N, 2))
    xyxy = np.concatenate([corner, corner + side], 1).astype(np.float32)
    return xyxy, rng.integers(0, 1 + draw(st.integers(0, 2)), N), rng.random(N) < draw(st.sampled_from([0.5, 1.0]))


@jax.jit
def on_device(xyxy, same, valid, limits):
    size, shared, overlap = area(xyxy), intersection(xyxy, xyxy), iou(xyxy, xyxy)
    rules = {
        "duplicates": without_duplicates(overlap, same, valid, limits["nms"], limits["duplicate"]),
        "group": surrounds_group(size, shared, same, limits["group"]),
        "contained": contained(size, shared, limits["inside"]),
        "nms": nms(xyxy, valid, limits["nms"]),
    }
    return (size, shared, overlap), rules


@settings(max_examples=200, deadline=None)
@given(scenes(), st.fixed_dictionaries(dict.fromkeys(("nms", "duplicate", "group", "inside"), SHARES)))
def test_host_and_device_keep_the_same(scene: tuple[np.ndarray, ...], limits: dict[str, float]) -> None:
    xyxy, label, valid = scene
    same = (label[:, None] == label) & valid[:, None] & valid
    limits = {k: np.float32(v) for k, v in limits.items()}
    measured, device = jax.device_get(on_device(xyxy, same, valid, limits))
    size, shared, overlap = measured
    host = {
        "duplicates": without_duplicates(overlap, same, valid, limits["nms"], limits["duplicate"]),
        "group": surrounds_group(size, shared, same, limits["group"]),
        "contained": contained(size, shared, limits["inside"]),
        "nms": keep_best(overlap > limits["nms"], valid),
    }
    assert all(isinstance(v, np.ndarray) for v in host.values())
    for rule, found in host.items():
        np.testing.assert_array_equal(found, device[rule], err_msg=rule)
    # and both what the rules say in words
    kept: list[int] = []
    for i in np.flatnonzero(valid):
        if not any(overlap[i, j] > limits["nms"] and label[i] == label[j] for j in kept):
            kept.append(int(i))
    apart: list[int] = []
    for i in kept:
        if not any(overlap[i, j] > limits["duplicate"] for j in apart):
            apart.append(i)
    assert np.flatnonzero(host["duplicates"]).tolist() == apart
    for i in range(N):
        inside = [j for j in range(N) if same[i, j] and size[j] < np.float32(0.9) * size[i]]
        members = [j for j in inside if shared[i, j] > np.float32(0.9) * size[j]]
        full = sum(float(shared[i, j]) for j in members) > float(limits["group"] * size[i])
        assert host["group"][i] == (len(members) >= 2 and full and limits["group"] < 1)
        for j in range(N):
            assert host["contained"][i, j] == (shared[i, j] > limits["inside"] * min(size[i], size[j]))
