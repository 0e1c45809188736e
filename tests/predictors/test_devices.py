"""Predictors compute where and in the type that they are told, as pipelines do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gsam
from gsam.errors import UsageError
from tests.models import small_segmenters

MADE: dict[str, Callable[..., Any]] = {
    "Predictor": lambda **given: gsam.Predictor("nano_sam", **given),
    "MaskGenerator": lambda **given: gsam.MaskGenerator("nano_sam", **given),
    "VideoPredictor": lambda **given: gsam.VideoPredictor("nano_sam2", **given),
}


def places(held: Any) -> set[jax.Device]:
    return {device for leaf in jax.tree.leaves(held) for device in leaf.devices()}


def params_of(predictor: Any) -> Any:
    """Those that it computes with, on their device."""
    if isinstance(predictor, gsam.Predictor):
        return [predictor._encode._params, predictor._decode._params]
    return predictor._engine.compiled._params if isinstance(predictor, gsam.VideoPredictor) else predictor._params


@pytest.mark.parametrize("name", MADE)
def test_device_and_dtype(name: str) -> None:
    second = jax.devices()[1]
    for device in ("cpu:1", second):
        held = params_of(MADE[name](device=device, dtype="bfloat16"))
        assert places(held) == {second}
        assert jnp.dtype(jnp.bfloat16) in {leaf.dtype for leaf in jax.tree.leaves(held)}
    held = params_of(MADE[name]())
    assert places(held) == {jax.devices()[0]}
    assert jnp.dtype(jnp.bfloat16) not in {leaf.dtype for leaf in jax.tree.leaves(held)}


def test_by_the_original_s_name() -> None:
    made = gsam.MaskGenerator.from_pretrained("nano_sam", points_per_side=3, device="cpu:1")
    assert isinstance(made, gsam.MaskGenerator)
    assert (made.name, made.settings.points_per_side, made.device) == ("nano_sam", 3, jax.devices()[1])
    tracked = gsam.VideoPredictor.from_pretrained("nano_sam2", fill_hole_area=0)
    assert isinstance(tracked, gsam.VideoPredictor)


@pytest.mark.parametrize("name", MADE)
def test_what_is_not_there(name: str) -> None:
    with pytest.raises(UsageError, match="no device 'cpu:9'") as caught:
        MADE[name](device="cpu:9")
    assert caught.value.code == "device_unavailable"
    with pytest.raises(UsageError, match="no dtype 'int7'") as caught:
        MADE[name](dtype="int7")
    assert caught.value.code == "dtype_unknown"


def test_a_built_model_has_its_type() -> None:
    built = gsam.segmenter("nano_sam", dtype="bfloat16")
    assert jnp.dtype(jnp.bfloat16) in {leaf.dtype for leaf in jax.tree.leaves(built.params)}
    for make in (gsam.Predictor, gsam.MaskGenerator):
        with pytest.raises(TypeError, match="'dtype' is for a model by name"):
            make(built, dtype="float32")
    with pytest.raises(TypeError, match="'dtype' is for a model by name"):
        gsam.VideoPredictor(gsam.tracker("nano_sam2"), dtype="float32")
    with pytest.raises(TypeError, match="'dtype' is for a model by name"):
        gsam.FastSAM(small_segmenters.fast(), dtype="float32")


def test_masks_come_from_the_device() -> None:
    """Another device's masks are the first one's, and are computed there."""
    pixels = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    masks = []
    for device in jax.devices()[:2]:
        predictor = gsam.Predictor("nano_sam", device=device)
        assert predictor.device == device
        predictor.set_image(pixels)
        assert places(predictor.get_image_embedding()) == {device}
        masks.append(predictor.predict([[40, 30]], [1])[2])
    np.testing.assert_array_equal(*masks)


def test_everything_found_by_fast_sam_comes_from_the_device() -> None:
    model = gsam.FastSAM(small_segmenters.fast(), device="cpu:2")
    assert model.device == jax.devices()[2]
    assert places(model._params) == {jax.devices()[2]}


def test_a_pipeline_s_tracker_is_where_the_pipeline_is() -> None:
    pipe = gsam.load("nano", device="cpu:3", dtype="bfloat16")
    compiled = pipe._engine.compiled
    assert places(compiled._params) == {jax.devices()[3]}
    assert jnp.dtype(jnp.bfloat16) in {leaf.dtype for leaf in jax.tree.leaves(compiled._params)}
