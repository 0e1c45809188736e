"""Detectors and segmenters on small models with random weights: geometry, padding, and that what
must not matter does not.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsam import bind
from gsam.inputs.image import Picture
from gsam.models import owl_vit, sam
from gsam.nn.tower import Tower
from gsam.runtime.batch import gather
from gsam.types import Boxes, Labels

OWL = owl_vit.Config(Tower(32, 2, 2), Tower(16, 1, 2), 64, 16, vocab=50, context=6, pad=0.0, letterbox=True)
SAM = sam.Config(32, 2, 2, (1,), image_size=64, patch=8, window=4, out_chans=16, decoder_heads=2, decoder_mlp=32)


class Letters:
    """A tokenizer: a letter is a token."""

    def encode(self, texts: Sequence[str], context: int) -> np.ndarray:
        ids = np.zeros((len(texts), context), np.int32)
        for row, text in zip(ids, texts, strict=True):
            found = [1, *(2 + ord(c) % 40 for c in text[: context - 2]), 49]
            row[: len(found)] = found
        return ids


@pytest.fixture(scope="module")
def detector() -> owl_vit.OwlDetector:
    return owl_vit.build(OWL, bind.random_params(owl_vit.spec(OWL), 0), Letters())


@pytest.fixture(scope="module")
def segmenter() -> sam.SamSegmenter:
    return sam.build(SAM, bind.random_params(sam.spec(SAM), 1))


def picture(height: int, width: int, seed: int = 0) -> Picture:
    return Picture(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def detect(
    stage: owl_vit.OwlDetector, pictures: list[Picture], queries: list[str], n: int = 16
) -> tuple[Boxes, Labels]:
    valid = jnp.asarray([[bool(q) for q in queries]] * len(pictures))
    text = jax.jit(stage.embed)(stage.params, stage.text.tokenize(queries))
    text = jnp.broadcast_to(text, (len(pictures), *text.shape))
    return jax.jit(stage.detect, static_argnums=4)(stage.params, gather(pictures, [stage.view]), text, valid, n)


@pytest.mark.long
def test_boxes_lie_in_the_picture(detector: owl_vit.OwlDetector) -> None:
    boxes, labels = detect(detector, [picture(30, 90), picture(200, 100)], ["a", "b", ""])
    for b, (h, w) in enumerate(((30, 90), (200, 100))):
        xyxy = np.asarray(boxes.xyxy[b])[np.asarray(boxes.valid[b])]
        assert len(xyxy) > 4
        assert (xyxy >= 0).all()
        assert (xyxy <= np.array([w, h, w, h])).all()
        assert (xyxy[:, 2:] > xyxy[:, :2]).all()
        assert (np.diff(np.asarray(labels.score[b])[np.asarray(boxes.valid[b])]) <= 0).all()
    assert labels.index.max() <= 1


def test_padding_queries_changes_nothing(detector: owl_vit.OwlDetector) -> None:
    few, known = detect(detector, [picture(40, 60)], ["ab", "c"])
    many, labels = detect(detector, [picture(40, 60)], ["ab", "c", "", "", "", ""])
    np.testing.assert_allclose(few.xyxy, many.xyxy, atol=1e-4)
    np.testing.assert_allclose(known.score, labels.score, atol=1e-6)
    assert (np.asarray(labels.scores)[..., 2:] == 0).all()


@pytest.mark.long
def test_a_batch_is_its_pictures(detector: owl_vit.OwlDetector, segmenter: sam.SamSegmenter) -> None:
    pictures = [picture(30, 90, 1), picture(80, 50, 2), picture(64, 64, 3)]
    together, _ = detect(detector, pictures, ["ab", "c"])
    run = jax.jit(lambda p, i, b: segmenter.segment(p, segmenter.features(p, i), i, b))
    masks = run(segmenter.params, gather(pictures, [segmenter.view]), together)
    for i, one in enumerate(pictures):
        alone, _ = detect(detector, [one], ["ab", "c"])
        np.testing.assert_allclose(alone.xyxy[0], together.xyxy[i], atol=1e-3)
        same = jax.tree.map(lambda x, i=i: x[i : i + 1], together)
        mask = run(segmenter.params, gather([one], [segmenter.view]), same)
        np.testing.assert_allclose(mask.logits[0], masks.logits[i], atol=1e-4)


@pytest.mark.parametrize("chunk", [1, 3, 16])
@pytest.mark.long
def test_chunks_of_prompts_change_nothing(segmenter: sam.SamSegmenter, chunk: int) -> None:
    images = gather([picture(64, 48)], [segmenter.view])
    corner = np.random.default_rng(0).uniform(0, 20, (1, 7, 2))
    xyxy = jnp.asarray(np.concatenate([corner, corner + 15], -1), jnp.float32)
    boxes = Boxes(xyxy, jnp.ones((1, 7), bool))
    other = dataclasses.replace(segmenter, chunk=chunk)
    features = segmenter.features(segmenter.params, images)
    a = segmenter.segment(segmenter.params, features, images, boxes)
    b = jax.jit(other.segment)(segmenter.params, features, images, boxes)
    np.testing.assert_allclose(a.logits, b.logits, atol=1e-5)
