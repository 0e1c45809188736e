"""SAM-HQ: SAM whose decoder has one token more and reads early features (Ke et al. 2023).

Original: SysCV/sam-hq.
"""

from __future__ import annotations

import jax

from gsam.models.sam_hq.config import Config
from gsam.models.sam_hq.decoder import Features, HqMaskDecoder
from gsam.nn import sam_vit, tiny_vit
from gsam.nn.sam import Sam
from gsam.nn.tiny_vit import TinyVit


class SamHq(Sam):
    """SAM with an early map beside the image embedding, and a decoder that reads both."""

    image_encoder: sam_vit.ImageEncoder | tiny_vit.ImageEncoder
    mask_decoder: HqMaskDecoder

    def __init__(self, config: Config) -> None:
        sizes = config.encoder
        encoder = tiny_vit.ImageEncoder(sizes) if isinstance(sizes, TinyVit) else sam_vit.ImageEncoder(sizes)
        decoder = HqMaskDecoder(config.out_chans, config.decoder_heads, config.decoder_mlp, sizes.early_width)
        super().__init__(config, encoder, decoder)

    def features(self, pixels: jax.Array) -> Features:
        """Encode normalised pixels [B, S, S, 3] as what is computed once per image."""
        return self.mask_decoder.features(*self.image_encoder.with_early(pixels))
