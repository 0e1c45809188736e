"""SAM: image encoder, prompt encoder, mask decoder (Kirillov et al. 2023; original: facebookresearch/segment-anything)."""

from __future__ import annotations

import jax
from flax import nnx

from gsam.nn.prompt import ABSENT, PromptEncoder
from gsam.nn.sam_vit import ImageEncoder
from gsam.nn.two_way import MaskDecoder
from gsam.segment.sam.config import Config


class Sam(nnx.Module):
    def __init__(self, config: Config) -> None:
        self.image_encoder = ImageEncoder(config)
        self.prompt_encoder = PromptEncoder(config.out_chans, config.grid, config.image_size, config.mask_chans)
        self.mask_decoder = MaskDecoder(config.out_chans, config.decoder_heads, config.decoder_mlp)

    def decode(
        self,
        features: jax.Array,
        points: jax.Array,
        labels: jax.Array,
        mask: jax.Array | None = None,
        has_mask: jax.Array | None = None,
        masks: int = 4,
    ) -> tuple[jax.Array, jax.Array]:
        """N prompts on one image.

        ``features`` [h, w, D]; ``points`` [N, P, 2] x y in pixels of the view; ``labels`` [N, P] as in `gsam.nn.prompt`
        (a box is two points, `TOP_LEFT` and `BOTTOM_RIGHT`); ``mask`` [N, 4h, 4w] logits of an earlier answer and
        ``has_mask`` [N] for which prompts it counts.  Returns the logits of the first ``masks`` masks [N, masks, 4h, 4w] and
        IoU [N, 4].
        """
        prompts = self.prompt_encoder.points(points, labels)
        dense = self.prompt_encoder.dense(mask, has_mask)
        return self.mask_decoder(features, self.prompt_encoder.image_code(), prompts, labels != ABSENT, dense, masks)
