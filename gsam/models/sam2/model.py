"""SAM 2 on one image (Ravi et al. 2024; original: facebookresearch/sam2)."""

from __future__ import annotations

import jax
from flax import nnx

from gsam.bind import param
from gsam.models.sam2.config import Config
from gsam.models.sam2.decoder import Answer as Answer
from gsam.models.sam2.decoder import Features as Features
from gsam.models.sam2.decoder import MaskDecoder
from gsam.models.sam2.neck import ImageEncoder
from gsam.nn.prompt import ABSENT, PromptEncoder
from gsam.nn.two_way import Projected


class Sam2Image(nnx.Module):
    """The parts of SAM 2 that images need; videos need its memory too."""

    def __init__(self, config: Config) -> None:
        self.image_encoder = ImageEncoder(config)
        self.sam_prompt_encoder = PromptEncoder(config.width, config.grid, config.image_size, config.mask_chans)
        self.sam_mask_decoder = MaskDecoder(config.width, config.decoder_heads, config.decoder_mlp, hq=config.hq)
        self.no_mem_embed = param(1, 1, config.width)
        self.config = config

    def encode(self, pixels: jax.Array) -> Features:
        """Encode normalised pixels [B, S, S, 3] as features [B, ...], without `no_mem_embed`."""
        stages, neck, decoder = self.image_encoder.trunk(pixels), self.image_encoder.neck, self.sam_mask_decoder
        s0 = neck.fine(0, stages[0], decoder.conv_s0)
        s1 = neck.fine(1, stages[1], decoder.conv_s1)
        return Features(s0, s1, neck.coarse(stages[2], stages[3]))

    def without_memory(self, features: Features) -> Features:
        """Features of an image, or of a frame without memory: `no_mem_embed` is added."""
        embedding = features.embedding
        return features._replace(embedding=embedding + self.no_mem_embed[...][0, 0].astype(embedding.dtype))

    def decode(
        self,
        features: Features,
        points: jax.Array,
        labels: jax.Array,
        mask: jax.Array | None = None,
        has_mask: jax.Array | None = None,
        projected: Projected | None = None,
        *,
        multimask: bool,
        dynamic: bool = True,
        hq_token_only: bool = False,
    ) -> Answer:
        """Decode N prompts on one image.

        Args:
            features: The image's, without a leading axis, but the embedding may be [N, h, w, D].
            points: [N, P, 2] x y in pixels of the view.
            labels: [N, P] as in `gsam.nn.prompt` (a box is two points, `TOP_LEFT` and
                `BOTTOM_RIGHT`; the original has one `PAD` after any points or boxes).
            mask: [N, 4h, 4w] logits of an earlier answer, or None.
            has_mask: [N] bool: which prompts have a mask; None for all.
            projected: What `project` gives of the image, if that is known and no prompt has a mask.
            multimask: Whether to return the masks of tokens 1 to 3, otherwise one, that of token 0.
            dynamic: Whether an unstable single mask gives way to the best of three.
            hq_token_only: Whether HQ-SAM 2 returns its finer mask alone.
        """
        prompts = self.sam_prompt_encoder.points(points, labels)
        dense = self.sam_prompt_encoder.dense(mask, has_mask)
        code = self.sam_prompt_encoder.image_code()
        keep = labels != ABSENT
        how = {"multimask": multimask, "dynamic": dynamic, "hq_token_only": hq_token_only}
        return self.sam_mask_decoder(features, code, prompts, keep, dense, **how, projected=projected)

    def project(self, embedding: jax.Array) -> Projected:
        """Project an image embedding [h, w, D] once for all prompts that have no mask."""
        prompts = self.sam_prompt_encoder
        return self.sam_mask_decoder.project(embedding, prompts.image_code(), prompts.dense(None, None))
