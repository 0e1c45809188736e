"""Grounding DINO on a small model with random weights: captions, padding, batches, chunks, and what
labels come of it.
"""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gsam
from benchmarks.harness.letter_tokenizer import LetterTokenizer
from gsam.inputs.image import Picture, canvas, content
from gsam.models import grounding_dino as gd
from gsam.models.grounding_dino.enhancer import Phrases
from gsam.runtime.batch import gather
from gsam.text import captions
from gsam.text.packed import EncodedPhrases
from gsam.text.tokenizer import load_tokenizer
from gsam.types import Boxes, Images, Labels, View
from gsam.weights import store
from tests.models import small_detectors as small


@pytest.fixture(scope="module")
def stage() -> gd.GroundingDinoDetector:
    return small.stage()


def picture(height: int, width: int, seed: int = 0) -> Picture:
    return Picture(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


@functools.cache
def programs(stage: gd.GroundingDinoDetector) -> tuple[Any, Any]:
    return jax.jit(stage.embed), jax.jit(stage.detect, static_argnums=4)


def text(stage: gd.GroundingDinoDetector, queries: list[str]) -> dict[str, np.ndarray]:
    embed, _ = programs(stage)
    return stage.text.pack_text(queries, lambda texts: jax.device_get(embed(stage.params, stage.text.tokenize(texts))))


def detect(
    stage: gd.GroundingDinoDetector, images: Images, asked: list[list[str]], n: int = 20
) -> tuple[Boxes, Labels]:
    from gsam.pipeline.text_cache import stack

    most = max(map(len, asked))
    padded = [[*queries, *[""] * (most - len(queries))] for queries in asked]
    valid = jnp.asarray([[bool(q) for q in queries] for queries in padded])
    _, run = programs(stage)
    return run(stage.params, images, stack([text(stage, q) for q in padded]), valid, n)


def placed(images: Images, view: View, shape: tuple[int, int], fill: int) -> Images:
    """The same pictures on a larger canvas, something else around them."""
    old = np.asarray(images.view(view))
    out = np.full((old.shape[0], *shape, 3), fill, np.uint8)
    out[:, : old.shape[1], : old.shape[2]] = old
    for row, (h, w) in zip(out, np.asarray(images.content[view.key]), strict=True):
        row[h:], row[:, w:] = fill, fill
    return dataclasses.replace(images, views={view.key: jnp.asarray(out)})


def same(a: tuple[Boxes, Labels], b: tuple[Boxes, Labels], side: float, rows: slice = slice(None)) -> None:
    assert np.asarray(a[0].valid).sum() > 5
    np.testing.assert_array_equal(a[0].valid, b[0].valid[rows])
    np.testing.assert_allclose(a[0].xyxy, b[0].xyxy[rows], atol=3e-6 * side)
    np.testing.assert_allclose(a[1].score, b[1].score[rows], atol=1e-5)
    np.testing.assert_array_equal(a[1].index, b[1].index[rows])


def test_captions() -> None:
    rows = captions.tokenize(["cat", "a dog?b", ""], LetterTokenizer(), 32)
    assert rows.ids.shape == (3, 16)
    c, a, t, d, o, g, b = (ord(x) for x in "catdogb")
    assert rows.ids[0, :8].tolist() == [101, c, a, t, 1012, 102, 0, 0]
    assert rows.block[0, :8].tolist() == [1, 2, 2, 2, 2, 3, 0, 0]
    assert rows.position[0, :8].tolist() == [0, 0, 1, 2, 3, 0, 0, 0]
    assert rows.ids[1, :10].tolist() == [101, a, d, o, g, 1029, b, 1012, 102, 0]
    assert rows.block[1, :10].tolist() == [1, 2, 2, 2, 2, 2, 3, 3, 4, 0]
    assert rows.position[1, :10].tolist() == [0, 0, 1, 2, 3, 4, 0, 1, 0, 0]
    encoded = EncodedPhrases(*rows, rows.ids[..., None].astype(np.float32))
    packed = captions.pack(EncodedPhrases(*(leaf[[0, 2, 0]] for leaf in encoded)), [True, False, True], 32)
    assert packed.ids.tolist() == [[101, c, a, t, 1012, c, a, t, 1012, 102, 0, 0, 0, 0, 0, 0]]
    assert packed.query.tolist() == [[0, 1, 1, 1, 0, 3, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0]]
    assert packed.block.tolist() == [[1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 0, 0, 0, 0, 0, 0]]
    np.testing.assert_array_equal(packed.features[..., 0], packed.ids)


def test_a_phrase_is_encoded_alone(stage: gd.GroundingDinoDetector) -> None:
    """What BERT makes of a query within a caption of several is what it makes of the query
    alone.
    """
    joint = captions.tokenize(["cat . a dog"], LetterTokenizer(), 32)
    block = joint.block
    sees = (block[:, :, None] == block[:, None, :]) & (block > 0)[:, :, None] | np.eye(block.shape[1], dtype=bool)
    run = jax.jit(lambda p, *a: stage.spec.bind(p).text(*a))
    whole = np.asarray(run(stage.params, joint.ids, joint.position, sees))[0]
    packed = text(stage, ["cat", "a dog"])
    count = int((packed.ids > 0).sum())
    assert packed.ids[0, :count].tolist() == joint.ids[0, :count].tolist()
    np.testing.assert_allclose(packed.features[0, :count], whole[:count], atol=1e-5)


@pytest.mark.parametrize("size", [(75, 101), (50, 157)])
@pytest.mark.long
def test_padding_a_picture_changes_nothing(stage: gd.GroundingDinoDetector, size: tuple[int, int]) -> None:
    view = stage.view
    images = gather([picture(*size)], [view])
    rows, columns = images.views[view.key].shape[1:3]
    queries = [["cat", "dog"]]
    alone = detect(stage, images, queries)
    for fill in (0, 255):
        padded = detect(stage, placed(images, view, (rows + 64, columns + 128), fill), queries)
        same(alone, padded, max(size))


@pytest.mark.long
def test_pictures_and_captions_of_a_batch_do_not_meet(stage: gd.GroundingDinoDetector) -> None:
    pictures = [picture(75, 101, 1), picture(120, 64, 2), picture(96, 96, 3)]
    asked = [["cat", "dog"], ["a"], ["horse", "b", "c"]]
    together = detect(stage, gather(pictures, [stage.view]), asked)
    for i, (one, queries) in enumerate(zip(pictures, asked, strict=True)):
        alone = detect(stage, gather([one], [stage.view]), [queries])
        same(alone, together, max(one.pixels.shape), slice(i, i + 1))


@pytest.mark.long
def test_a_batch_of_long_and_short_captions(stage: gd.GroundingDinoDetector) -> None:
    pictures = [picture(90, 70, 1), picture(70, 90, 2)]
    asked = [["elephant", "rhinoceros", "hippopotamus", "zebra"], ["a"]]
    together = detect(stage, gather(pictures, [stage.view]), asked)
    assert all(np.isfinite(np.asarray(x)).all() for x in jax.tree.leaves(together))
    alone = detect(stage, gather(pictures[1:], [stage.view]), asked[1:])
    same(alone, together, 90, slice(1, 2))


@pytest.mark.long
def test_captions_that_are_too_long_are_read_in_parts(stage: gd.GroundingDinoDetector) -> None:
    """Two captions give what each gives alone, put together."""
    images = gather([picture(90, 70)], [stage.view])
    queries = ["elephant", "rhinoceros", "hippopotamus", "zebra"]
    packed = text(stage, queries)
    assert packed.ids.shape[0] == 2
    first, second = ([q for i, q in enumerate(queries) if (packed.query[k] == i + 1).any()] for k in (0, 1))
    assert first + second == queries
    assert first
    assert second
    _, both = detect(stage, images, [queries], n=60)
    halves = [detect(stage, images, [half], n=30)[1] for half in (first, second)]
    scores = np.concatenate([np.asarray(h.scores[0]).max(-1) for h in halves])
    np.testing.assert_allclose(both.score[0], np.sort(scores)[::-1], atol=1e-5)


@pytest.mark.long
def test_a_query_scores_what_its_words_score(stage: gd.GroundingDinoDetector) -> None:
    images = gather([picture(90, 70)], [stage.view])
    queries = ["cat", "ox"]
    packed = text(stage, queries)
    _, mean = detect(stage, images, [queries])
    _, best = detect(dataclasses.replace(stage, span="max"), images, [queries])
    for labels, how in ((mean, np.mean), (best, np.max)):
        tokens = np.asarray(labels.tokens[0, :, 0])
        for i in range(2):
            np.testing.assert_allclose(labels.scores[0, :, i], how(tokens[:, packed.query[0] == i + 1], 1), atol=1e-6)
    assert not np.allclose(mean.scores, best.scores)


@functools.cache
def pipe(stage: gd.GroundingDinoDetector, **limits: float) -> gsam.Pipeline:
    settings = {"boxes": 12, "threshold": 0.0, "nms": 1.0, "group": 1.0, **limits}
    return gsam.Pipeline(stage, **settings)


@pytest.mark.long
def test_labels_are_the_users_own_words(stage: gd.GroundingDinoDetector) -> None:
    result = pipe(stage)(picture(90, 70).pixels, {"Big CAT.": "feline", "ox": "ox"})
    assert len(result) == 12
    assert set(result.labels) <= {"feline", "ox"}
    assert result.labels == [["feline", "ox"][i] for i in result.label_ids]
    assert result.tokens[:4] == ["[CLS]", "b", "i", "g"]
    assert result.token_scores.shape == (12, len(result.tokens))


@pytest.mark.long
def test_raw_scores_in_a_batch_are_those_of_each_alone(stage: gd.GroundingDinoDetector) -> None:
    """Whatever the neighbour's captions, one or several, longer or shorter."""
    asked = [["elephant", "rhinoceros", "hippopotamus", "zebra"], ["elephant", "giraffe", "ox", "lion"], ["a"]]
    p = pipe(stage)
    pairs = [(picture(90, 70, i).pixels, queries) for i, queries in enumerate(asked)]
    for one, together in zip(pairs, p.stream(pairs, batch_size=3), strict=True):
        alone = p(*one)
        assert together.tokens == alone.tokens
        np.testing.assert_allclose(together.token_scores, alone.token_scores, atol=1e-5)


@pytest.mark.long
def test_phrases_as_the_original_decodes_them(stage: gd.GroundingDinoDetector) -> None:
    phrases = dataclasses.replace(stage, labels="phrases")
    result = pipe(phrases, text_threshold=0.5)(picture(90, 70).pixels, "cat. ox")
    assert len(result) == 12
    np.testing.assert_allclose(result.scores, result.token_scores.max(1), atol=1e-6)
    for label, scores in zip(result.labels, result.token_scores, strict=True):
        fired = [w for w, s in zip(result.tokens, scores, strict=True) if s > 0.5 and w not in ("", "[CLS]", ".")]
        assert label.split() == fired
    assert len(set(result.labels)) > 1


@pytest.mark.long
def test_a_second_query_costs_no_backbone(stage: gd.GroundingDinoDetector) -> None:
    p = gsam.Pipeline(stage, boxes=12)
    pixels = picture(90, 70).pixels
    p(pixels, "cat. dog")
    assert p.counts == {"pictures": 1, "detect texts": 3}  # two queries, and what pads them
    p(pixels, "dog. horse")
    assert p.counts == {"pictures": 1, "detect texts": 4}
    p(pixels.copy(), "cat. horse")
    assert p.counts == {"pictures": 1, "detect texts": 4}
    p(255 - pixels, "cat")
    assert p.counts == {"pictures": 2, "detect texts": 4}


def test_view() -> None:
    """Sizes as GroundingDINO's ``get_size_with_aspect_ratio``; canvases are few."""
    view = View(800, "shortest", "bilinear", 0.0, 1333)
    known = {(480, 640): (800, 1066), (1080, 1920): (750, 1333), (1000, 2500): (533, 1332), (600, 3000): (267, 1335)}
    known |= {(800, 600): (1066, 800), (1, 1): (800, 800), (800, 900): (800, 900)}
    for size, expected in known.items():
        assert content(view, size) == expected
    rng = np.random.default_rng(0)
    sizes = [tuple(rng.integers(1, 3000, 2)) for _ in range(3000)]
    canvases = {canvas(view, [s]) for s in sizes} | {canvas(view, s) for s in zip(sizes[::2], sizes[1::2], strict=True)}
    assert len(canvases) <= 30
    for size in sizes:
        rows, columns = canvas(view, [size])
        h, w = content(view, size)
        assert (rows % 64, columns % 64) == (0, 0)
        assert h <= rows
        assert w <= columns


def test_a_vocabulary_of_bert(tmp_path: Path, stage: gd.GroundingDinoDetector) -> None:
    tokenizer = load_tokenizer(small.vocabulary(tmp_path))
    own = dataclasses.replace(stage, tokenizer=tokenizer)
    rows = own.text.tokenize(["Cat", ""])
    assert rows.ids[0].tolist() == [101, 202, 300, 319, 1012, 102, 0, 0]
    caption = own.text.caption(["Cat", "ox"])
    assert caption.words[:9] == ["[CLS]", "c", "##a", "##t", ".", "o", "##x", ".", "[SEP]"]
    fires = np.isin(caption.words, ["c", "##a", "##t", "."]).astype(np.float32)
    assert caption.phrase(fires, 0.5) == "cat"
    last = np.zeros(len(caption.ids), np.float32)
    last[[4, 5, 6]] = 1.0  # the point before it fires too, and leaves its blank as in the original
    assert caption.phrase(last, 0.5) == " ox"


@pytest.mark.long
def test_published_values_are_computed(tmp_path: Path, stage: gd.GroundingDinoDetector) -> None:
    from PIL import Image

    from gsam.evaluation import published

    pixels = picture(90, 70).pixels
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    loaded = store.Loaded("grounding_dino", small.CONFIG, stage.params, small.vocabulary(tmp_path), "tiny")
    rows = [
        {"query": "a cat.", "boxes": [0.0], "tolerance": 1},
        {"query": "a cat.", "token_logits": [0.0], "tolerance": 1},
    ]
    boxes, logits = published.compare({"published": rows}, loaded, tmp_path / "picture.png")
    own = dataclasses.replace(stage, tokenizer=load_tokenizer(tmp_path))
    parts = text(own, ["a cat"])
    phrases = Phrases(*(jnp.asarray(leaf) for leaf in (parts.features, parts.block, parts.position)))
    images = gather([Picture(pixels)], [own.view])
    expected = jax.jit(lambda p, i, t: own.spec.bind(p)(own.features(p, i), t))(stage.params, images, phrases)
    np.testing.assert_allclose(boxes[2], np.ravel(expected[1][0, :3, :3]), atol=1e-4)
    np.testing.assert_allclose(logits[2], np.ravel(expected[0][0, :3, :3]), atol=1e-4)
