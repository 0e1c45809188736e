"""Deformable sampling beside a plain reading of its definition."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsam.ops import deformable

SHAPES = [(5, 7), (3, 4), (1, 2)]


def plain(value: np.ndarray, xy: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Bilinear samples with zeros outside, one at a time, in double precision."""
    b, q, k, levels, points = weight.shape
    out = np.zeros((b, q, k, value.shape[-1]))
    starts = np.cumsum([0, *(h * w for h, w in SHAPES)])
    for i, j, n, level, p in itertools.product(range(b), range(q), range(k), range(levels), range(points)):
        h, w = SHAPES[level]
        grid = value[i, starts[level] : starts[level + 1], n].reshape(h, w, -1)
        x, y = xy[i, j, n, level, p]
        for row, column in itertools.product((np.floor(y), np.floor(y) + 1), (np.floor(x), np.floor(x) + 1)):
            if 0 <= row < h and 0 <= column < w:
                share = (1 - abs(x - column)) * (1 - abs(y - row)) * weight[i, j, n, level, p]
                out[i, j, n] += share * grid[int(row), int(column)]
    return out.reshape(b, q, -1)


@pytest.mark.parametrize("few", [0, 1000], ids=["by a table", "by gathers"])
def test_sampling(few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deformable, "FEW", few)
    rng = np.random.default_rng(0)
    b, q, k, points = 2, 11, 3, 4
    value = rng.normal(size=(b, sum(h * w for h, w in SHAPES), k, 8)).astype(np.float32)
    xy = rng.uniform(-4, 9, (b, q, k, len(SHAPES), points, 2)).astype(np.float32)
    xy[0, 0, 0, 0] = [[0, 0], [6, 4], [-1, -1], [1e6, -1e6]]  # corners, just outside, far outside
    weight = rng.uniform(0, 1, xy.shape[:-1]).astype(np.float32)
    run = jax.jit(lambda v, p, w: deformable.sample(v, SHAPES, p, w, chunk=4))
    found = run(jnp.asarray(value), jnp.asarray(xy), jnp.asarray(weight))
    expected = plain(value, xy, weight)
    np.testing.assert_allclose(found, expected, atol=2e-5)
    together = jax.vmap(lambda *picture: deformable._few(*picture, SHAPES))(value, xy, weight)
    np.testing.assert_allclose(together, expected, atol=2e-5)
    assert found.dtype == jnp.float32


def test_an_accelerator_takes_everything_at_once() -> None:
    b, q, k = 2, 6, 2
    value = jax.ShapeDtypeStruct((b, sum(h * w for h, w in SHAPES), k, 8), jnp.float32)
    xy = jax.ShapeDtypeStruct((b, q, k, len(SHAPES), 4, 2), jnp.float32)
    weight = jax.ShapeDtypeStruct(xy.shape[:-1], jnp.float32)
    traced = jax.jit(lambda v, p, w: deformable.sample(v, SHAPES, p, w)).trace(value, xy, weight)
    texts = {p: traced.lower(lowering_platforms=(p,)).as_text() for p in ("cpu", "cuda")}
    assert "while" in texts["cpu"]
    assert "while" not in texts["cuda"]
