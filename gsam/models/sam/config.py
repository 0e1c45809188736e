"""Sizes of SAM, and of MedSAM, which is its ViT-B."""

from __future__ import annotations

import dataclasses
from typing import Literal

from gsam.nn.sam_vit import VIT_B, VIT_H, VIT_L, SamVit


@dataclasses.dataclass(frozen=True)
class Config(SamVit):
    """Sizes of the encoder and the decoder."""

    decoder_heads: int = 8
    decoder_mlp: int = 2048
    mask_chans: int = 16
    box_mask_prompt: float = 0.0
    """Logit of the mask prompt that a box brings along inside it, its negative outside (nano).

    0 for none.
    """
    preprocess: Literal["sam", "medsam"] = "sam"
    """Preparation of the images that the model was trained on, which its tensors do not show.

    See `gsam.models.sam.MedSamSegmenter`.
    """


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
