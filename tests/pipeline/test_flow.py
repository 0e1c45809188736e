"""How pictures travel: views made by the text_caches, batches begun ahead, and what comes back to
the host.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gsam
from gsam.inputs.image import Picture, make_view
from gsam.pipeline import Pipeline
from gsam.pipeline.finish import _found
from gsam.runtime import memory
from gsam.runtime.batch import gather, prepared
from gsam.types import Masks, View

VIEWS = (View(32, "longest"), View(64, "shortest", "bilinear", 0.0, 128), View(24, "square", "gaussian", 127.0))


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def nano() -> Pipeline:
    return gsam.load("nano")


def test_views_made_ahead_are_those_made_late() -> None:
    """Alone a picture's canvas may be smaller than in company: it is padded then, as if it had been
    made on the larger.
    """
    pictures = [Picture(picture(40, 50)), Picture(picture(200, 64, 1)), Picture(picture(33, 90, 2))]
    late = gather(pictures, VIEWS)
    ahead = gather([prepared(p, VIEWS) for p in pictures], VIEWS)
    assert late.views.keys() == ahead.views.keys()
    for key, expected in late.views.items():
        np.testing.assert_array_equal(ahead.views[key], expected)
    alone, together = make_view(pictures[0].pixels, VIEWS[1]).shape[:2], late.views[VIEWS[1].key].shape[1:3]
    assert alone != together


@pytest.mark.long
def test_a_stream_begins_the_next_batch_before_it_ends_one(nano: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = [picture(60, 80, i) for i in range(5)]
    expected = [nano(p, "dog").scores for p in pictures]
    order: list[str] = []
    begin, end = Pipeline.dispatch, Pipeline.collect
    monkeypatch.setattr(Pipeline, "dispatch", lambda *a, **k: (order.append("begin"), begin(*a, **k))[1])
    monkeypatch.setattr(Pipeline, "collect", lambda *a: (order.append("end"), end(*a))[1])
    results = list(nano.stream(pictures, "dog", batch_size=2))
    assert order == ["begin", "begin", "end", "begin", "end", "end"]
    for found, wanted in zip(results, expected, strict=True):
        np.testing.assert_allclose(found.scores, wanted, atol=1e-5)


class OnAccelerator:
    """An array that says it lives elsewhere, and remembers what was cut from it."""

    def __init__(self, values: np.ndarray) -> None:
        self.values, self.shape, self.cuts = values, values.shape, []

    def devices(self) -> list[object]:
        return [dataclasses.make_dataclass("Device", ["platform"])("gpu")]

    def __getitem__(self, index: tuple[slice, ...]) -> np.ndarray:
        self.cuts.append(index[1].stop)
        return self.values[index]


@pytest.mark.parametrize(("count", "rows"), [(0, 1), (1, 1), (3, 4), (5, 8), (9, 10)])
def test_only_what_was_found_leaves_an_accelerator(count: int, rows: int) -> None:
    logits, iou = (OnAccelerator(np.arange(20.0).reshape(2, 10)) for _ in range(2))
    found = _found(Masks(logits, iou), count)
    assert found is not None
    assert found[0].shape == (2, rows)
    assert logits.cuts == iou.cuts == [rows]


def test_programs_of_a_cpu_are_lean() -> None:
    """Two stages in turn, each with a large value of its own, need room for one at a time."""

    def stage(x: jax.Array) -> jax.Array:
        wide = jnp.broadcast_to(jnp.sin(x)[None], (64, *x.shape)) * jnp.arange(64.0)[:, None, None]
        return jax.lax.optimization_barrier(wide) @ x

    def both(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        first = stage(x).sum(0)
        x, first = jax.lax.optimization_barrier((x, first))
        return first, stage(x + 1).sum(0)

    x = jax.ShapeDtypeStruct((128, 128), jnp.float32)
    room = (
        jax.jit(both, compiler_options=memory.low_memory_options("cpu"))
        .lower(x)
        .compile()
        .memory_analysis()
        .temp_size_in_bytes
    )
    assert room < 2.5 * 64 * 128 * 128 * 4  # one stage holds its value and its product
    assert memory.low_memory_options("gpu") == memory.low_memory_options("tpu") == {}
