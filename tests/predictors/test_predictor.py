"""`Predictor`: the words of SamPredictor and SAM2ImagePredictor, on a small SAM with random weights
and on known masks.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import gsam
from gsam import bind
from gsam.inputs.image import Picture
from gsam.models import sam
from gsam.predictors.image import BLOCK, Predictor
from gsam.predictors.prompts import Transform
from gsam.runtime.batch import gather
from gsam.types import Boxes, View
from tests.helpers import discs

CONFIG = sam.Config(32, 2, 2, (1,), image_size=64, patch=8, window=4, out_chans=16, decoder_heads=2, decoder_mlp=32)
PICTURE = np.random.default_rng(0).integers(0, 256, (40, 100, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def stage() -> sam.SamSegmenter:
    return sam.build(CONFIG, bind.random_params(sam.spec(CONFIG), 1))


@pytest.fixture(scope="module")
def kept(stage: sam.SamSegmenter) -> Predictor:
    """One for all tests, so that its programs are compiled once."""
    return Predictor(stage)


@pytest.fixture
def predictor(kept: Predictor) -> Predictor:
    kept.set_image(PICTURE)
    return kept


@pytest.fixture
def known() -> Predictor:
    p = Predictor(discs.discs())
    p.set_image(PICTURE)
    return p


def same(a: Any, b: Any) -> None:
    """The same prediction, to 1e-5."""
    for ours, other in zip(a, b, strict=True):
        assert ours.shape == other.shape
        assert ours.dtype == other.dtype
        np.testing.assert_allclose(ours.astype(np.float32), other.astype(np.float32), atol=1e-5)


def test_shapes_are_the_original_s(predictor: Predictor) -> None:
    masks, iou, low = predictor.predict(point_coords=[[10, 20]], point_labels=[1])
    assert (masks.shape, masks.dtype, iou.shape, low.shape) == ((3, 40, 100), np.bool_, (3,), (3, 32, 32))
    masks, iou, low = predictor.predict(box=[5, 5, 50, 30], multimask_output=False, return_logits=True)
    assert (masks.shape, masks.dtype, iou.shape, low.shape) == ((1, 40, 100), np.float32, (1,), (1, 32, 32))
    assert predictor.get_image_embedding().shape == (1, 16, 8, 8)
    assert (predictor.original_size, predictor.input_size) == ((40, 100), (26, 64))
    low[:] = 0.0  # an array of the caller's own


def test_a_mask_can_be_refined(predictor: Predictor) -> None:
    point: dict[str, Any] = dict(point_coords=[[10, 20]], point_labels=[1])
    low = predictor.predict(**point).low_res
    refined = predictor.predict(**point, mask_input=low[:1], multimask_output=False, return_logits=True)
    plain = predictor.predict(**point, multimask_output=False, return_logits=True)
    assert np.abs(refined.masks - plain.masks).max() > 1e-3
    assert predictor.predict(mask_input=low[:1]).masks.shape == (3, 40, 100)


@pytest.mark.long
def test_padding_points_and_prompts_changes_nothing(predictor: Predictor, stage: sam.SamSegmenter) -> None:
    """Five points are padded to eight, three prompts to four: each prompt gives what the model
    gives it alone, unpadded.
    """
    rng = np.random.default_rng(1)
    coords, labels = rng.uniform(0, 40, (3, 5, 2)), rng.integers(0, 2, (3, 5))
    boxes = np.array([[1, 2, 30, 30], [5, 5, 90, 35], [0, 0, 10, 10]], float)
    _, iou, low = predictor.predict_many(coords, labels, boxes)
    run = jax.jit(stage.prompt)
    for i in range(3):
        scale = np.array([64 / 100, 26 / 40])
        points = np.concatenate([coords[i], boxes[i].reshape(2, 2)]) * scale
        kinds = np.concatenate([labels[i], [2, 3]])
        features = predictor.features[0]
        exact, quality = run(stage.params, features, points[None].astype(np.float32), kinds[None].astype(np.int32))
        np.testing.assert_allclose(low[i], exact[0], atol=1e-5)
        np.testing.assert_allclose(iou[i], quality[0], atol=1e-5)


@pytest.mark.long
def test_prompts_of_every_form_at_once(predictor: Predictor) -> None:
    """Points, boxes and masks in any number, or none: each gives what it gives alone."""
    low = predictor.predict(box=[5, 5, 50, 30]).low_res[:1]
    clicks = [[[10, 20]], [[10, 20], [30, 5], [90, 39]], None, [[50, 20], [60, 20]], None, None, np.zeros((0, 2))]
    labels = [[1], [1, 0, 1], None, [0, 0], None, None, []]
    boxes = [None, None, [5, 5, 50, 30], [40, 3, 99, 38], None, None, None]
    masks = [None, None, None, low, low * 2, None, None]
    many = predictor.predict_many(clicks, labels, boxes, masks)
    assert many.masks.shape == (7, 3, 40, 100)
    for i, one in enumerate(predictor.predict_each(clicks, labels, boxes, masks)):
        same(one, [part[i] for part in many])
        same(one, predictor.predict(clicks[i], labels[i], boxes[i], masks[i]))
    assert np.abs(many.low_res[4] - many.low_res[5]).max() > 1e-3
    assert np.abs(many.low_res[5] - many.low_res[6]).max() > 1e-3  # no points at all are padded as in the original


def test_sam2_s_forms(known: Predictor) -> None:
    points, labels = np.array([[[10, 20], [30, 5]], [[1, 1], [99, 39]]]), np.array([[1, 0], [1, 1]])
    boxes = np.array([[5, 5, 50, 30], [0, 0, 100, 40]])
    low = known.predict_many(boxes=boxes / 2).low_res[:, :1]
    some = known.predict(points, labels, boxes, low)
    assert some.masks.shape == (2, 1, 40, 100)
    same(some, known.predict_many(points, labels, boxes, low))
    one = known.predict(points[:1], labels[:1], boxes[:1], low[:1])
    same(one, [part[0] for part in some])
    same(one, known.predict(points[0], labels[0], boxes[0], low[0]))
    share = np.array([100.0, 40.0])
    same(some, known.predict(points / share, labels, boxes / np.tile(share, 2), low, normalize_coords=False))


def test_predict_torch_takes_transformed_coordinates(known: Predictor) -> None:
    points, labels, boxes = (
        np.array([[[100, 40]], [[1, 1]]]),
        np.array([[1], [0]]),
        np.array([[5, 5, 50, 30], [0, 0, 9, 9]]),
    )
    to, size = known.transform, known.original_size
    there = to.apply_coords(points, size), to.apply_boxes_torch(boxes, size)
    assert there[0][0].tolist() == [[64, 64]]
    same(known.predict_torch(there[0], labels, there[1]), known.predict_many(points, labels, boxes))
    before, seen = known.features, to.apply_image(PICTURE)
    known.set_torch_image(seen.transpose(2, 0, 1)[None], size)
    np.testing.assert_array_equal(known.features["fine"], before["fine"])
    assert known.original_size == size
    with pytest.raises(ValueError, match=r"\[1, 3, 64, 64\]"):
        known.set_torch_image(seen[None], size)


def test_transform_is_the_original_s() -> None:
    to = Transform(View(64))
    assert to.target_length == 64
    assert to.apply_image(PICTURE).shape == (26, 64, 3)
    np.testing.assert_allclose(to.apply_coords([[50, 20]], (40, 100)), [[32, 13]])
    np.testing.assert_allclose(to.apply_boxes([[0, 0, 100, 40]], (40, 100)), [[0, 0, 64, 26]])


def test_a_batch_of_pictures(known: Predictor) -> None:
    pictures = [PICTURE, PICTURE[:30, :20], PICTURE[::-1]]
    points, labels = [None, [[5, 5]], [[[1, 2]], [[3, 4]]]], [None, [1], [[1], [0]]]
    boxes = [[[5, 5, 50, 30], [0, 0, 9, 9], [1, 1, 7, 7]], None, [[0, 0, 5, 5], [2, 2, 9, 9]]]
    known.set_image_batch(pictures)
    together = known.predict_batch(points, labels, boxes)
    assert known.get_image_embeddings()["fine"].shape == (3, 1, 64, 64)
    with pytest.raises(RuntimeError, match="3 pictures are set"):
        known.predict(box=[0, 0, 1, 1])
    with pytest.raises(ValueError, match="prompts for 2 pictures, but 3"):
        known.predict_batch(box_batch=boxes[:2])
    for i, picture in enumerate(pictures):
        known.set_image(picture)
        same([part[i] for part in together], known.predict(points[i], labels[i], boxes[i]))
    assert [m.shape for m in together[0]] == [(3, 1, 40, 100), (1, 30, 20), (2, 1, 40, 100)]
    assert len({float(iou.flat[0]) for iou in together[1]}) == 3  # each from its own picture


def test_the_picture_is_encoded_once_and_programs_are_few() -> None:
    p = Predictor(discs.discs())
    p.set_image(PICTURE)
    assert (p.counts["pictures"], p.compilations) == (1, 1)
    for count in range(1, 17):
        boxes = np.tile([5, 5, 50, 30], (count, 1))
        p.predict_many(boxes=boxes)
        p.predict_many(np.ones((count, 3, 2)), np.ones((count, 3)), boxes)
    assert (p.counts["pictures"], p.compilations) == (1, 1 + 5 + 5)  # 1, 2, 4, 8 and 16 prompts, of 2 and of 8 points
    for count in (BLOCK - 3, BLOCK, BLOCK + 1, 5 * BLOCK):
        p.predict_many(boxes=np.tile([5, 5, 50, 30], (count, 1)))
    assert (p.counts["pictures"], p.compilations) == (1, 11 + 1)
    for shift in range(20):
        p.predict([[shift, 2]], [1], mask_input=np.full((1, 32, 32), shift))
        p.mask_threshold = shift / 10
    assert (p.counts["pictures"], p.compilations) == (1, 12 + 1)
    p.set_image(PICTURE[:20])
    p.predict(box=[5, 5, 50, 20])
    assert (p.counts["pictures"], p.compilations) == (2, 13)
    p.set_image_batch([PICTURE] * 3)
    p.predict_batch(box_batch=[[[5, 5, 50, 20]] * n for n in (1, 2, 3)])
    assert (p.counts["pictures"], p.compilations) == (5, 13 + 2)  # four pictures at once, and their parts


def test_any_promptable_model(known: Predictor) -> None:
    """Squashed views, one mask, several features: a click is where it was made."""
    masks, iou, low = known.predict([[80, 10], [20, 30]], [1, 0])
    assert (masks.shape, iou.shape, low.shape) == ((1, 40, 100), (1,), (1, 32, 32))
    rows, columns = np.nonzero(masks[0])
    scale = 64 / 100, 64 / 40
    assert abs(columns.mean() + 0.5 - 80) < 0.5
    assert abs(rows.mean() + 0.5 - 10) < 0.5
    assert abs(np.ptp(columns) - 2 * discs.RADIUS / scale[0]) < 3
    assert abs(np.ptp(rows) - 2 * discs.RADIUS / scale[1]) < 2
    boxed = known.predict(box=[20, 10, 60, 30]).masks[0]
    assert abs(boxed.sum() - 40 * 20) < 60
    assert boxed[11:29, 22:58].all()
    embedding = known.get_image_embedding()
    assert (embedding["fine"].shape, embedding["coarse"][0].shape) == ((1, 1, 64, 64), (1, 1, 8, 8))


def test_what_a_model_does_not_take() -> None:
    p = Predictor(discs.discs(kind=discs.Boxes))
    p.set_image(PICTURE)
    assert p.predict(box=[20, 10, 60, 30]).masks.any()
    for prompt in (
        dict(point_coords=[[1, 1]], point_labels=[1]),
        dict(point_coords=[[1, 1]], point_labels=[0], box=[0, 0, 5, 5]),
        dict(mask_input=np.zeros((1, 32, 32))),
        {},
    ):
        with pytest.raises(ValueError, match="this model takes boxes"):
            p.predict(**prompt)  # type: ignore[arg-type]


@pytest.mark.long
def test_boxes_bring_their_filled_selves(stage: sam.SamSegmenter) -> None:
    """A model trained so (nano) gives a box what its pipeline gives it, unless another mask comes
    along.
    """
    config = dataclasses.replace(CONFIG, box_mask_prompt=6.0)
    with_prior = sam.build(config, stage.params)
    p = Predictor(with_prior)
    p.set_image(PICTURE)
    box = np.array([5, 5, 50, 30], np.float32)
    images = gather([Picture(PICTURE)], [with_prior.view])
    one = Boxes(box[None, None], np.ones((1, 1), bool))  # type: ignore[arg-type]
    expected = jax.jit(with_prior.segment)(with_prior.params, p.features, images, one)
    mixed = p.predict_many([None, [[9, 9]]], [None, [1]], [box, None], multimask_output=False)
    np.testing.assert_allclose(mixed.low_res[0], expected.logits[0], atol=1e-5)
    plain = Predictor(stage)
    plain.set_image(PICTURE)
    same([part[1] for part in mixed], plain.predict([[9, 9]], [1], multimask_output=False))
    mask = np.full((1, 32, 32), 2.0)
    same(p.predict(box=box, mask_input=mask), plain.predict(box=box, mask_input=mask))
    assert np.abs(p.predict(box=box).low_res - plain.predict(box=box).low_res).max() > 1e-3


def test_channels_can_be_swapped() -> None:
    p = Predictor(discs.discs(kind=discs.Red))
    p.set_image(PICTURE)
    before = p.features["fine"]
    p.set_image(PICTURE[..., ::-1], image_format="BGR")
    np.testing.assert_array_equal(p.features["fine"], before)
    p.set_image(PICTURE[..., ::-1])
    assert np.abs(p.features["fine"] - before).max() > 1
    with pytest.raises(ValueError, match="for arrays"):
        p.set_image("scene.png", "BGR")
    with pytest.raises(ValueError, match="'RGB' or 'BGR'"):
        p.set_image(PICTURE, "GRB")  # type: ignore[arg-type]


def test_features_can_be_put_back(known: Predictor) -> None:
    before, first = known.features, known.predict(box=[0, 0, 9, 9])
    known.features = jax.tree.map(lambda x: x * 0.5, before)
    assert np.abs(known.predict(box=[0, 0, 9, 9]).iou - first.iou).max() > 1e-3
    known.features = before
    same(known.predict(box=[0, 0, 9, 9]), first)


def test_masks_can_be_looked_at(known: Predictor, tmp_path: Path) -> None:
    many = known.predict_many([[[20, 20]], [[80, 10]]], [[1], [1]])
    shown = known.to_result(many, ["left", "right"])
    assert shown.labels == ["left", "right"]
    np.testing.assert_array_equal(shown.masks, many.masks[:, 0])
    assert shown.save(tmp_path / "a.png").is_file()
    x0, _, x1, _ = shown.xyxy[1]
    assert x0 < 80 < x1
    one = known.predict([[20, 20]], [1], return_logits=True)
    assert known.to_result(one).labels == ["1"]
    np.testing.assert_array_equal(known.to_result(one).masks[0], many.masks[0, 0])
    with pytest.raises(ValueError, match="2 labels for 1 masks"):
        known.to_result(one, ["a", "b"])
    assert len(known.to_result(known.predict(box=np.zeros((0, 4))))) == 0


def test_of_several_masks_the_best_is_shown(predictor: Predictor) -> None:
    found = predictor.predict_many(boxes=[[5, 5, 50, 30], [0, 0, 20, 20]])
    best = found.iou.argmax(1)
    np.testing.assert_array_equal(predictor.to_result(found).masks, found.masks[[0, 1], best])
    assert len(predictor.to_result(found, every=True)) == 6


MEMORY = """
import json, resource, sys
import numpy as np
from gsam.predictors.image import Predictor
from tests.helpers import discs

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

