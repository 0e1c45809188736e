"""The sizes SAM comes in."""

from __future__ import annotations

import dataclasses
from typing import Literal

from gsam.nn.sam_vit import VIT_B, VIT_H, VIT_L, SamVit


@dataclasses.dataclass(frozen=True)
class Config(SamVit):
    """The encoder's sizes and the decoder's."""

    decoder_heads: int = 8
    decoder_mlp: int = 2048
    mask_chans: int = 16
    box_mask_prompt: float = 0.0
    """Above 0, a box without a mask prompt brings its filled self as one: this inside, minus this outside (nano)."""
    preprocess: Literal["sam", "medsam"] = "sam"
    """What was done to the pictures it was trained on, which its tensors do not show: see `gsam.models.sam.MedSamSegmenter`."""


VARIANTS: dict[str, Config] = {
    "sam_vit_b": Config(*VIT_B),
    "sam_vit_l": Config(*VIT_L),
    "sam_vit_h": Config(*VIT_H),
    "medsam_vit_b": Config(*VIT_B, preprocess="medsam"),
    "nano_sam": Config(
        128,
        4,
        4,
        (1, 3),
        image_size=160,
        patch=8,
        window=10,
        out_chans=64,
        decoder_heads=4,
        decoder_mlp=256,
        box_mask_prompt=6.0,
    ),
}
