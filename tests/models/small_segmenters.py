"""Small segmenters with random weights."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from gsam import bind
from gsam.models import efficient_sam, owl_vit, sam, sam2
from gsam.nn.tower import Tower
from tests.weights.files import random

OWL = owl_vit.Config(Tower(16, 1, 2), Tower(16, 1, 2), 32, 16, vocab=50, context=6, pad=0.0, letterbox=True)
EFFICIENT = efficient_sam.Config(24, 2, 1, image_size=64, patch=8, out_chans=16, decoder_heads=2, decoder_mlp=32)
MEDSAM = sam.Config(
    32, 2, 2, (1,), image_size=64, patch=8, window=4, out_chans=16, decoder_heads=2, decoder_mlp=32, preprocess="medsam"
)
SAM2 = sam2.Config(
    8,
    1,
    (1, 1, 2, 1),
    (3,),
    background=3,
    window_spec=(4, 4, 4, 2),
    image_size=64,
    width=16,
    decoder_heads=2,
    decoder_mlp=32,
)


def params(spec: bind.Spec[Any]) -> dict[str, Any]:
    """Random numbers that keep activations at unit order, without compiling anything."""
    found = random(spec.shapes)
    for name, value in found.items():
        leaf = name.rsplit("/", 1)[-1]
        if leaf == "kernel":
            found[name] = value / jnp.sqrt(jnp.float32(value[..., 0].size))
        elif leaf in ("scale", "bias"):
            found[name] = 0.1 * value + (leaf == "scale")
    return found


def efficient() -> efficient_sam.EfficientSamSegmenter:
    return efficient_sam.build(EFFICIENT, params(efficient_sam.spec(EFFICIENT)))


def sam_2(**settings: Any) -> sam2.Sam2Segmenter:
    return sam2.build(SAM2, params(sam2.spec(SAM2)), **settings)


def medsam() -> sam.MedSamSegmenter:
    stage = sam.build(MEDSAM, params(sam.spec(MEDSAM)))
    assert isinstance(stage, sam.MedSamSegmenter)
    return stage
