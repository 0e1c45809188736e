"""SAM 2's own ways with pictures: a padding token for every prompt, a choice of the single mask,
holes and sprinkles.
"""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gsam
from gsam.build.recipes import read_recipe
from gsam.inputs.image import Picture
from gsam.models import sam2
from gsam.models.promptable import PromptableSegmenter
from gsam.models.sam2 import decoder, hiera
from gsam.nn.prompt import ABSENT, BOTTOM_RIGHT, FOREGROUND, PAD, TOP_LEFT
from gsam.nn.upscaling import channels_last, quadrupled
from gsam.ops.components import cleaned
from gsam.predictors.image import Predictor
from gsam.runtime.batch import gather
from gsam.types import Boxes
from tests.helpers import discs
from tests.models import small_segmenters as small

PICTURE = np.random.default_rng(0).integers(0, 256, (40, 100, 3), dtype=np.uint8)
SCALE = np.array([64 / 100, 64 / 40])
AREAS = (20, 12)
CLEAN = dict(zip(("max_hole_area", "max_sprinkle_area"), AREAS, strict=True))


@pytest.fixture(scope="module")
def stage() -> sam2.Sam2Segmenter:
    return small.sam_2()


@pytest.fixture(scope="module")
def predictor(stage: sam2.Sam2Segmenter) -> Predictor:
    p = Predictor(stage)
    p.set_image(PICTURE)
    return p


@pytest.fixture(scope="module")
def features(predictor: Predictor) -> sam2.Features:
    """Of the picture, without a leading axis."""
    return jax.tree.map(lambda x: x[0], predictor.features)


def beside(predictor: Predictor, stage: sam2.Sam2Segmenter, **settings: Any) -> Predictor:
    """Another predictor of the same picture, which is not encoded again."""
    other = Predictor(stage, **settings)
    other._current = predictor._current
    return other


@pytest.mark.long
def test_what_it_takes(stage: sam2.Sam2Segmenter) -> None:
    assert stage.prompt_types == {"foreground", "background", "box", "mask"}
    assert (stage.upsample, stage.pads_boxes, stage.logit_clip, stage.has_postprocess) == (
        "bilinear",
        True,
        32.0,
        False,
    )
    assert stage.view.key == "squash_64_antialias_0"


def test_everything_keeps_what_the_original_keeps(stage: sam2.Sam2Segmenter) -> None:
    assert gsam.MaskGenerator(stage).settings.pred_iou_thresh == 0.8
    assert gsam.MaskGenerator(stage, pred_iou_thresh=0.5).settings.pred_iou_thresh == 0.5
    assert PromptableSegmenter.default_iou_thresh == 0.88


def test_features_are_those_of_three_strides(features: sam2.Features) -> None:
    assert [x.shape for x in features] == [(16, 16, 2), (8, 8, 4), (4, 4, 16)]


@pytest.mark.long
def test_shapes_are_the_original_s(predictor: Predictor) -> None:
    masks, iou, low = predictor.predict([[10, 20]], [1])
    assert (masks.shape, masks.dtype, iou.shape, low.shape) == ((3, 40, 100), np.bool_, (3,), (3, 16, 16))
    assert ((iou > 0) & (iou < 1)).all()  # of a sigmoid
    masks, iou, low = predictor.predict(box=[5, 5, 50, 30], multimask_output=False, return_logits=True)
    assert (masks.shape, masks.dtype, iou.shape, low.shape) == ((1, 40, 100), np.float32, (1,), (1, 16, 16))
    assert (predictor.original_size, predictor.input_size) == ((40, 100), (64, 64))


@pytest.mark.long
def test_a_padding_token_goes_with_every_prompt(
    stage: sam2.Sam2Segmenter, predictor: Predictor, features: sam2.Features
) -> None:
    """With a box too, which SAM leaves alone; and with none where there is neither point nor
    box.
    """
    point, box, low = [10.0, 20.0], [5.0, 5.0, 50.0, 30.0], predictor.predict([[10, 20]], [1]).low_res[:1]
    found = predictor.predict_many(
        [[point], None, [point], None], [[1], None, [1], None], [None, box, box, None], [None, None, None, low]
    )
    corners, nowhere = [box[:2], box[2:]], [0.0, 0.0]
    xy = np.array([[point, *[nowhere] * 3], [*corners, nowhere, nowhere], [*corners, point, nowhere], [nowhere] * 4])
    asked = [
        [FOREGROUND, PAD, ABSENT, ABSENT],
        [TOP_LEFT, BOTTOM_RIGHT, PAD, ABSENT],
        [TOP_LEFT, BOTTOM_RIGHT, FOREGROUND, PAD],
        [ABSENT] * 4,
    ]
    masks, known = np.zeros((4, 16, 16), np.float32), np.array([False, False, False, True])
    masks[3] = low[0]
    run = jax.jit(stage.prompt)

    def ask(labels: Any) -> Any:
        return run(stage.params, features, (xy * SCALE).astype(np.float32), np.asarray(labels, np.int32), masks, known)

    logits, iou = ask(asked)
    np.testing.assert_allclose(found.low_res, logits, atol=1e-4)
    np.testing.assert_allclose(found.iou, iou, atol=1e-5)
    other, _ = ask([[ABSENT if k == PAD else k for k in row] for row in asked[:3]] + [[PAD] + [ABSENT] * 3])
    assert (np.abs(np.asarray(other) - np.asarray(logits)).max((1, 2, 3)) > 1e-3).all()


