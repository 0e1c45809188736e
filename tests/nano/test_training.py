"""The training of nano on a handful of hand-made scenes: no font, no pool, tiny models."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsam import bind
from gsam.evaluation.matching import box_overlaps
from gsam.models import sam
from gsam.models.sam.config import Config
from gsam.nano import names, segmenter, ship
from gsam.nano.batches import Examples, Pool, augment, pixels
from gsam.nano.detector import score_scene
from gsam.nano.prompts import read
from gsam.nano.scenes import IGNORE
from gsam.nn.prompt import ABSENT, FOREGROUND, TOP_LEFT

TOKENIZER = Path(__file__).parents[2] / "weights" / "nano" / "tokenizer.json"


@pytest.fixture(autouse=True)
def _promotion() -> Iterator[None]:
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    """Six scenes of 32 x 24 pixels in a square of 32: a bright block (leaf 3) on grey, its size
    differing.
    """
    rgb, instances = np.zeros((6, 32, 32, 3), np.uint8), np.zeros((6, 32, 32), np.uint8)
    leaf, boxes = np.full((6, 8), -1, np.int16), np.zeros((6, 8, 4), np.float32)
    rgb[:, :, :24] = 90
    for i in range(6):
        rgb[i, 4 : 16 + i, 5:19], instances[i, 4 : 16 + i, 5:19] = (250, 200, 20), 1
        leaf[i, 0], boxes[i, 0] = 3, (5, 4, 19, 16 + i)
    content = np.tile(np.array([32, 24], np.int16), (6, 1))
    arrays = {"rgb": rgb, "instances": instances, "leaf": leaf, "boxes": boxes, "content": content}
    for name, array in arrays.items():
        np.save(tmp_path / f"{name}.npy", array)
    return Pool(tmp_path)


def drawn(spec: bind.Spec[Any]) -> dict[str, np.ndarray]:
    """Parameters from NumPy: JAX would compile a program for every shape."""
    rng = np.random.default_rng(0)
    return {k: rng.normal(0, 0.2, s.shape).astype(np.float32) for k, s in spec.shapes.items()}


def test_every_epoch_sees_every_scene_once(pool: Pool) -> None:
    rows = np.concatenate([pool.order(step, 4, seed=1) for step in range(3)])
    assert sorted(rows[:6]) == sorted(rows[6:]) == list(range(6))
    np.testing.assert_array_equal(pool.order(2, 4, seed=1), rows[8:])


def test_augmented_boxes_are_those_of_the_augmented_masks(pool: Pool) -> None:
    for seed in range(8):
        seen = augment(pool.examples(np.arange(6)), np.random.default_rng(seed), zoom=0.7)
        for b in range(6):
            mask = seen.instances[b] == 1
            if seen.leaf[b, 0] < 0:
                assert not mask.any()
                continue
            y, x = np.nonzero(mask)
            np.testing.assert_array_equal(seen.boxes[b, 0], [x.min(), y.min(), x.max() + 1, y.max() + 1])
            h, w = seen.content[b]
            assert max(h, w) == 32
            assert not seen.rgb[b, h:].any()
            assert not seen.rgb[b, :, w:].any()
            assert not mask[h:].any()


def test_pixels_outside_the_picture_are_zero(pool: Pool) -> None:
    seen = pixels(pool.examples(np.arange(2)), (100.0, 100.0, 100.0), (50.0, 50.0, 50.0))
    assert not seen[:, :, 24:].any()
    np.testing.assert_allclose(seen[0, 0, 0], -0.2, rtol=1e-5)


def test_prompts_have_every_query_and_negatives_that_are_none() -> None:
    prompts = read(TOKENIZER, 8)
    sample = prompts.sample(np.random.default_rng(0), 5)
    assert sample.shape == (len(names.QUERIES) + 5, 8)
    assert len(np.unique(prompts.queries[0], axis=0)) == len(names.QUERIES)
    known = {row.tobytes() for row in prompts.queries.reshape(-1, 8)}
    assert not known & {row.tobytes() for row in prompts.negatives}
    end = prompts.queries.max()
    assert ((prompts.queries == end).sum(-1) == 1).all()


def test_a_scene_scores_the_right_name_once() -> None:
    truth, leaf = np.array([[0, 0, 10, 10], [20, 20, 40, 40]], np.float32), np.array([1, 0])
    boxes = np.array([[0, 0, 10, 9], [20, 20, 40, 38], [60, 60, 70, 70], [0, 0, 9, 10]], np.float32)
    scores = np.array([[0.1, 0.9], [0.2, 0.8], [0.3, 0.1], [0.1, 0.5]], np.float32)
    marks, reached = score_scene(boxes, scores, truth, leaf)
    np.testing.assert_allclose(marks, [[0.9, 1], [0.8, 0], [0.3, 0]])
    assert reached == 2
    assert box_overlaps(truth, truth)[0, 1] == 0


def test_prompts_of_a_box_and_a_click(pool: Pool) -> None:
    examples = pool.examples(np.arange(6))
    prompts = segmenter.sample_prompts(np.random.default_rng(0), examples, 3, 0.05, {"prior": 1.0})
    assert prompts.valid.tolist() == [[True, False, False]] * 6
    assert (prompts.labels[:, 0, 0] == TOP_LEFT).all()
    assert (prompts.labels[:, 0, 2:] == ABSENT).all()
    assert prompts.box_mask[:, 0].all()
    assert min(box_overlaps(prompts.box[b, :1], examples.boxes[b, :1])[0, 0] for b in range(6)) > 0.5
    prompts = segmenter.sample_prompts(np.random.default_rng(0), examples, 1, 0.05, {"point": 1.0})
    for b in range(6):
        x, y = prompts.points[b, 0, 2].astype(int)
        assert examples.instances[b, y, x] == 1
    assert prompts.single_click.all()
    assert (prompts.labels[:, 0, 2] == FOREGROUND).all()


@pytest.mark.long
def test_the_segmenter_has_a_loss_and_corrects_where_it_is_wrong(pool: Pool) -> None:
    config = Config(
        16, 1, 2, (0,), image_size=32, patch=8, out_chans=16, decoder_heads=2, decoder_mlp=16, box_mask_prompt=6.0
    )
    task = segmenter.Segmentation(config, pool, batch_size=2, prompts_per_image=2)
    params = drawn(task.spec)
    batch = task.batch(np.random.default_rng(0), 0)
    loss, metrics = jax.jit(task.loss)(params, {}, batch, jnp.float32(0))
    assert np.isfinite(loss)
    assert 0 <= float(metrics["iou"]) <= 1
    truth = jnp.zeros((2, 2, 16, 16)).at[:, :, 3, 5].set(1.0)
    prompts = dataclasses.replace(batch[1], rounds=np.array([[1, 3], [2, segmenter.ROUNDS]], np.int32))
    features = jnp.zeros((2, 4, 4, 16))
    shown = jnp.full((2, 2, 16, 16), -1.0)
    points, labels, last = task.with_corrections(params, features, shown, prompts, truth, truth == truth)
    np.testing.assert_allclose(points[0, 0, 3], [5 * 2 + 0.5, 3 * 2 + 0.5])
    assert (np.asarray(labels)[:, :, 3] == FOREGROUND).all()
    given = (np.asarray(labels)[:, :, 3:] != ABSENT).sum(-1)
    np.testing.assert_array_equal(given, prompts.rounds)
    np.testing.assert_array_equal(last[0, 0], shown[0, 0])  # the only correction has not been answered
    assert (np.asarray(last)[1, 1] != -1).any()


@pytest.mark.long
def test_ignored_pixels_do_not_count() -> None:
    logits = jnp.full((1, 1, 4, 4, 4), -9.0).at[..., :2, :].set(9.0)
    truth = jnp.zeros((1, 1, 4, 4)).at[..., :1, :].set(1.0)
    known = jnp.ones((1, 1, 4, 4), bool).at[..., 1, :].set(False)
    loss, overlap = segmenter.mask_loss(logits, jnp.ones((1, 1, 4)), truth, known, jnp.zeros((1, 1), bool))
    assert float(overlap[0, 0]) == 1.0
    assert float(loss[0, 0]) < 0.01


@pytest.mark.filterwarnings("ignore:overflow")
def test_export_is_half_precision_and_refuses_what_does_not_fit(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    spec = sam.spec(dataclasses.replace(sam.VARIANTS["nano_sam"], depth=1, global_blocks=(0,), width=16))
    params = drawn(spec)
    digest = ship.export(params, tmp_path / "x.safetensors", spec)
    again = load_file(tmp_path / "x.safetensors")
    assert len(digest) == 64
    assert again.keys() == params.keys()
    assert {v.dtype for v in again.values()} == {np.dtype(np.float16)}
    first = next(iter(params))
    with pytest.raises(ValueError, match=f"not finite in half precision: {first}"):
        ship.export(params | {first: params[first] + 1e6}, tmp_path / "x.safetensors", spec)
    assert [p.name for p in tmp_path.iterdir()] == ["x.safetensors"]


def test_examples_and_ignore_are_what_the_pool_says() -> None:
    assert IGNORE == 255
    assert {f.name for f in dataclasses.fields(Examples)} >= {"rgb", "instances", "leaf", "boxes", "content"}
