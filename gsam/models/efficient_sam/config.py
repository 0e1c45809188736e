"""Sizes of EfficientSAM."""

from __future__ import annotations

import dataclasses

POINTS = 6
"""Number of point tokens per prompt; absent points have tokens too, which are attended to."""


@dataclasses.dataclass(frozen=True)
class Config:
    """Sizes of the encoder and the decoder."""

    width: int
    heads: int
    depth: int = 12
    image_size: int = 1024
    patch: int = 16
    mlp_ratio: int = 4
    trained_grid: int = 14
    """Patches per side of the checkpoint's positions, which come from pretraining on 224 pixels."""
    out_chans: int = 256
    decoder_heads: int = 8
    decoder_mlp: int = 2048

    @property
    def grid(self) -> int:
        """Cells per side of the image embedding."""
        return self.image_size // self.patch


VARIANTS: dict[str, Config] = {
    "efficient_sam_vitt": Config(192, 3),
    "efficient_sam_vits": Config(384, 6),
}
