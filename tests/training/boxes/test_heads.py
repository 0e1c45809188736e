"""The tasks of tuning an OWL of a few numbers."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("optax")

from gsam import bind
from gsam.models import owl_vit
from gsam.nn.tower import Tower
from gsam.runtime.batch import gather
from gsam.training.boxes.owl_features import embeddings, keep_tokens, token_store
from gsam.training.boxes.owl_tasks import QUERIES, Adapters, Heads
from gsam.training.lora import Lora
from tests.helpers.shapes import NAMES, entries
from tests.models.small_classifiers import Letters

CONFIG = owl_vit.VARIANTS["nano_owl"].__class__(Tower(16, 1, 2, 2), Tower(8, 1, 2), 32, 8, vocab=50, context=16)


@functools.cache
def stage() -> Any:
    return owl_vit.build(CONFIG, bind.random_params(owl_vit.spec(CONFIG), 1), Letters())


def heads(folder: Path) -> Heads:
    images = entries(folder, 6, side=64)
    store = token_store(stage(), folder / "features", "hash")
    keys = keep_tokens(stage(), stage().params, store, images, 4, quiet=True, what="features")
    queries = embeddings(stage(), stage().params, NAMES)
    given = (stage(), NAMES, queries, images[:4], images[4:])
    return Heads(*given, store=store, keys=keys[:4], held_out_keys=keys[4:], batch_size=2)


@pytest.mark.long
def test_kept_tokens_are_those_of_the_image_and_its_mirror(tmp_path: Path) -> None:
    task = heads(tmp_path)
    pixels = task.train[0].open()
    for flip, image in enumerate((pixels, np.ascontiguousarray(pixels[:, ::-1]))):
        from gsam.inputs.image import Picture

        seen = jax.jit(stage().features)(stage().params, gather([Picture(image)], [stage().view]))[0]
        kept = task.store.get(task.keys[0], "tokens", flip).astype(np.float32)
        np.testing.assert_allclose(kept, np.asarray(seen), rtol=1e-2, atol=1e-2)
    draws = [task.batch(np.random.default_rng([0, i]), 0) for i in range(4)]
    assert {int(batch.wording) for batch in draws} == {0, 1}
    again = task.batch(np.random.default_rng([0, 0]), 0)
    jax.tree.map(np.testing.assert_array_equal, again, draws[0])
    assert draws[0].seen.tokens.shape == (2, 16, 16)
    assert set(task.names(0)) == {task.train[i].id for i in (0, 1, 2, 3)} - set(task.names(1))


@pytest.mark.long
def test_the_heads_learn_and_nothing_else_is_read(tmp_path: Path) -> None:
    task = heads(tmp_path)
    params = task.init_params(0)
    assert {name.split("/")[0] for name in params} == {"class_head", "box_head", "objectness_head"}
    batch = task.batch(np.random.default_rng(0), 0)
    read = jax.jit(jax.value_and_grad(lambda p: task.loss(p, task.constants, batch, jnp.zeros(()))[0]))
    first, gradient = read(params)
    assert all(np.abs(np.asarray(g)).max() > 0 for g in gradient.values())
    for _ in range(20):
        loss, gradient = read(params)
        params = {k: v - 0.02 * gradient[k] for k, v in params.items()}
    assert float(loss) < 0.8 * float(first)


@pytest.mark.long
def test_adapters_begin_with_the_model_itself(tmp_path: Path) -> None:
    kept = heads(tmp_path)
    queries = np.asarray(kept.constants[QUERIES])
    task = Adapters(
        stage(), NAMES, queries, kept.train, kept.held_out, lora=Lora(rank=2), zoom=1.0, light=0.0, batch_size=2
    )
    start = task.init_params(0)
    whole = task.whole(start, task.constants)
    for name, value in stage().params.items():
        np.testing.assert_array_equal(np.asarray(whole[name]), np.asarray(value))
    mine, theirs = task.detect(start), kept.detect(kept.init_params(0))
    assert len(mine) == len(theirs) == 2
    for a, b in zip(mine, theirs, strict=True):
        np.testing.assert_allclose(np.sort(a.scores), np.sort(b.scores), atol=0.02)
    batch = task.batch(np.random.default_rng(0), 0)
    loss = lambda p: task.loss(p, task.constants, batch, jnp.zeros(()))[0]  # noqa: E731
    gradient = jax.jit(jax.grad(loss))(start)
    assert any(np.abs(np.asarray(g)).max() > 0 for name, g in gradient.items() if name.endswith("lora_b"))
    assert not [name for name in gradient if name.startswith("text_model")]
