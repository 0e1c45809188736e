"""The loss and the scores of the kinds of segmenters, traced at full size: nothing is computed."""

from __future__ import annotations

import importlib
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from gsam.training.segmenter.finetune import side_of
from gsam.training.segmenter.loss import PromptLoss
from gsam.training.segmenter.parts import POINTS, abstract, one_image, parts
from gsam.training.segmenter.prompts import Prompts, rules_for
from gsam.training.segmenter.scores import MORE, ROWS, Scorer
from gsam.training.segmenter.task import teachable

FAMILIES = (
    ("sam", "sam_vit_b", 256, 2, 7, "image_encoder/pos_embed", "prompt_encoder/no_mask_embed/embedding"),
    ("sam", "medsam_vit_b", 256, 0, 0, "image_encoder/pos_embed", "mask_decoder/mask_tokens/embedding"),
    ("sam_hq", "sam_hq_vit_tiny", 256, 2, 7, "mask_decoder/compress_vit_feat/conv1/kernel",
     "mask_decoder/hf_token/embedding"),
    ("efficient_sam", "efficient_sam_vitt", 256, 2, 3, "image_encoder/pos_embed",
     "prompt_encoder/invalid_points/embedding"),
    ("sam2", "sam2.1_hiera_tiny", 256, 2, 7, "sam_mask_decoder/conv_s0/kernel",
     "sam_mask_decoder/obj_score_token/embedding"),
)  # fmt: skip
"""Family, variant, side of its answers, lone clicks among eight prompts, corrections; a parameter
that features are made from, and one that a decoder's training changes.
"""
UNTRAINED = ("gaussian_matrix", "running_mean", "running_var", "pred_obj_score_head")
"""Parts of names of buffers, and of what no answer is made from."""


def array(*shape: int, dtype: Any = jnp.float32) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype)


@pytest.mark.parametrize(
    ("family", "variant", "side", "lone", "corrections", "frozen", "taught"), FAMILIES, ids=lambda v: str(v)[:20]
)
@pytest.mark.long
def test_a_family_has_a_loss_and_scores(
    family: str, variant: str, side: int, lone: int, corrections: int, frozen: str, taught: str
) -> None:
    module = importlib.import_module(f"gsam.models.{family}")
    stage = module.build(module.VARIANTS[variant], dict(module.spec(module.VARIANTS[variant]).shapes), None)
    rules = rules_for(stage, always_several=family == "efficient_sam")
    assert (side_of(stage), rules.lone, rules.corrections) == (side, lone, corrections)
    found = parts(stage)
    trained = found.trained("decoder")
    assert taught in trained
    assert frozen in found.features - set(trained)
    assert set(found.trained("all")) == found.features | found.answers < set(stage.params)
    assert not [name for name in found.trained("all") if any(word in name for word in UNTRAINED)]
    assert found.trained("lora") == []
    params = abstract(stage)
    like = jax.eval_shape(stage.features, params, one_image(stage))
    features = jax.tree.map(lambda x: array(2, *x.shape[1:]), like)
    prompts: Any = Prompts(
        array(2, 8, rules.points, 2), array(2, 8, rules.points, dtype=jnp.int32), array(2, 8, 4),
        array(2, 8, dtype=jnp.bool_), array(2, 8, side, side), array(2, 2), array(dtype=jnp.int32),
        array(dtype=jnp.uint32),
    )  # fmt: skip
    asked = PromptLoss(teachable(stage), rules)

    def loss(some: Any, rest: Any, features: Any, prompts: Any) -> Any:
        return asked({**rest, **some}, features, prompts)

    some = {name: params[name] for name in trained}
    (value, metrics), slopes = jax.eval_shape(jax.value_and_grad(loss, has_aux=True), some, params, features, prompts)
    assert (value.shape, value.dtype, len(slopes)) == ((), jnp.float32, len(trained))
    assert metrics.keys() == {"first", "last", "iou", "corrected"}

    scorer = Scorer(stage, rules, side)
    one = jax.tree.map(lambda x: array(*x.shape[1:]), like)
    given = (array(ROWS, POINTS + MORE, 2), array(ROWS, POINTS + MORE, dtype=jnp.int32), array(ROWS, side, side))
    given += (array(ROWS, dtype=jnp.bool_), array(ROWS, 4), array(dtype=jnp.bool_))
    for several in (False, True):
        logits = jax.eval_shape(lambda *a, s=several: scorer._answer(*a, several=s), params, one, *given)
        assert logits.shape == (ROWS, side, side)
    assert len(scorer.prompts) == (1 if variant == "medsam_vit_b" else 3)
