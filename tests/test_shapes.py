"""Every official size, traced without a number: inputs in, shapes out, through the stages a pipeline uses."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

from gsam.classify import clip
from gsam.detect import owl_vit
from gsam.segment import sam
from gsam.types import Boxes, Images, Labels, Scene, Text, View

B, N, C = 2, 5, 8


def shape(*dims: int, dtype=jnp.float32) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(dims, dtype)


def images(view: View) -> Images:
    pixels = shape(B, view.size, view.size, 3, dtype=jnp.dtype(view.dtype))
    whole = shape(B, 2, dtype=jnp.int32)
    return Images({view.key: pixels}, {view.key: whole}, whole)


def found() -> Boxes:
    return Boxes(shape(B, N, 4), shape(B, N), shape(B, N, dtype=jnp.bool_))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("name", owl_vit.VARIANTS)
def test_owl(name: str, dtype) -> None:
    config = owl_vit.VARIANTS[name]
    spec = owl_vit.spec(config)
    params = {k: shape(*s.shape, dtype=dtype) for k, s in spec.shapes.items()}
    stage = owl_vit.Stage(config, spec, params)
    text = jax.eval_shape(stage.embed, params, shape(C, config.context, dtype=jnp.int32))
    assert text.shape == (C, config.text.width)
    valid = shape(C, dtype=jnp.bool_)
    boxes, labels = jax.eval_shape(lambda *a: stage.detect(*a, 300), params, images(stage.view), text, valid)
    assert (boxes.xyxy.shape, boxes.xyxy.dtype) == ((B, 300, 4), jnp.float32)
    assert (labels.scores.shape, labels.scores.dtype) == ((B, 300, C), jnp.float32)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("name", sam.VARIANTS)
def test_sam(name: str, dtype) -> None:
    config = sam.VARIANTS[name]
    spec = sam.spec(config)
    params = {k: shape(*s.shape, dtype=dtype) for k, s in spec.shapes.items()}
    stage = sam.Stage(config, spec, params)
    features = jax.eval_shape(stage.features, params, images(stage.view))
    assert (features.shape, features.dtype) == ((B, config.grid, config.grid, config.out_chans), dtype)
    masks = jax.eval_shape(stage.segment, params, features, images(stage.view), found())
    assert (masks.logits.shape, masks.logits.dtype) == ((B, N, 4 * config.grid, 4 * config.grid), jnp.float32)
    assert masks.iou.shape == (B, N)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("name", clip.VARIANTS)
def test_clip(name: str, dtype) -> None:
    config = clip.VARIANTS[name]
    spec = clip.spec(config)
    params = {k: shape(*s.shape, dtype=dtype) for k, s in spec.shapes.items()}
    stage = clip.Stage(config, spec, params, negatives=("background",))
    ids = {n: shape(k, config.context, dtype=jnp.int32) for n, k in (("ids", C), ("negatives", 1))}
    text = jax.eval_shape(stage.embed, params, ids | {"allowed": shape(1, dtype=jnp.bool_)})
    assert text["queries"].shape == (C, config.projection)
    labels = Labels(shape(B, N, dtype=jnp.int32), shape(B, N), shape(B, N, C))
    valid = shape(C, dtype=jnp.bool_)
    scene = Scene(images(stage.view), Text({}, valid, shape(C), shape(), shape(), shape()), found(), labels)
    out = jax.eval_shape(stage.classify, params, scene, text, valid)
    assert (out.labels.scores.shape, out.labels.scores.dtype) == ((B, N, C), jnp.float32)
    assert out.boxes.valid.shape == (B, N)
