"""Crops as a pipeline cuts them, and the tasks of tuning small CLIPs and SigLIPs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("optax")

from gsam.inputs.image import Picture
from gsam.ops.regions import Regions, cut, widen
from gsam.runtime.batch import gather
from gsam.training.data import Entry, Object
from gsam.training.lora import Lora
from gsam.training.regions.crops import cut_crops, normalised, usable, variants
from gsam.training.regions.features import crop_store, keep_crops, text_features
from gsam.training.regions.scores import class_scores, worst_regions
from gsam.training.regions.task import Adapters, Head
from gsam.types import View
from tests.helpers.shapes import NAMES, draw, entries
from tests.models.small_classifiers import make

FAMILIES = ("clip", "siglip")


def head(family: str, folder: Path, kind: Any = Head, **more: Any) -> Any:
    stage, images = make(family, canvas=View(160, "at_most")), entries(folder, 4)
    encoded = kind is Head
    store = crop_store(stage, folder / "features", "hash", 2, encoded=encoded)
    params = stage.params if encoded else None
    sides = [keep_crops(stage, params, store, some, 2, quiet=True, what="") for some in (images[:3], images[3:])]
    text = text_features(stage, stage.params, [*NAMES, "zz", "x"])  # negatives, which are never right
    return kind(stage, NAMES, text, store, *sides, variants=2, batch_size=4, **more)


@pytest.mark.long
def test_crops_are_those_that_a_pipeline_sees() -> None:
    stage = make("clip", canvas=View(320, "at_most"))
    pixels, _, boxes = draw(0, 1)
    boxes = np.array([*boxes, [-0.0, 0.0, 160.0, 160.0]], np.float32)
    found = cut_crops(stage, pixels, boxes)
    canvas = gather([Picture(pixels)], [stage.view]).view(stage.view)
    where = Regions(widen(jnp.asarray(boxes[None]), stage.context))
    side = stage.config.image_size
    true = cut(canvas, where, side, stage.resampling, stage.mean, stage.std, 1.0, jnp.dtype("float32"))[0]
    mine = normalised(stage, jnp.asarray(found), jnp.dtype("float32"))
    np.testing.assert_allclose(mine, true, atol=1.01 / 255 / min(stage.std))  # a grey level, from rounding
    assert np.mean(np.abs(np.asarray(mine - true)) > 1e-4) < 0.01


def test_variants_are_near_the_box_and_the_same_again() -> None:
    boxes = np.array([[10, 10, 50, 90], [0, 0, 5, 5]], np.float32)
    moved = variants(boxes, (100, 60), 4, "한국.jpg")
    np.testing.assert_array_equal(moved[:, 0], boxes)
    np.testing.assert_array_equal(moved, variants(boxes, (100, 60), 4, "한국.jpg"))
    sides = np.tile(boxes[:, 2:] - boxes[:, :2], 2)[:, None]
    assert (np.abs(moved - boxes[:, None]) <= 0.21 * sides).all()
    assert (moved[:, 1:] != boxes[:, None]).any((0, 2)).all()
    assert moved.min() >= 0


def test_crowds_and_boxes_without_area_are_no_regions() -> None:
    objects = (
        Object(0, (0.0, 0.0, 9.0, 9.0), crowd=True),
        Object(0, (1.0, 1.0, 1.0, 5.0)),
        Object(1, (0.0, 0.0, 2.0, 2.0)),
    )
    assert usable(Entry("a", Path("a.png"), 10, 10, objects)) == [2]
    assert usable(Entry("a", Path("a.png"), 10, 10, ())) == []


@pytest.mark.long
@pytest.mark.parametrize("family", FAMILIES)
def test_kept_features_and_heads_give_the_model_s_own_answers(family: str, tmp_path: Path) -> None:
    task = head(family, tmp_path)
    stage = task.stage
    entry = entries(tmp_path, 4)[3]
    crops = normalised(stage, jnp.asarray(cut_crops(stage, entry.open(), entry.boxes)), jnp.dtype("float32"))
    model = stage.spec.bind(stage.params)
    ids = stage.text.tokenize(NAMES)[:, 0]
    logits = model.logits(model.image(crops) @ model.text(jnp.asarray(ids)).T)
    true = stage.probabilities(logits, jnp.ones(logits.shape, bool))
    np.testing.assert_allclose(task.answers(task.init_params(0)), true, atol=0.02)


@pytest.mark.long
@pytest.mark.parametrize("family", FAMILIES)
def test_the_heads_learn_and_go_back_into_the_model(family: str, tmp_path: Path) -> None:
    task = head(family, tmp_path)
    params = task.init_params(0)
    batch = task.batch(np.random.default_rng(0), 0)._replace(wording=np.int32(0))
    read = jax.jit(jax.value_and_grad(lambda p: task.loss(p, task.constants, batch, jnp.zeros(()))[0]))
    first, gradient = read(params)
    assert all(np.abs(np.asarray(g)).max() > 0 for g in gradient.values())
    for _ in range(30):
        loss, gradient = read(params)
        params = {k: v - 0.02 * gradient[k] for k, v in params.items()}
    assert float(loss) < float(first)
    task.stage.spec.check(task.stage.params | params)
    assert set(task.evaluate(params)) == {"accuracy", "by class"}
    assert set(task.names(0)) <= {"0000.png", "0001.png", "0002.png"}
    again = task.batch(np.random.default_rng(0), 0)._replace(wording=np.int32(0))
    jax.tree.map(np.testing.assert_array_equal, again, batch)


@pytest.mark.long
def test_adapters_begin_with_the_model_itself(tmp_path: Path) -> None:
    kept = head("clip", tmp_path)
    task = head("clip", tmp_path, Adapters, lora=Lora(rank=2))
    start = task.init_params(0)
    np.testing.assert_allclose(task.answers(start), kept.answers(kept.init_params(0)), atol=0.02)
    batch = task.batch(np.random.default_rng(0), 0)
    assert batch.seen.dtype == np.uint8
    loss = lambda p: task.loss(p, task.constants, batch, jnp.zeros(()))[0]  # noqa: E731
    gradient = jax.jit(jax.grad(loss))(start)
    assert any(np.abs(np.asarray(g)).max() > 0 for name, g in gradient.items() if name.endswith("lora_b"))


def test_figures_by_class_and_the_worst(tmp_path: Path) -> None:
    images = entries(tmp_path, 2)
    labels = np.array([one.label for entry in images for one in entry.objects], np.int32)
    after = np.eye(len(NAMES), dtype=np.float32)[labels]
    before = np.roll(after, 1, axis=1)
    scores = class_scores(NAMES, labels, before, after)
    assert {(s.before, s.after) for s in scores} == {(0.0, 1.0)}
    assert sum(s.count for s in scores) == len(labels)
    after[0] = np.roll(after[0], 1)
    worst = worst_regions(NAMES, images, labels, before, after)
    assert worst[0].after_score == 0.0
    assert worst[0].label.startswith(f"{NAMES[labels[0]]} (taken for ")
