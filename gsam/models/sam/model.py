"""SAM: image encoder, prompt encoder, mask decoder (Kirillov et al. 2023).

Original: facebookresearch/segment-anything.
"""

from __future__ import annotations

from gsam.models.sam.config import Config
from gsam.nn import sam
from gsam.nn.sam_vit import ImageEncoder


class Sam(sam.Sam):
    """SAM with its own ViT."""

    def __init__(self, config: Config) -> None:
        super().__init__(config, ImageEncoder(config))
