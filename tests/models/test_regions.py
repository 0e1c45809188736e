"""Classifiers of regions on small models: what a crop shows, what a score means, what is rejected,
for CLIP and SigLIP.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsam import bind
from gsam.models import clip, siglip
from gsam.ops.regions import cut, regions
from gsam.text.templates import ENSEMBLE, allowed, fill, templates
from gsam.types import Masks, Scene, View
from tests.models.small_classifiers import CLIP, arranged, before, classified, make


@pytest.fixture(scope="module", params=["clip", "siglip"])
def stage(request: pytest.FixtureRequest) -> Any:
    return make(request.param)


@pytest.mark.long
def test_clip_weighs_and_rejects() -> None:
    stage = make("clip", negatives=("sea", "red dog"))
    queries = ["cat", "dog", ""]
    after = classified(stage, queries)
    scores = np.asarray(after.labels.scores)
    assert (scores[..., 2] == 0).all()
    probability = scores[..., :2] ** 2 / 0.5  # weight one half: score = sqrt(0.5 p)
    assert (probability.sum(-1) < 1).all()  # the rest went to the negative that is allowed
    np.testing.assert_array_equal(after.labels.index, scores.argmax(-1))
    np.testing.assert_array_equal(after.labels.score, scores.max(-1))
    assert not classified(stage, queries, reject=float(after.labels.score.max()) + 1e-4).boxes.valid.any()
    assert classified(stage, queries, reject=0.0).boxes.valid.all()
    lowest = float(after.labels.score.min())
    assert classified(stage, queries, reject=lowest + 1e-4).boxes.valid.sum() == 1  # of CLIP it is the final score


@pytest.mark.parametrize("family", ["clip", "siglip"])
@pytest.mark.long
def test_a_negative_related_to_a_query_is_not_used(family: str) -> None:
    stage = make(family, negatives=("sea", "red dog"))
    for queries, usable in (
        (["dog", "cat"], [True, False]),
        (["sea", ""], [False, True]),
        (["big red dog"], [True, False]),
    ):
        assert arranged(stage, queries).allowed[0].tolist() == usable


@pytest.mark.parametrize(
    ("negatives", "query", "usable"),
    [
        (("dog", "cat"), "dogs", [False, True]),
        (("dogs", "bus", "glass"), "dog", [False, True, True]),
        (("bus", "box", "berry", "leaf", "knife"), "buses", [False, True, True, True, True]),
        (("bus", "box", "berry", "leaf", "knife"), "Boxes", [True, False, True, True, True]),
        (("bus", "box", "berry", "leaf", "knife"), "berries", [True, True, False, True, True]),
        (("bus", "box", "berry", "leaf", "knife"), "leaves", [True, True, True, False, True]),
        (("bus", "box", "berry", "leaf", "knife"), "knives", [True, True, True, True, False]),
        (("red apple", "apple", "red hat"), "red apples", [False, False, True]),
        (("red apples", "pear"), "apple", [False, True]),
        (("grape", "grass", "as"), "grapes", [False, True, True]),
        (("", "dog"), "a", [False, True]),
        (("woman", "man", "person"), "women", [False, True, True]),
        (("woman", "man", "person"), "men", [True, False, True]),
        (("woman", "man", "person", "child"), "people", [True, True, False, True]),
        (("tv", "traffic cone"), "TVs", [False, True]),
    ],
)
def test_a_word_and_its_plural_are_one(negatives: tuple[str, ...], query: str, usable: list[bool]) -> None:
    assert allowed(negatives, [query]).tolist() == usable


@pytest.mark.long
def test_without_negatives_there_are_rows_of_none(stage: Any) -> None:
    text = arranged(stage, ["dog", ""])
    assert text.negatives.shape == (1, 0, text.queries.shape[-1])
    assert text.allowed.shape == (1, 0)


def test_a_classifier_may_be_switched_off(stage: Any) -> None:
    after = classified(dataclasses.replace(stage, weight=0.0), ["cat", "dog"])
    np.testing.assert_allclose(after.labels.score, 0.5, atol=1e-6)


@pytest.mark.long
def test_padding_queries_and_negatives_changes_nothing(stage: Any) -> None:
    stage = dataclasses.replace(stage, negatives=("sea",))
    few = classified(stage, ["cat", "dog"])
    many = classified(stage, ["cat", "dog", "", ""])
    np.testing.assert_allclose(many.labels.scores[..., :2], few.labels.scores, atol=1e-6)
    assert (np.asarray(many.labels.scores[..., 2:]) == 0).all()
    np.testing.assert_array_equal(many.labels.index, few.labels.index)
    scene, asked = before(stage, ["cat", "dog"])
    text = arranged(stage, ["cat", "dog"])
    padded = text._replace(
        negatives=jnp.pad(text.negatives, ((0, 0), (0, 3), (0, 0))), allowed=jnp.pad(text.allowed, ((0, 0), (0, 3)))
    )
    again = jax.jit(stage.classify)(stage.params, scene, padded, asked)
    np.testing.assert_allclose(
        again.labels.scores, few.labels.scores, atol=1e-4
    )  # a program of its own: one grey level


def test_a_picture_that_is_asked_nothing_has_nothing(stage: Any) -> None:
    after = classified(stage, ["", ""], reject=0.01)
    assert (np.asarray(after.labels.scores) == 0).all()
    assert not after.boxes.valid.any()


def test_no_valid_boxes(stage: Any) -> None:
    after = classified(stage, ["cat", "dog"], valid=[False, False])
    assert not after.boxes.valid.any()
    assert np.isfinite(after.labels.scores).all()


@pytest.mark.long
def test_chunks_of_boxes_change_nothing(stage: Any) -> None:
    scene, asked = before(stage, ["cat", "dog"])
    rows = [0, 1] * 5  # ten boxes, of which six are real: two chunks of four on a CPU
    boxes, labels = jax.tree.map(lambda x: x[:, np.array(rows)], (scene.boxes, scene.labels))
    real = jnp.arange(10)[None] < 6
    many = dataclasses.replace(scene, boxes=dataclasses.replace(boxes, valid=real), labels=labels)
    text = arranged(stage, ["cat", "dog"])
    expected = classified(stage, ["cat", "dog"]).labels.scores[0]
    for chunk in (None, 1, 3, 16):
        told = jax.jit(dataclasses.replace(stage, chunk=chunk).classify)(stage.params, many, text, asked)
        np.testing.assert_allclose(told.labels.scores[0, :6], expected[np.array(rows[:6])], atol=1e-5)
        assert told.boxes.valid[0].tolist() == real[0].tolist()


@pytest.mark.long
def test_an_ensemble_is_the_mean_at_unit_length(stage: Any) -> None:
    sentences = ("a {}", "{} so", "the {} x")
    many = dataclasses.replace(stage, template=sentences)
    assert many.text.tokenize(["cat", "ox"]).shape == (2, 3, stage.config.context)
    vectors = [
        np.asarray(one.embed(stage.params, one.text.tokenize(["cat", "ox"])))
        for one in (dataclasses.replace(stage, template=s) for s in sentences)
    ]
    mean = np.mean(vectors, 0)
    found = jax.jit(many.embed)(stage.params, many.text.tokenize(["cat", "ox"]))
    np.testing.assert_allclose(found, mean / np.linalg.norm(mean, axis=-1, keepdims=True), atol=1e-6)
    assert classified(many, ["cat", "ox"]).labels.scores.shape == (1, 2, 2)


def test_templates() -> None:
    assert len(templates("ensemble")) == 7
    assert templates("ensemble") == ENSEMBLE
    assert fill(["a {}", "b {}"], ["x", "y"]) == ["a x", "b x", "a y", "b y"]
    assert fill("{} {}", ["{}"]) == ["{} {}"]
    for wrong in ("a photo", [], ["a {}", "none"], "{} {{}}", "a {} {"):
        with pytest.raises(ValueError, match="place for the query"):
            templates(wrong)
    with pytest.raises(ValueError, match="place for the query"):
        clip.build(CLIP, bind.random_params(clip.spec(CLIP), 2), template="a photo")


def masked(stage: Any, content: list[float] | None = None) -> tuple[Scene, Masks]:
    """A scene whose first object ends at column 15 of the picture, and the second has no mask at
    all.
    """
    logits = np.full((1, 2, 20, 28), -1.0, np.float32)
    _, columns = content or (20, 28)
    logits[0, 0, :, : round(columns / 70 * 15)] = 1.0  # left of column 15 of the picture
    given = None if content is None else jnp.broadcast_to(jnp.asarray(content, jnp.float32), (1, 2, 2))
    masks = Masks(jnp.asarray(logits), jnp.ones((1, 2)), given)
    return before(stage, ["cat"], masks=masks)[0], masks


@pytest.mark.parametrize("content", [None, [10.0, 14.0]], ids=["the whole grid", "a part of the grid"])
@pytest.mark.parametrize("background", [0.0, 0.25])
@pytest.mark.long
def test_a_mask_changes_exactly_the_pixels_outside(stage: Any, content: Any, background: float) -> None:
    scene, _ = masked(stage, content)
    canvas, mean, std = scene.images.view(stage.view), (0.5,) * 3, (0.5,) * 3
    common = (32, "bilinear", mean, std, background, jnp.float32)
    plain = cut(canvas, regions(scene, stage.view, 0.1, masked=False), *common)
    seen = cut(canvas, regions(scene, stage.view, 0.1, masked=True), *common)
    assert plain.shape == seen.shape == (1, 2, 32, 32, 3)
    # the first box is 4..24, with its context 2..26: 13 of its 24 columns are the object, 17.3 of
    # the crop's 32
    np.testing.assert_array_equal(seen[0, 0, :, :17], plain[0, 0, :, :17])
    np.testing.assert_allclose(seen[0, 0, :, 17:], background * plain[0, 0, :, 17:], atol=1e-6)
    np.testing.assert_array_equal(seen[0, 1], plain[0, 1])  # a mask without a pixel changes nothing


@pytest.mark.long
def test_the_background_counts_only_where_there_are_masks(stage: Any) -> None:
    _, masks = masked(stage)
    without = classified(stage, ["cat"])
    grey = dataclasses.replace(stage, background=0.0)
    np.testing.assert_array_equal(classified(grey, ["cat"]).labels.scores, without.labels.scores)
    np.testing.assert_array_equal(classified(stage, ["cat"], masks=masks).labels.scores, without.labels.scores)
    if isinstance(stage, siglip.SiglipClassifier):  # a softmax over one query is always 1
        changed = np.asarray(classified(grey, ["cat"], masks=masks).labels.scores)
        assert abs(changed - without.labels.scores)[0, 0, 0] > 1e-5
        np.testing.assert_allclose(changed[0, 1], without.labels.scores[0, 1], atol=1e-6)


def test_a_smaller_canvas_and_masks_of_it(stage: Any) -> None:
    """The geometry of boxes on the canvas and on the masks is one, whatever the scale of either."""
    small = dataclasses.replace(stage, canvas=View(35, "longest"))
    scene, _ = masked(small, [20.0, 28.0])
    where = regions(scene, small.view, 0.1, masked=True)
    np.testing.assert_allclose(where.xyxy[0, 0], [1, 1, 13, 13], atol=1e-5)
    np.testing.assert_allclose(where.on_mask[0, 0], [0.8, 0.8, 10.4, 10.4], atol=1e-5)
