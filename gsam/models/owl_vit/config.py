"""Sizes of OWL-ViT and OWLv2."""

from __future__ import annotations

import dataclasses

from gsam.nn.tower import Tower


@dataclasses.dataclass(frozen=True)
class Config:
    """Sizes of a model, and the padding of its images."""

    vision: Tower
    text: Tower
    image_size: int
    patch: int
    objectness: bool = True
    """OWLv2's head for "is this an object"; OWL-ViT has none."""
    vocab: int = 49408
    context: int = 16
    pad: float = 127.5
    """Grey of the padding to a square, 0..255 (Scenic: 0.5 of 1)."""
    letterbox: bool = False
    """Scale by Pillow's bilinear before padding (nano).

    Scenic pads to a square first, then scales with anti-aliasing on floats.
    """


_B, _L = Tower(768, 12, 12), Tower(1024, 24, 16)
_TEXT_B, _TEXT_L = Tower(512, 12, 8), Tower(768, 12, 12)
_V2_B = Config(_B, _TEXT_B, 960, 16)
_V2_L = Config(_L, _TEXT_L, 1008, 14)

VARIANTS: dict[str, Config] = {
    "owlvit_base_patch32": Config(_B, _TEXT_B, 768, 32, objectness=False),
    "owlvit_base_patch16": Config(_B, _TEXT_B, 768, 16, objectness=False),
    "owlvit_large_patch14": Config(_L, _TEXT_L, 840, 14, objectness=False),
    "owlv2_base_patch16": _V2_B,
    "owlv2_base_patch16_finetuned": _V2_B,
    "owlv2_base_patch16_ensemble": _V2_B,
    "owlv2_large_patch14": _V2_L,
    "owlv2_large_patch14_finetuned": _V2_L,
    "owlv2_large_patch14_ensemble": _V2_L,
    "nano_owl": Config(Tower(192, 5, 6, 3), Tower(96, 2, 3), 240, 16, vocab=192, context=8, pad=0.0, letterbox=True),
}
