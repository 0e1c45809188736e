"""FastSAM on a small network: its own rules, its prompts, its places in pipelines, and that what
must not matter does not.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gsam
from gsam.build.recipes import read_recipe
from gsam.inputs.image import Picture
from gsam.inputs.letterbox import rectangle
from gsam.models import clip, fast_sam, siglip
from gsam.models.fast_sam.detections import Detections, snapped
from gsam.pipeline import Pipeline
from gsam.predictors.fast_sam import FastSAM
from gsam.results.result import BoxClippedMasks
from gsam.runtime.batch import gather
from gsam.types import Boxes, Images, Labels, Masks, View
from tests.models import small_segmenters as small

CONFIG = small.FAST


@pytest.fixture(scope="module")
def stage() -> fast_sam.FastSamSegmenter:
    return small.fast()


@pytest.fixture(scope="module")
def sam(stage: fast_sam.FastSamSegmenter) -> FastSAM:
    return FastSAM(stage)


@pytest.fixture(scope="module")
def large(stage: fast_sam.FastSamSegmenter) -> fast_sam.FastSamSegmenter:
    return dataclasses.replace(stage, size=256)


@pytest.fixture(scope="module")
def features(large: fast_sam.FastSamSegmenter) -> Detections:
    images = gather([Picture(p) for p in TWO], [large.view])
    return jax.jit(large.features)(large.params, images)


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


TWO = [picture(60, 120, 1), picture(120, 50, 2)]


# everything


def test_sides_near_the_frame_and_boxes_that_fill_it() -> None:
    """Two boxes that fill the frame both become it, where the original fails; sides of small boxes
    are moved as well.
    """
    boxes = jnp.asarray([[[19, 21, 60, 60], [1, 1, 99, 299], [3, 5, 80.5, 290], [-4, 30, 79.5, 279], [0, 0, 70, 300]]])
    frame = jnp.asarray([[300, 100]])
    expected = [[0, 21, 60, 60], [0, 0, 100, 300], [0, 0, 100, 300], [0, 30, 79.5, 279], [0, 0, 70, 300]]
    snap = jax.jit(snapped)
    np.testing.assert_array_equal(snap(boxes, frame)[0], np.asarray(expected, np.float32))
    nearly = jnp.asarray([[[0, 25, 100, 300], [0, 31, 100, 300]]], jnp.float32)  # 0.917 and 0.897 of the frame
    np.testing.assert_array_equal(snap(nearly, frame)[0, :, 1], [0, 31])


@pytest.mark.long
def test_neither_canvas_nor_company_changes_what_is_found(
    large: fast_sam.FastSamSegmenter, features: Detections
) -> None:
    view, together = large.view, jax.device_get(features)
    assert together.valid.sum(1).min() > 3
    images = gather([Picture(TWO[1])], [view])
    height, width = rectangle(*np.asarray(images.content[view.key])[0].tolist())
    assert (height, width) == (256, 128)
    assert together.prototypes.shape[1:3] == (64, 64)
    tight = {view.key: images.view(view)[:, :height, :width]}  # as the original would: no canvas at all
    find = jax.jit(large.features)
    alone = jax.device_get(find(large.params, dataclasses.replace(images, views=tight)))
    np.testing.assert_array_equal(together.valid[1], alone.valid[0])
    np.testing.assert_allclose(together.xyxy[1], alone.xyxy[0], atol=0.01)
    np.testing.assert_allclose(together.score[1], alone.score[0], atol=1e-5)
    assert together.cells[1].tolist() == alone.cells[0].tolist()
    h, w = together.cells[1]
    scale = np.abs(alone.prototypes).max()
    np.testing.assert_allclose(together.prototypes[1, :h, :w], alone.prototypes[0, :h, :w], atol=1e-5 * scale)


@pytest.mark.long
def test_thresholds_compile_nothing_and_matter(sam: FastSAM) -> None:
    one = picture(50, 90)
    middle = float(np.median(sam(one).scores))
    counts = [len(sam(one, conf=conf, iou=iou)) for conf, iou in ((0.5, 0.7), (middle, 0.7), (0.5, 0.1), (1.0, 0.7))]
    assert counts[0] > counts[1] > counts[3] == 0
    assert counts[0] > counts[2] > 0
    assert sam.compilations == 1
    with pytest.raises(ValueError, match=r"conf is 1\.5"):
        sam(one, conf=1.5)
    with pytest.raises(ValueError, match="max_det"):
        sam(one, max_det=0)


def test_what_is_asked_of_nothing(sam: FastSAM) -> None:
    nothing = sam(picture(40, 40), conf=1.0)
    assert len(nothing.everything_prompt()) == len(nothing.box_prompt([0, 0, 9, 9])) == 0
    assert len(nothing.point_prompt([[1, 1]], [1])) == len(nothing.text_prompt("dog")) == 0
    assert nothing.letterboxed().shape == (0, 96, 96)
    assert nothing.everything_prompt().masks.shape == (0, 40, 40)


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (97, 3)])
def test_pictures_of_any_shape(sam: FastSAM, size: tuple[int, int]) -> None:
    found = sam(picture(*size)).everything_prompt()
    assert found.masks.shape == (len(found), *size)
    assert (found.xyxy >= 0).all()
    assert (found.xyxy[:, 2:] <= size[::-1]).all()


@pytest.mark.long
def test_half_precision_runs(stage: fast_sam.FastSamSegmenter) -> None:
    half = {k: v.astype(jnp.bfloat16) for k, v in stage.params.items()}
    images = gather([Picture(picture(50, 90))], [stage.view])
    found = jax.jit(stage.features)(half, images)
    assert (found.xyxy.dtype, found.prototypes.dtype) == (jnp.float32, jnp.float32)
    assert np.isfinite(found.xyxy).all()
    assert found.valid.any()


@pytest.mark.parametrize("name", fast_sam.VARIANTS)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.long
def test_official_sizes_trace(name: str, dtype: Any) -> None:
    """Without a number: what goes in, what comes out."""
    config = fast_sam.VARIANTS[name]
    spec = fast_sam.spec(config)
    params = {k: jax.ShapeDtypeStruct(s.shape, dtype) for k, s in spec.shapes.items()}
    stage = fast_sam.FastSamSegmenter(config, spec, params)
    pair = jax.ShapeDtypeStruct((2, 2), jnp.int32)
    images = Images({stage.view.key: jax.ShapeDtypeStruct((2, 768, 1024, 3), jnp.uint8)}, {stage.view.key: pair}, pair)
    found = jax.eval_shape(stage.features, params, images)
    assert found.prototypes.shape == (2, 192, 256, 32)
    box = Boxes(*(jax.ShapeDtypeStruct((2, 5, *s), d) for s, d in (((4,), jnp.float32), ((), bool))))
    masks = jax.eval_shape(stage.segment, params, found, images, box)
    assert (masks.logits.shape, masks.logits.dtype) == ((2, 5, 192, 256), jnp.float32)
    assert masks.within.shape == (2, 5, 4)


def test_a_size_that_is_no_multiple(stage: fast_sam.FastSamSegmenter) -> None:
    with pytest.raises(ValueError, match="multiple of 32"):
        dataclasses.replace(stage, size=100)


# words


@pytest.mark.parametrize("classifier", ["clip", "siglip"])
@pytest.mark.long
def test_a_text_asks_a_classifier(stage: fast_sam.FastSamSegmenter, sam: FastSAM, classifier: str) -> None:
    from tests.models import small_classifiers as small
    from tests.weights.files import random

    family, config = (clip, small.CLIP) if classifier == "clip" else (siglip, small.SIGLIP)
    words = small.Letters() if classifier == "clip" else small.Marks()
    params = {k: 0.3 * v for k, v in random(family.spec(config).shapes).items()}
    ranked = FastSAM(stage, family.build(config, params, words, template="{}"))
    ranked._find = sam._find  # compiled already
    crops = [picture(20, 30, i) for i in range(20)]
    logits = ranked._rank("dog", crops)
    assert logits.shape == (20,)
    alone = np.concatenate([ranked._rank("dog", [c]) for c in crops[:3]])
    np.testing.assert_allclose(logits[:3], alone, atol=1e-5)
    assert np.ptp(logits) > 1e-4
    one = ranked(picture(50, 90)).text_prompt("dog")
    assert len(one) == 1
    assert 0 < one.scores[0] <= 1


def test_not_every_model_is_fast_sam() -> None:
    with pytest.raises(TypeError, match="FastSAM is needed"):
        gsam.FastSAM(object())


# pipelines


@dataclasses.dataclass(frozen=True, eq=False)
class Given:
    """A detector that finds the same everywhere: boxes as shares of the picture."""

    shares: tuple[tuple[float, ...], ...]
    params = {}  # noqa: RUF012
    view = View(32, "squash")

    def detect(self, params: Any, images: Any, text: Any, valid: jax.Array, n: int) -> tuple[Boxes, Labels]:
        b, c = valid.shape
        size = images.size[:, None, ::-1].astype(jnp.float32)
        xyxy = (
            jnp.zeros((b, n, 4))
            .at[:, : len(self.shares)]
            .set(jnp.asarray(self.shares, jnp.float32)[None] * jnp.concatenate([size, size], -1))
        )
        here = jnp.broadcast_to(jnp.arange(n) < len(self.shares), (b, n))
        score = jnp.where(here, 0.9 - 0.1 * jnp.arange(n, dtype=jnp.float32), 0.0)
        return Boxes(xyxy, here), Labels(
            jnp.zeros((b, n), jnp.int32), score, jnp.broadcast_to(score[..., None], (b, n, c))
        )


@pytest.mark.long
def test_as_the_segmenter_of_a_pipeline(stage: fast_sam.FastSamSegmenter, sam: FastSAM) -> None:
    """Each box has that of all masks which overlaps it best, cut to the mask's own box."""
    one = picture(50, 90)
    everything = sam(one).everything_prompt()
    large = [i for i, area in enumerate(everything.areas) if area > 50]
    shares = (everything.xyxy[large[:3]] / np.array([90, 50, 90, 50])).tolist()
    limits = dict(boxes=20, nms=1.0, group=1.0, inside=1.0)
    pipe = Pipeline(Given(tuple(map(tuple, shares))), stage, **limits)
    result = pipe(one, "thing")
    assert len(result) == 3
    assert isinstance(result.low_res, BoxClippedMasks)
    for i, (x0, y0, x1, y1) in enumerate(np.round(result.xyxy).astype(int).tolist()):
        mask = result.mask(i)
        same = [(mask & m).sum() / max((mask | m).sum(), 1) for m in everything.masks]
        assert max(same) > 0.999
        assert result.mask_scores[i] == pytest.approx(everything.scores[int(np.argmax(same))])
        box = np.zeros_like(mask)
        box[y0:y1, x0:x1] = True
        overlaps = [(box & m).sum() / (box | m).sum() for m in everything.masks]
        assert (box & mask).sum() / (box | mask).sum() > max(overlaps) - 0.02  # measured in cells, so nearly
    other = pipe(picture(90, 50, 2), "thing")
    assert other.masks.shape[1:] == (90, 50)


