"""Sizes of CLIP."""

from __future__ import annotations

import dataclasses

from gsam.nn.tower import Tower


@dataclasses.dataclass(frozen=True)
class Config:
    """Sizes of both towers and their common space."""

    vision: Tower
    text: Tower
    projection: int
    image_size: int
    patch: int
    vocab: int = 49408
    context: int = 77
    end: int | None = None
    """Token that a text is read at, where tokens were added above it; None for the highest id."""


_B, _L = Tower(768, 12, 12), Tower(1024, 24, 16)
_TEXT_B, _TEXT_L = Tower(512, 12, 8), Tower(768, 12, 12)

VARIANTS: dict[str, Config] = {
    "clip_vit_base_patch32": Config(_B, _TEXT_B, 512, 224, 32),
    "clip_vit_base_patch16": Config(_B, _TEXT_B, 512, 224, 16),
    "clip_vit_large_patch14": Config(_L, _TEXT_L, 768, 224, 14),
    "clip_vit_large_patch14_336": Config(_L, _TEXT_L, 768, 336, 14),
    "nano_clip": Config(Tower(128, 4, 4), Tower(96, 2, 3), 96, 64, 8, vocab=192, context=8),
}
