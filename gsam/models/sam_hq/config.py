"""Sizes of SAM-HQ: SAM's three, and light on TinyViT."""

from __future__ import annotations

import dataclasses

from gsam.nn.sam import SamConfig
from gsam.nn.sam_vit import VIT_B, VIT_H, VIT_L, SamVit
from gsam.nn.tiny_vit import TinyVit


@dataclasses.dataclass(frozen=True)
class Config(SamConfig):
    """Sizes of the encoder and the decoder."""

    encoder: SamVit | TinyVit


VARIANTS: dict[str, Config] = {
    "sam_hq_vit_b": Config(SamVit(*VIT_B)),
    "sam_hq_vit_l": Config(SamVit(*VIT_L)),
    "sam_hq_vit_h": Config(SamVit(*VIT_H)),
    "sam_hq_vit_tiny": Config(TinyVit()),
}