@pytest.mark.long
def test_a_box_in_a_pipeline_is_one_of_the_predictor(stage: sam2.Sam2Segmenter, predictor: Predictor) -> None:
    """Also where holes are filled."""
    images = gather([Picture(PICTURE)], [stage.view])
    xyxy = np.array([[[5, 5, 50, 30], [40, 3, 99, 38]]], np.float32)
    boxes = Boxes(jnp.asarray(xyxy), jnp.ones((1, 2), bool))
    clean = dataclasses.replace(stage, **CLEAN)
    run = jax.jit(lambda *given: [s.segment(*given) for s in (stage, clean)])
    plain, done = run(stage.params, predictor.features, images, boxes)
    many = predictor.predict_many(boxes=xyxy[0], multimask_output=False)
    np.testing.assert_allclose(plain.logits[0], many.low_res[:, 0], atol=1e-4)
    np.testing.assert_allclose(plain.iou[0], many.iou[:, 0], atol=1e-5)
    np.testing.assert_allclose(done.logits, cleaned(plain.logits, 0.0, *AREAS), atol=1e-5)
    assert (np.asarray(done.logits) != np.asarray(plain.logits)).any()


@pytest.mark.long
def test_an_unstable_mask_gives_way_to_the_best_of_three(stage: sam2.Sam2Segmenter, predictor: Predictor) -> None:
    plain = beside(predictor, dataclasses.replace(stage, dynamic_multimask=False))
    where: dict[str, Any] = dict(point_coords=[[10, 20]], point_labels=[1])
    three, first = predictor.predict(**where), plain.predict(**where, multimask_output=False)
    chosen = predictor.predict(**where, multimask_output=False)
    best = int(three.iou.argmax())
    np.testing.assert_allclose(chosen.low_res[0], three.low_res[best], atol=1e-5)
    np.testing.assert_allclose(chosen.iou[0], three.iou[best], atol=1e-6)
    assert np.abs(chosen.low_res - first.low_res).max() > 1e-3


def test_stability() -> None:
    """Just below and just above 0.98 of the area, and where there is none."""
    logits = np.full((3, 4, 10, 20), -1.0, np.float32)
    logits[:2, 0] = 1.0
    logits[0, 0, 0, :4] = 0.04  # 196 of 200
    logits[1, 0, 0, :5] = -0.04  # 195 of 200
    logits[:, 1:] = np.arange(1, 4)[None, :, None, None]
    iou = np.array([[0.1, 0.2, 0.9, 0.3]] * 3, np.float32)
    found, quality = decoder.stable(jnp.asarray(logits), jnp.asarray(iou))
    np.testing.assert_allclose(quality[:, 0], [0.1, 0.9, 0.1])
    np.testing.assert_array_equal(found[0, 0], logits[0, 0])
    assert (np.asarray(found[1]) == 2).all()
    assert (np.asarray(found[2]) == -1).all()


def test_low_resolution_logits_are_cut(stage: sam2.Sam2Segmenter, predictor: Predictor) -> None:
    """At 32, after the masks were made of what they were."""
    name = "sam_mask_decoder/output_hypernetworks_mlps/{}/layers/2/kernel"
    params = stage.params | {name.format(i): 500 * stage.params[name.format(i)] for i in range(4)}
    loud = beside(predictor, stage)
    loud._decode = copy.copy(predictor._decode)  # its programs too
    loud._decode._params = params
    masks, _, low = loud.predict([[10, 20]], [1], return_logits=True)
    assert np.abs(low).max() == 32
    assert np.abs(masks).max() > 100
    (each,) = loud.predict_each([[[10, 20]]], [[1]], return_logits=True)
    np.testing.assert_array_equal(each.low_res, low)


