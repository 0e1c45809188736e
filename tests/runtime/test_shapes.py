"""Every official size, traced without a number: inputs in, shapes out, through the stages a
pipeline uses.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

from gsam.models import clip, grounding_dino, owl_vit, sam, siglip
from gsam.text.packed import Captions, PhraseTokens, RegionText
from gsam.types import Boxes, Images, Labels, Masks, Scene, Text, Thresholds, View
from gsam.weights.rules import precision

B, N, C = 2, 5, 8


def shape(*dims: int, dtype=jnp.float32) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(dims, dtype)


def images(view: View) -> Images:
    pixels = shape(B, view.size, view.size, 3, dtype=jnp.dtype(view.dtype))
    whole = shape(B, 2, dtype=jnp.int32)
    return Images({view.key: pixels}, {view.key: whole}, whole)


def found() -> Boxes:
    return Boxes(shape(B, N, 4), shape(B, N, dtype=jnp.bool_))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("name", owl_vit.VARIANTS)
@pytest.mark.long
def test_owl(name: str, dtype) -> None:
    config = owl_vit.VARIANTS[name]
    spec = owl_vit.spec(config)
    params = {k: shape(*s.shape, dtype=dtype) for k, s in spec.shapes.items()}
    stage = owl_vit.OwlDetector(config, spec, params)
    text = jax.eval_shape(stage.embed, params, shape(C, config.context, dtype=jnp.int32))
    assert text.shape == (C, config.text.width)
    asked = shape(B, *text.shape, dtype=text.dtype)
    boxes, labels = jax.eval_shape(
        lambda *a: stage.detect(*a, 300), params, images(stage.view), asked, shape(B, C, dtype=jnp.bool_)
    )
    assert (boxes.xyxy.shape, boxes.xyxy.dtype) == ((B, 300, 4), jnp.float32)
    assert (labels.scores.shape, labels.scores.dtype) == ((B, 300, C), jnp.float32)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["grounding_dino_tiny", "grounding_dino_base", "mm_grounding_dino_tiny_o365v1_goldg"])
@pytest.mark.long
def test_grounding_dino(name: str, dtype) -> None:
    config = grounding_dino.VARIANTS[name]
    spec = grounding_dino.spec(config)
    params = {k: shape(*s.shape, dtype=dtype) for k, s in spec.shapes.items()}
    stage = grounding_dino.GroundingDinoDetector(config, spec, params)
    whole = shape(B, 2, dtype=jnp.int32)
    seen = Images({stage.view.key: shape(B, 832, 1088, 3, dtype=jnp.uint8)}, {stage.view.key: whole}, whole)
    tokens = PhraseTokens(*[shape(C, 16, dtype=jnp.int32)] * 3)
    features = jax.eval_shape(stage.embed, params, tokens).features
    assert (features.shape, features.dtype) == ((C, 16, 256), dtype)
    text = Captions(*[shape(B, 2, 64, dtype=jnp.int32)] * 4, shape(B, 2, 64, 256, dtype=dtype))
    valid = shape(B, C, dtype=jnp.bool_)
    boxes, labels = jax.eval_shape(lambda *a: stage.detect(*a, 300), params, seen, text, valid)
    assert (boxes.xyxy.shape, boxes.xyxy.dtype) == ((B, 300, 4), jnp.float32)
    assert (labels.scores.shape, labels.scores.dtype) == ((B, 300, C), jnp.float32)
    assert labels.tokens.shape == (B, 300, 2, 64)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("name", sam.VARIANTS)
@pytest.mark.long
def test_sam(name: str, dtype) -> None:
    config = sam.VARIANTS[name]
    spec = sam.spec(config)
    params = {k: shape(*s.shape, dtype=dtype) for k, s in spec.shapes.items()}
    stage = sam.SamSegmenter(config, spec, params)
    features = jax.eval_shape(stage.features, params, images(stage.view))
    assert (features.shape, features.dtype) == ((B, config.grid, config.grid, config.out_chans), dtype)
    masks = jax.eval_shape(stage.segment, params, features, images(stage.view), found())
    assert (masks.logits.shape, masks.logits.dtype) == ((B, N, 4 * config.grid, 4 * config.grid), jnp.float32)
    assert masks.iou.shape == (B, N)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize(("family", "name"), [(f, n) for f in (clip, siglip) for n in f.VARIANTS])
@pytest.mark.long
def test_classifiers_of_regions(family, name: str, dtype) -> None:
    config = family.VARIANTS[name]
    spec = family.spec(config)
    params = {k: shape(*s.shape, dtype=precision(k, dtype)) for k, s in spec.shapes.items()}
    stage = family.build(config, params, background=0.0)
    width = getattr(config, "projection", config.vision.width)
    for sentences in (1, 7):
        text = jax.eval_shape(stage.embed, params, shape(C, sentences, config.context, dtype=jnp.int32))
        assert text.shape == (C, width)
    queries, negatives = (shape(B, n, width, dtype=text.dtype) for n in (C, 3))
    against = RegionText(queries, negatives, shape(B, 3, dtype=jnp.bool_))
    labels = Labels(shape(B, N, dtype=jnp.int32), shape(B, N), shape(B, N, C))
    valid = shape(B, C, dtype=jnp.bool_)
    thresholds = Thresholds(*[shape()] * 6)
    masks = Masks(shape(B, N, 64, 64), shape(B, N), shape(B, N, 2))
    scene = Scene(images(stage.view), Text({}, valid), thresholds, found(), labels, masks)
    out = jax.eval_shape(stage.classify, params, scene, against, valid)
    assert (out.labels.scores.shape, out.labels.scores.dtype) == ((B, N, C), jnp.float32)
    assert out.boxes.valid.shape == (B, N)