def test_a_box_that_no_mask_touches_has_none(stage: fast_sam.FastSamSegmenter) -> None:
    """Two masks in the left half of a picture as large as its prototypes; boxes left, right, and
    one of both.
    """
    h, w = 16, 24
    proto = np.full((h, w, 2), -1, np.float32)
    proto[2:10, 1:9, 0] = proto[4:8, 2:6, 1] = 1
    own = jnp.asarray([[[1, 2, 9, 10], [2, 4, 6, 8]]], jnp.float32)
    size = jnp.asarray([[h, w]])
    score, valid = jnp.asarray([[0.6, 0.5]]), jnp.ones((1, 2), bool)
    found = Detections(own, own, score, valid, jnp.eye(2)[None], jnp.asarray(proto[None]), size, 0 * size)
    images = Images({}, {}, size)
    asked = jnp.asarray([[[2, 4, 6, 7.5], [14, 2, 20, 12], [0, 0, 24, 16]]], jnp.float32)
    boxes = Boxes(asked, jnp.ones((1, 3), bool))
    masks = jax.jit(stage.segment)({}, found, images, boxes)
    np.testing.assert_allclose(masks.iou[0], [0.5, 0.0, 0.6])
    np.testing.assert_array_equal(masks.within[0, ::2], own[0, ::-1])
    inside = np.asarray(masks.logits[0]) > 0
    assert [int(m.sum()) for m in inside] == [16, 0, 64]
    np.testing.assert_array_equal(masks.content[0], [[h, w]] * 3)


