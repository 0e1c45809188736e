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
@pytest.mark.long
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


@pytest.mark.parametrize("queries", [1, 2, 300, 900, 1100])
def test_a_point_beside_a_pixel_s_centre_is_on_one_side_of_it(queries: int) -> None:
    """A compiler that computes a point twice, with another rounding, takes a wrong pixel in full.

    The points are computed in the program, as a model does, and lie within 1e-5 of whole numbers.
    """
    rng = np.random.default_rng(1)
    shapes, heads, points = ((104, 136), (52, 68), (26, 34), (13, 17)), 8, 4
    layout = (1, queries, heads, len(shapes), points)
    sizes = np.array(shapes, np.float32)[None, None, :, ::-1]
    value = rng.normal(size=(1, sum(h * w for h, w in shapes), heads, 4)).astype(np.float32)
    boxes = rng.uniform(0, 1, (1, queries, 4)).astype(np.float32)
    boxes[..., 0] = (np.round(boxes[..., 0] * 17) + 0.5) / 17
    boxes[..., 2] = rng.uniform(0, 1e-5, (1, queries))
    kernel = rng.normal(0, 1 / 16, (256, int(np.prod(layout[2:])) * 2)).astype(np.float32)
    query = rng.normal(size=(1, queries, 256)).astype(np.float32)
    weight = rng.uniform(0, 0.1, layout).astype(np.float32)

    def xy(query: jax.Array, boxes: jax.Array) -> jax.Array:
        centre, reach = boxes[:, :, None, :2] * sizes, boxes[:, :, None, 2:] * sizes * (0.5 / points)
        offset = (query @ kernel).reshape(*layout, 2)
        return centre[:, :, None, :, None] + offset * reach[:, :, None, :, None] - 0.5

    def run(value: jax.Array, query: jax.Array, boxes: jax.Array) -> jax.Array:
        return deformable.sample(value, shapes, xy(query, boxes), jnp.asarray(weight))

    optimised = {"xla_backend_optimization_level": 3}  # as users compile
    found = jax.jit(run, compiler_options=optimised)(value, query, boxes)
    at = np.asarray(jax.jit(xy, compiler_options=optimised)(query, boxes))
    assert (np.abs(at - np.round(at)) < 1e-5).any()
    expected = np.asarray(deformable.sample(jnp.asarray(value), shapes, jnp.asarray(at), jnp.asarray(weight)))
    np.testing.assert_allclose(found, expected, atol=1e-4)
