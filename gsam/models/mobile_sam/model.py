"""MobileSAM: TinyViT with SAM's prompts and decoder (Zhang et al.

2023; original: ChaoningZhang/MobileSAM).
"""

from __future__ import annotations

from gsam.models.mobile_sam.config import Config
from gsam.nn.sam import Sam
from gsam.nn.tiny_vit import ImageEncoder


class MobileSam(Sam):
    """SAM with TinyViT as its image encoder."""

    def __init__(self, config: Config) -> None:
        super().__init__(config, ImageEncoder(config.encoder))
