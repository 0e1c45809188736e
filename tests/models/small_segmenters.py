"""Small segmenters with random weights."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from gsam import bind
from gsam.models import efficient_sam, fast_sam, owl_vit, sam, sam2
from gsam.nn.tower import Tower
from tests.weights.files import random

OWL = owl_vit.Config(Tower(16, 1, 2), Tower(16, 1, 2), 32, 16, vocab=50, context=6, pad=0.0, letterbox=True)
FAST = fast_sam.Config(0.33, 0.125, 512, image_size=96)
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


def fast() -> fast_sam.FastSamSegmenter:
    """Make a FastSAM with activations of unit order and scores on both sides of a half."""
    rng, found = np.random.default_rng(3), {}
    for name, s in fast_sam.spec(FAST).shapes.items():
        noise, leaf = rng.normal(size=s.shape).astype(np.float32), name.rsplit("/", 1)[-1]
        if leaf == "kernel":
            quiet = 0.3 if name.startswith("model/22/cv3") else 1.4
            found[name] = quiet * noise / np.sqrt(np.prod(s.shape[:-1], dtype=np.float32))
        else:
            found[name] = {"running_var": 0.6, "scale": 1.0}.get(leaf, 0.0) + np.abs(0.1 * noise)
    return fast_sam.build(FAST, {k: jnp.asarray(v) for k, v in found.items()}, conf=0.5)
