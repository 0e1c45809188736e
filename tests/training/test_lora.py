"""LoRA: which kernels, what is drawn, and that merging is what the paper says."""

from __future__ import annotations

import importlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsam.errors import UsageError
from gsam.training.lora import Lora
from gsam.weights.adapters import kernels_of, merge

PARAMS = {
    "image_encoder/blocks/0/attn/qkv/kernel": jnp.arange(24.0).reshape(4, 6),
    "image_encoder/blocks/0/attn/qkv/bias": jnp.zeros(6),
    "image_encoder/blocks/0/mlp/lin1/kernel": jnp.ones((4, 8)),
    "image_encoder/patch_embed/proj/kernel": jnp.ones((2, 2, 3, 4)),
    "mask_decoder/iou_prediction_head/layers/0/kernel": jnp.ones((4, 4)),
}
EXPECTED = {
    ("sam", "sam_vit_b"): 4 * 12,
    ("sam_hq", "sam_hq_vit_b"): 4 * 12,
    ("sam_hq", "sam_hq_vit_tiny"): 4 * 10,
    ("mobile_sam", "mobile_sam"): 4 * 10,
    ("efficient_sam", "efficient_sam_vitt"): 4 * 12,
    ("sam2", "sam2.1_hiera_tiny"): 4 * 12,
    ("owl_vit", "owlvit_base_patch32"): 6 * 12,
    ("clip", "clip_vit_base_patch32"): 6 * 12,
    ("siglip", "siglip_base_patch16_224"): 6 * 12 + 2,
}


@pytest.mark.parametrize(("family", "variant"), EXPECTED)
def test_the_default_kernels(family: str, variant: str) -> None:
    """Attention and MLPs of every block of the image encoder, none of the text's or decoder's."""
    module = importlib.import_module(f"gsam.models.{family}")
    found = Lora().kernels(module.spec(module.VARIANTS[variant]).shapes)
    assert len(found) == EXPECTED[family, variant]
    assert {re.split("/", name)[0] for name in found} <= {"image_encoder", "vision_model"}


def test_what_is_drawn() -> None:
    lora = Lora(rank=3)
    adapters = lora.init(PARAMS, seed=5)
    assert {name: (v.shape, v.dtype) for name, v in adapters.items()} == {
        "image_encoder/blocks/0/attn/qkv/kernel/lora_a": ((4, 3), jnp.float32),
        "image_encoder/blocks/0/attn/qkv/kernel/lora_b": ((3, 6), jnp.float32),
        "image_encoder/blocks/0/mlp/lin1/kernel/lora_a": ((4, 3), jnp.float32),
        "image_encoder/blocks/0/mlp/lin1/kernel/lora_b": ((3, 8), jnp.float32),
    }
    assert not any(v.any() for name, v in adapters.items() if name.endswith("lora_b"))
    again, other = lora.init(PARAMS, seed=5), lora.init(PARAMS, seed=6)
    left = "image_encoder/blocks/0/attn/qkv/kernel/lora_a"
    assert np.array_equal(again[left], adapters[left])
    assert not np.array_equal(other[left], adapters[left])
    alone = Lora(rank=3, targets="qkv").init(PARAMS, seed=5)
    assert list(alone) == [left, left.replace("lora_a", "lora_b")]
    assert np.array_equal(alone[left], adapters[left])
    wide = Lora(rank=64).init({"image_encoder/x/mlp/fc1/kernel": jnp.zeros((400, 8))}, 0)
    assert np.std(wide["image_encoder/x/mlp/fc1/kernel/lora_a"]) == pytest.approx(400**-0.5, rel=0.05)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("alpha", [None, 6.0])
def test_merging(alpha: float | None, dtype: jnp.dtype) -> None:
    lora = Lora(rank=2, alpha=alpha, targets="kernel$")
    params = {name: value.astype(dtype) for name, value in PARAMS.items()}
    rng = np.random.default_rng(0)
    adapters = {k: jnp.asarray(rng.normal(size=v.shape), jnp.float32) for k, v in lora.init(params, 0).items()}
    merged = jax.jit(lora.merge)(params, adapters)
    assert merged.keys() == params.keys()
    for name, value in params.items():
        assert merged[name].dtype == dtype
        if f"{name}/lora_a" not in adapters:
            assert np.array_equal(merged[name], value)
            continue
        added = np.asarray(adapters[f"{name}/lora_a"]) @ np.asarray(adapters[f"{name}/lora_b"])
        wanted = np.asarray(value, np.float32) + (3.0 if alpha else 1.0) * added.reshape(value.shape)
        assert np.allclose(np.asarray(merged[name], np.float32), wanted, atol=1e-5 if dtype == jnp.float32 else 0.1)


def test_at_first_it_is_the_base_and_learns_by_its_right_half() -> None:
    lora = Lora(rank=2, targets="qkv")
    adapters = lora.init(PARAMS, 0)
    assert all(np.array_equal(v, PARAMS[k]) for k, v in lora.merge(PARAMS, adapters).items())
    name = "image_encoder/blocks/0/attn/qkv/kernel"
    gradient = jax.grad(lambda a: (lora.merge(PARAMS, a)[name] ** 2).sum())(adapters)
    assert np.abs(gradient[f"{name}/lora_b"]).max() > 0
    assert not np.asarray(gradient[f"{name}/lora_a"]).any()  # while the right half is zero


def test_what_does_not_fit() -> None:
    for given in ({"rank": 0}, {"alpha": -1.0}, {"alpha": float("nan")}):
        with pytest.raises(UsageError) as caught:
            Lora(**given)
        assert caught.value.code == "lora_rank"
    with pytest.raises(UsageError, match="no regular expression") as caught:
        Lora(targets="(")
    assert caught.value.code == "lora_targets"
    with pytest.raises(UsageError, match=r"no kernel .* 'nothing': it has image_encoder/") as caught:
        Lora(targets="nothing").init(PARAMS, 0)
    assert caught.value.code == "lora_targets"
    adapters = Lora(targets="qkv").init(PARAMS, 0)
    with pytest.raises(ValueError, match="there is no parameter"):
        merge({}, adapters, 1.0)
    with pytest.raises(ValueError, match="its adapters"):
        merge({name: jnp.zeros((5, 6)) for name in PARAMS}, adapters, 1.0)
    with pytest.raises(ValueError, match="lora_a, and needs lora_a and lora_b"):
        kernels_of({"x/kernel/lora_a": 0})
