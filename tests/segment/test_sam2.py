"""SAM 2's own ways with pictures: a padding token for every prompt, a choice of the single mask, holes and sprinkles."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gsam
from gsam.build import read_recipe
from gsam.image import Picture
from gsam.nn.prompt import ABSENT, BOTTOM_RIGHT, FOREGROUND, PAD, TOP_LEFT
from gsam.nn.two_way import channels_last, quadrupled
from gsam.ops.components import cleaned
from gsam.pipeline.prepare import gather
from gsam.predictor import Predictor
from gsam.segment import sam2
from gsam.segment.sam2 import decoder, hiera
from gsam.types import Boxes
from tests.segment import small

PICTURE = np.random.default_rng(0).integers(0, 256, (40, 100, 3), dtype=np.uint8)
SCALE = np.array([64 / 100, 64 / 40])
CLEAN: dict[str, Any] = {"max_hole_area": 20, "max_sprinkle_area": 12}


@pytest.fixture(scope="module")
def stage() -> sam2.Stage:
    return small.sam_2()


@pytest.fixture(scope="module")
def predictor(stage: sam2.Stage) -> Predictor:
    p = Predictor(stage)
    p.set_image(PICTURE)
    return p


@pytest.fixture(scope="module")
def features(predictor: Predictor) -> sam2.Features:
    """Of the picture, without a leading axis."""
    return jax.tree.map(lambda x: x[0], predictor.features)


@pytest.fixture(scope="module")
def ask(stage: sam2.Stage, features: sam2.Features) -> Any:
    run = jax.jit(stage.prompt, static_argnames="multimask")

    def asked(xy: Any, labels: list[int], **more: Any) -> tuple[np.ndarray, np.ndarray]:
        xy = np.asarray(xy, np.float32).reshape(1, -1, 2) * SCALE.astype(np.float32)
        logits, iou = run(stage.params, features, xy, np.asarray([labels], np.int32), **more)
        return np.asarray(logits[0]), np.asarray(iou[0])

    return asked


def test_what_it_takes(stage: sam2.Stage) -> None:
    assert stage.takes == {"foreground", "background", "box", "mask"}
    assert (stage.enlarge, stage.pads_boxes, stage.clamp, stage.cleans) == ("bilinear", True, 32.0, False)
    assert stage.view.key == "squash_64_antialias_0"


def test_features_are_those_of_three_strides(features: sam2.Features) -> None:
    assert [x.shape for x in features] == [(16, 16, 2), (8, 8, 4), (4, 4, 16)]


def test_shapes_are_the_original_s(predictor: Predictor) -> None:
    masks, iou, low = predictor.predict([[10, 20]], [1])
    assert (masks.shape, masks.dtype, iou.shape, low.shape) == ((3, 40, 100), np.bool_, (3,), (3, 16, 16))
    assert ((iou > 0) & (iou < 1)).all()  # of a sigmoid
    masks, iou, low = predictor.predict(box=[5, 5, 50, 30], multimask_output=False, return_logits=True)
    assert (masks.shape, masks.dtype, iou.shape, low.shape) == ((1, 40, 100), np.float32, (1,), (1, 16, 16))
    assert (predictor.original_size, predictor.input_size) == ((40, 100), (64, 64))


def test_a_padding_token_goes_with_every_prompt(predictor: Predictor, ask: Any) -> None:
    """With a box too, which SAM leaves alone; and with none where there is neither point nor box."""
    point, box, low = [[10, 20]], [5, 5, 50, 30], predictor.predict([[10, 20]], [1]).low_res[:1]
    corners = [box[:2], box[2:]]
    cases: list[tuple[tuple[Any, ...], Any, list[int]]] = [
        ((point, [1]), [*point, [0, 0]], [FOREGROUND, PAD]),
        ((None, None, box), [*corners, [0, 0]], [TOP_LEFT, BOTTOM_RIGHT, PAD]),
        ((point, [1], box), [*corners, *point, [0, 0]], [TOP_LEFT, BOTTOM_RIGHT, FOREGROUND, PAD]),
    ]
    for given, xy, labels in cases:
        found = predictor.predict(*given)
        logits, iou = ask(xy, labels)
        np.testing.assert_allclose(found.low_res, logits, atol=1e-4)
        np.testing.assert_allclose(found.iou, iou, atol=1e-5)
        unpadded, _ = ask(xy, [ABSENT if k == PAD else k for k in labels])
        assert np.abs(unpadded - logits).max() > 1e-3
    by_mask = predictor.predict(mask_input=low)
    logits, _ = ask([[0, 0]], [ABSENT], mask=low)
    np.testing.assert_allclose(by_mask.low_res, logits, atol=1e-4)
    assert np.abs(ask([[0, 0]], [PAD], mask=low)[0] - logits).max() > 1e-3


def test_a_box_in_a_pipeline_is_one_of_the_predictor(stage: sam2.Stage, predictor: Predictor) -> None:
    images = gather([Picture(PICTURE)], [stage.view])
    xyxy = np.array([[[5, 5, 50, 30], [40, 3, 99, 38]]], np.float32)
    boxes = Boxes(jnp.asarray(xyxy), jnp.ones((1, 2)), jnp.ones((1, 2), bool))
    masks = jax.jit(stage.segment)(stage.params, predictor.features, images, boxes)
    many = predictor.predict_many(boxes=xyxy[0], multimask_output=False)
    np.testing.assert_allclose(masks.logits[0], many.low_res[:, 0], atol=1e-4)
    np.testing.assert_allclose(masks.iou[0], many.iou[:, 0], atol=1e-5)


def test_an_unstable_mask_gives_way_to_the_best_of_three(stage: sam2.Stage, predictor: Predictor) -> None:
    plain = Predictor(dataclasses.replace(stage, dynamic_multimask=False))
    plain.set_image(PICTURE)
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


def test_low_resolution_logits_are_cut(stage: sam2.Stage) -> None:
    """At 32, after the masks were made of what they were; a mask prompt takes them."""
    name = "sam_mask_decoder/output_hypernetworks_mlps/{}/layers/2/kernel"
    params = stage.params | {name.format(i): 500 * stage.params[name.format(i)] for i in range(4)}
    loud = Predictor(dataclasses.replace(stage, params=params))
    loud.set_image(PICTURE)
    masks, _, low = loud.predict([[10, 20]], [1], return_logits=True)
    assert np.abs(low).max() == 32
    assert np.abs(masks).max() > 100
    (each,) = loud.predict_each([[[10, 20]]], [[1]], return_logits=True)
    np.testing.assert_array_equal(each.low_res, low)
    assert loud.predict([[10, 20]], [1], mask_input=low[:1]).masks.shape == (3, 40, 100)


def test_holes_and_sprinkles(stage: sam2.Stage, predictor: Predictor) -> None:
    """They are gone from the masks; what is given back to be a prompt is as it was."""
    clean = Predictor(dataclasses.replace(stage, **CLEAN), mask_threshold=0.1)
    clean.set_image(PICTURE)
    where: dict[str, Any] = dict(point_coords=[[[10, 20]], [[80, 30]]], point_labels=[[1], [1]], return_logits=True)
    before, after = predictor.predict_many(**where), clean.predict_many(**where)
    np.testing.assert_allclose(after.low_res, before.low_res, atol=1e-5)
    expected = np.asarray(cleaned(before.low_res, 0.1, holes=20, sprinkles=12))
    assert (expected != before.low_res).any()
    large = jax.image.resize(expected, (2, 3, 40, 100), "linear", antialias=False)
    np.testing.assert_allclose(after.masks, large, atol=1e-4)
    each = list(clean.predict_each(**where))
    np.testing.assert_allclose(np.stack([p.masks for p in each]), after.masks, atol=1e-5)


def test_holes_are_filled_in_pipelines_and_everything(stage: sam2.Stage, predictor: Predictor) -> None:
    images = gather([Picture(PICTURE)], [stage.view])
    boxes = Boxes(jnp.asarray([[[5.0, 5, 50, 30]]]), jnp.ones((1, 1)), jnp.ones((1, 1), bool))
    features = predictor.features
    clean = dataclasses.replace(stage, **CLEAN)
    plain, done = (jax.jit(s.segment)(s.params, features, images, boxes).logits for s in (stage, clean))
    assert (np.asarray(done) != np.asarray(plain)).any()
    np.testing.assert_allclose(done, cleaned(plain, 0.0, 20, 12), atol=1e-5)
    options: dict[str, Any] = dict(
        points_per_side=3, pred_iou_thresh=0.0, stability_score_thresh=0.0, box_nms_thresh=1.0, mask_threshold=0.1
    )
    found = [gsam.MaskGenerator(s, **options).generate(PICTURE) for s in (stage, clean)]
    assert len(found[0]) > 3
    areas = [sorted(r["area"] for r in some) for some in found]
    assert areas[0] != areas[1]
    assert gsam.MaskGenerator(clean, **options, use_m2m=True).generate(PICTURE)


def test_every_prompt_may_have_its_own_embedding(stage: sam2.Stage, features: sam2.Features) -> None:
    """As objects of a video do, each seen through its memory."""
    rng = np.random.default_rng(0)
    several = jnp.asarray(rng.normal(size=(3, *features.embedding.shape)), jnp.float32)
    xy = jnp.asarray(rng.uniform(0, 64, (3, 2, 2)), jnp.float32)
    labels = jnp.asarray([[FOREGROUND, PAD]] * 3)
    run = jax.jit(lambda f, xy, labels: stage.spec.bind(stage.params).decode(f, xy, labels, multimask=True))
    together = run(features._replace(embedding=several), xy, labels)
    assert [x.shape for x in together] == [(3, 3, 16, 16), (3, 3), (3, 3, 16), (3,)]
    for i in range(3):
        alone = run(features._replace(embedding=several[i]), xy[i : i + 1], labels[i : i + 1])
        for a, b in zip(alone, together, strict=True):
            np.testing.assert_allclose(a[0], b[i], atol=1e-5)


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
