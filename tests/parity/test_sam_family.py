"""MobileSAM and SAM-HQ in small configurations against torch, and that the references are what they
claim to be.
"""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch

from benchmarks.harness.oracles import sam_family
from benchmarks.harness.oracles.compare import Row
from benchmarks.harness.oracles.sam_family import HQ, LIGHT, MOBILE, TINY_VIT
from gsam.models import mobile_sam, sam_hq
from gsam.nn import sam_vit
from gsam.nn.tiny_vit import TinyVit
from tests.weights.files import LISTS

VARIANTS = mobile_sam.VARIANTS | sam_hq.VARIANTS


def check(rows: list[Row], count: int) -> None:
    wrong = [row for row in rows if not row.difference <= row.limit]
    assert len(rows) == count
    assert not wrong, wrong


def pixels(side: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(1, side, side, 3)).astype(np.float32)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_reference_has_the_tensors_of_the_official_file(variant: str) -> None:
    with torch.device("meta"):
        ours = {k: list(v.shape) for k, v in sam_family.model(VARIANTS[variant]).state_dict().items()}
    assert ours == LISTS[variant]["keys"]


@pytest.mark.long
def test_mobile_sam(tmp_path: Path) -> None:
    model = sam_family.seed(sam_family.model(MOBILE))
    check(sam_family.compare_mobile_sam(model, tmp_path, pixels(160), MOBILE), 6)


@pytest.mark.long
def test_sam_hq(tmp_path: Path) -> None:
    check(sam_family.compare_sam_hq(sam_family.seed(sam_family.model(HQ)), tmp_path, pixels(80), HQ), 11)


def test_light_sam_hq(tmp_path: Path) -> None:
    check(sam_family.compare_light_sam_hq(sam_family.seed(sam_family.model(LIGHT)), tmp_path, pixels(160), LIGHT), 4)


def test_hugging_face_weights_of_sam_hq(tmp_path: Path) -> None:
    check(sam_family.compare_hugging_face(tmp_path, pixels(80)), 4)


def test_without_attention_biases_it_is_another_model(tmp_path: Path) -> None:
    """MobileSAM's own trap: a comparison that the table does not matter to would not see it."""
    model = sam_family.seed(sam_family.model(MOBILE))
    stage = sam_family.load(model, tmp_path, MOBILE)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith("attention_biases"):
                p.zero_()
    rows, *_ = sam_family.compare_encoder(model, stage, pixels(160))
    assert all(row.difference > 1000 * row.limit for row in rows)


@pytest.mark.parametrize(("variant", "first"), [("sam_hq_vit_b", 2), ("sam_hq_vit_l", 5), ("sam_hq_vit_h", 7)])
def test_the_early_map_is_that_of_the_first_global_block(variant: str, first: int) -> None:
    """As far as only the sizes say; that its output is the map, the comparisons see."""
    with torch.device("meta"):
        model = sam_family.model(VARIANTS[variant])
    encoder = sam_vit.ImageEncoder(VARIANTS[variant].encoder)
    assert encoder.early == first == [b.window for b in model.image_encoder.blocks].index(0)
    assert [b.attn.window for b in encoder.blocks] == [b.window for b in model.image_encoder.blocks]


@pytest.mark.long
def test_light_s_early_map_is_160_wide() -> None:
    spec = sam_hq.spec(sam_hq.VARIANTS["sam_hq_vit_tiny"])
    shapes = jax.eval_shape(
        lambda p, x: spec.bind(p).features(x), dict(spec.shapes), jax.ShapeDtypeStruct((1, 1024, 1024, 3), jnp.float32)
    )
    assert (shapes.image.shape, shapes.hq.shape) == ((1, 64, 64, 256), (1, 256, 256, 32))
    assert spec.shapes["mask_decoder/compress_vit_feat/conv1/kernel"].shape == (2, 2, 160, 256)
    assert TinyVit().grid == 64
    assert TINY_VIT.grid == 10


def test_the_best_of_three_is_chosen_by_iou(tmp_path: Path) -> None:
    """Of every token in turn: the reference is told which is best by the IoU head's bias, and so
    are we.
    """
    model = sam_family.seed(sam_family.model(HQ))
    draw = torch.Generator().manual_seed(0)
    image, hq = torch.randn(1, 32, 10, 10, generator=draw), torch.randn(1, 4, 40, 40, generator=draw)
    features = sam_hq.Features(*(jnp.asarray(x[0].movedim(0, -1).numpy()) for x in (image, hq)))
    found = []
    for token in (1, 2, 3):
        with torch.no_grad():
            model.mask_decoder.iou_prediction_head.layers[2].bias.copy_(10.0 * (torch.arange(4) == token))
        stage = sam_family.load(model, tmp_path, HQ)
        check(sam_family.compare_hq_masks(model, stage, image, hq), 7)
        found.append(sam_family.answers(HQ, stage.params, features, True)[0])
    assert min(np.abs(found[a] - found[b]).max() for a, b in ((0, 1), (0, 2), (1, 2))) > 0.1


@pytest.mark.long
def test_half_precision_of_tiny_vit() -> None:
    """bfloat16 weights run in bfloat16, and give about what float32 does."""
    params = sam_family.below(sam_family.parameters(sam_family.seed(sam_family.model(MOBILE)), MOBILE))
    half = {k: v.astype(jnp.bfloat16) for k, v in params.items()}
    x = jnp.asarray(pixels(160))
    exact, rough = sam_family.encoder(TINY_VIT)(params, x), sam_family.encoder(TINY_VIT)(half, x.astype(jnp.bfloat16))
    for a, b in zip(rough, exact, strict=True):
        assert a.dtype == jnp.bfloat16
        assert 1e-6 < float((a.astype(jnp.float32) - b).std() / b.std()) < 0.1


def test_half_precision_of_the_fine_mask() -> None:
    """Features and prompts too; logits and IoU stay float32."""
    params = sam_family.parameters(sam_family.seed(sam_family.model(HQ)), HQ)
    half = {k: v if k.endswith("gaussian_matrix") else v.astype(jnp.bfloat16) for k, v in params.items()}
    image, hq = (np.random.default_rng(1).normal(size=s) for s in ((10, 10, 32), (40, 40, 4)))
    features = [sam_hq.Features(jnp.asarray(image, d), jnp.asarray(hq, d)) for d in (jnp.float32, jnp.bfloat16)]
    full, _ = sam_family.answers(HQ, params, features[0], True)
    logits, iou = sam_family.answers(HQ, half, features[1], True)
    assert (logits.dtype, iou.dtype) == (np.float32, np.float32)
    assert 1e-6 < np.abs(logits - full).std() / full.std() < 0.1
