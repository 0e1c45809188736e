"""The sizes SAM comes in."""

from __future__ import annotations

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True)
class Config:
    width: int
    depth: int
    heads: int
    global_blocks: tuple[int, ...]
    """Which blocks attend over the whole picture; the others within windows."""
    image_size: int = 1024
    patch: int = 16
    window: int = 14
    mlp_ratio: int = 4
    out_chans: int = 256
    decoder_heads: int = 8
    decoder_mlp: int = 2048
    mask_chans: int = 16
    box_mask_prompt: float = 0.0
    """Above 0, a box without a mask prompt brings its filled self as one: this inside, minus this outside (nano)."""
    preprocess: Literal["sam", "medsam"] = "sam"
    """What was done to the pictures it was trained on, which its tensors do not show: see `gsam.models.sam.MedSamSegmenter`."""

    @property
    def grid(self) -> int:
        return self.image_size // self.patch


VARIANTS: dict[str, Config] = {
    "sam_vit_b": Config(768, 12, 12, (2, 5, 8, 11)),
    "sam_vit_l": Config(1024, 24, 16, (5, 11, 17, 23)),
    "sam_vit_h": Config(1280, 32, 16, (7, 15, 23, 31)),
    "medsam_vit_b": Config(768, 12, 12, (2, 5, 8, 11), preprocess="medsam"),
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