def grounded(
    stage: fast_sam.FastSamSegmenter, pictures: list[np.ndarray], n: int, features: Detections
) -> tuple[Boxes, Labels, Masks]:
    images = gather([Picture(p) for p in pictures], [stage.view])
    valid = jnp.broadcast_to(jnp.asarray([True, True, False]), (len(pictures), 3))
    return jax.jit(stage.ground, static_argnums=4)(stage.params, images, None, valid, n, features)


@pytest.mark.parametrize("n", [4, 400])
@pytest.mark.long
def test_proposals_are_everything(large: fast_sam.FastSamSegmenter, features: Detections, n: int) -> None:
    boxes, labels, masks = grounded(large, TWO, n, features)
    assert masks.content is not None
    assert masks.within is not None
    assert boxes.xyxy.shape == (2, n, 4)
    assert labels.scores.shape == (2, n, 3)
    for i, one in enumerate(TWO):
        count = min(n, int(features.valid[i].sum()))
        assert np.asarray(boxes.valid[i]).tolist() == [True] * count + [False] * (n - count)
        np.testing.assert_array_equal(boxes.xyxy[i, :count], features.xyxy[i, :count])
        np.testing.assert_array_equal(labels.score[i, :count], features.score[i, :count])
        assert not np.asarray(labels.score[i, count:]).any()
        np.testing.assert_array_equal(labels.scores[i, :, 0], labels.score[i])
        np.testing.assert_array_equal(labels.scores[i, :, 1], labels.score[i])
        assert not labels.scores[i, :, 2].any()
        assert not np.asarray(labels.index).any()
        cells = tuple(np.asarray(masks.content[i, 0]).astype(int).tolist())
        size, own = one.shape[:2], np.asarray(features.xyxy[i])
        logits = np.einsum("np,hwp->nhw", features.coefficients[i], features.prototypes[i])
        whole = BoxClippedMasks.of(logits, cells, size, own)
        cut = BoxClippedMasks.of(np.asarray(masks.logits[i]), cells, size, np.asarray(masks.within[i]))
        assert (np.asarray(masks.logits[i, :count]) == 0).any((1, 2)).sum() > count / 2  # cut already, but
        for k in range(count):
            ours, theirs = cut.mask_of(k), whole.mask_of(k)  # nothing of what the box shows
            assert (ours & theirs).sum() >= 0.999 * (ours | theirs).sum()


@pytest.mark.long
def test_the_recipe(stage: fast_sam.FastSamSegmenter, monkeypatch: pytest.MonkeyPatch) -> None:
    """``fast_sam_text``, with small models under its names."""
    from tests.models import small_classifiers as small

    recipe = read_recipe("fast_sam_text")
    assert recipe["ground"]["name"] == "fast_sam_s"
    models = {"ground": stage, "classify": small.make("clip")}
    monkeypatch.setattr("gsam.build.pipelines.stage", lambda role, *_, **__: models[role])
    pipe = gsam.load("fast_sam_text", reject=0.0, threshold=0.5)
    result = pipe(picture(50, 90), "dog. cat")
    assert len(result) > 0
    assert set(result.labels) <= {"dog", "cat"}
    assert result.masks.shape == (len(result), 50, 90)