@pytest.mark.long
def test_holes_and_sprinkles(stage: sam2.Sam2Segmenter, predictor: Predictor) -> None:
    """They are gone from the masks; what is given back to be a prompt is as it was."""
    clean = beside(predictor, dataclasses.replace(stage, **CLEAN), mask_threshold=0.1)
    where: dict[str, Any] = dict(point_coords=[[[10, 20]], [[80, 30]]], point_labels=[[1], [1]], return_logits=True)
    before, after = predictor.predict_many(**where), clean.predict_many(**where)
    np.testing.assert_allclose(after.low_res, before.low_res, atol=1e-5)
    expected = np.asarray(cleaned(before.low_res, 0.1, *AREAS))
    assert (expected != before.low_res).any()
    large = jax.image.resize(expected, (2, 3, 40, 100), "linear", antialias=False)
    np.testing.assert_allclose(after.masks, large, atol=1e-4)
    each = list(clean.predict_each(**where))
    np.testing.assert_allclose(np.stack([p.masks for p in each]), after.masks, atol=1e-5)


class Thinner(discs.Discs):
    """Masks are made of logits less than what the decoder says."""

    has_postprocess = True

    def postprocess(self, logits: jax.Array, threshold: float = 0.0) -> jax.Array:
        return logits - 6.0 - threshold


def test_everything_is_cleaned_too() -> None:
    options: dict[str, Any] = dict(
        points_per_side=2, pred_iou_thresh=0.0, stability_score_thresh=0.0, box_nms_thresh=1.0, progress=False
    )
    kinds = (discs.discs(), discs.discs(kind=Thinner))
    areas = [[r["area"] for r in gsam.MaskGenerator(s, **options).generate(PICTURE)] for s in kinds]
    assert len(areas[0]) == len(areas[1]) == 4
    assert 0 < max(areas[1]) < 0.9 * min(areas[0])
    at_one = gsam.MaskGenerator(kinds[1], **options, mask_threshold=1.0).generate(PICTURE)
    assert 0 < max(r["area"] for r in at_one) < min(areas[1])


def test_every_prompt_may_have_its_own_embedding(stage: sam2.Sam2Segmenter, features: sam2.Features) -> None:
    """As objects of a video do, each seen through its memory."""
    rng = np.random.default_rng(0)
    several = jnp.asarray(rng.normal(size=(3, *features.embedding.shape)), jnp.float32)
    xy = jnp.asarray(rng.uniform(0, 64, (3, 2, 2)), jnp.float32)
    labels = jnp.asarray([[FOREGROUND, PAD]] * 3)
    run = jax.jit(
        lambda f, xy, labels: stage.spec.bind(stage.params).decode(f, xy, labels, multimask=True),
    )
    together = run(features._replace(embedding=several), xy, labels)
    assert [x.shape for x in together] == [(3, 3, 16, 16), (3, 3), (3, 3, 16), (3,)]
    alone = run(features._replace(embedding=several[1]), xy, labels)
    for a, b in zip(alone, together, strict=True):
        np.testing.assert_allclose(a[1], b[1], atol=1e-5)
        assert np.abs(np.asarray(a[0]) - np.asarray(b[0])).max() > 1e-3


def test_tokens_in_windows() -> None:
    x = jnp.arange(2 * 8 * 8 * 3).reshape(2, 1, 8, 8, 3)
    for s in (1, 2, 4, 8):
        cut = hiera.in_windows(x, s)
        assert cut.shape == (2, (8 // s) ** 2, s, s, 3)
        np.testing.assert_array_equal(cut[1, -1], x[1, 0, 8 - s :, 8 - s :])
        for t in (1, 2, 4, 8):
            np.testing.assert_array_equal(hiera.in_windows(cut, t), hiera.in_windows(x, t))
        np.testing.assert_array_equal(hiera.in_rows(cut), x[:, 0])


def test_finer_features_lie_where_pixels_do() -> None:
    """`quadrupled` and the upscaling's order of pixels are one."""
    h, w = 3, 5
    rows = jnp.arange(4 * h * 4 * w, dtype=jnp.float32).reshape(4 * h, 4 * w, 1)
    pixels = quadrupled(rows, h).reshape(1, 1, 2, 2, 2, 2, h * w)
    np.testing.assert_array_equal(channels_last(pixels, h)[0], rows)


def test_the_recipe() -> None:
    assert read_recipe("grounded_sam2")["segment"] == {"name": "sam2.1_hiera_tiny"}