p = Predictor(discs.discs())
p.set_image(np.zeros((300, 400, 3), np.uint8))
x, y = np.random.default_rng(0).uniform(0, 300, (2, 10_000))
boxes = np.stack([x, y * 0.8, x + 50, y * 0.8 + 50], 1)
areas = [int(one.masks.sum()) for one in p.predict_each(boxes=boxes[:300])]
before = peak()
areas = [int(one.masks.sum()) for one in p.predict_each(boxes=boxes)]
print(json.dumps({"more": peak() - before, "areas": areas}))
"""


@pytest.mark.long
def test_ten_thousand_boxes_in_bounded_memory() -> None:
    """Their masks would take 1.2 GB together; one after the other, none is kept."""
    run = subprocess.run(
        [sys.executable, "-c", MEMORY], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True
    )
    found = json.loads(run.stdout)
    assert len(found["areas"]) == 10_000
    assert found["more"] < 50e6
    assert 1500 < np.mean(found["areas"]) < 2600


def test_no_picture_no_prediction(stage: sam.SamSegmenter) -> None:
    p = Predictor(stage)
    assert not p.is_image_set
    assert p.features is None
    calls: list[Any] = [
        lambda: p.predict(box=[0, 0, 1, 1]),
        lambda: p.predict_many(boxes=[[0, 0, 1, 1]]),
        lambda: p.predict_each(boxes=[[0, 0, 1, 1]]),
        lambda: p.predict_torch(None, None, [[0, 0, 1, 1]]),
        lambda: p.predict_batch(box_batch=[[0, 0, 1, 1]]),
        p.get_image_embedding,
        p.get_image_embeddings,
        lambda: p.save_embedding("a.safetensors"),
    ]
    for call in calls:
        with pytest.raises(RuntimeError, match="set_image"):
            call()
    with pytest.raises(ValueError, match="no pictures"):
        p.set_image_batch([])
    p.set_image(np.zeros((1, 1, 3), np.uint8))
    assert p.is_image_set
    assert p.predict(box=[0, 0, 1, 1]).masks.shape == (3, 1, 1)
    p.reset_predictor()
    assert not p.is_image_set


def test_what_is_no_promptable_model(stage: sam.SamSegmenter) -> None:
    with pytest.raises(gsam.GsamError, match="answers no prompts"):
        Predictor(object())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="'chunk' is for a model by name"):
        Predictor(stage, chunk=3)


def test_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    p = Predictor.from_pretrained("nano_sam", chunk=2)
    assert (p.name, p.model.chunk, p.mask_threshold) == ("nano_sam", 2, 0.0)
