"""SAM 2's mask decoder: SAM's, with finer features and a token more.

Source: sam2/modeling/sam/mask_decoder.py.

The token says whether the object is there at all, and stands before the others.  The finer features
are added to the upscaled image.  Predicted IoU goes through a sigmoid.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from gsam.nn import two_way
from gsam.nn.layers import Conv, Embedding, Mlp
from gsam.nn.mask_feature import MaskFeature
from gsam.nn.two_way import Projected
from gsam.nn.upscaling import channels_last, in_place, quadrupled

DELTA, STABLE = 0.05, 0.98
"""A mask is unstable if the IoU of its cuts at plus and minus `DELTA` is below `STABLE`."""


class Features(NamedTuple):
    """Features computed once per image.  Leading axes may be [B] or none."""

    s0: jax.Array
    """[..., 4h, 4w, D/8]."""
    s1: jax.Array
    """[..., 2h, 2w, D/4]."""
    embedding: jax.Array
    """[..., h, w, D]."""


class Answer(NamedTuple):
    """M masks for each of N prompts."""

    logits: jax.Array
    """[N, M, 4h, 4w] float32."""
    iou: jax.Array
    """[N, M] float32 in 0..1, the model's own estimate."""
    tokens: jax.Array
    """[N, M, D]: the decoder's output for each mask's token.

    For a single mask it is token 0's, also where `stable` chose another.
    """
    object_score: jax.Array
    """[N] float32 logits: above 0 the object is there.  Segmenting images ignores it."""


class MaskDecoder(two_way.MaskDecoder):
    """SAM's decoder with a token for the object's presence, and perhaps one for a finer mask."""

    def __init__(self, width: int, heads: int, hidden: int, *, hq: bool = False) -> None:
        super().__init__(width, heads, hidden)
        self.obj_score_token = Embedding(1, width)
        self.pred_obj_score_head = Mlp(width, width, 1)
        self.conv_s0 = Conv(1, width, width // 8)
        self.conv_s1 = Conv(1, width, width // 4)
        self.hq = hq
        if hq:
            self.hf_token = Embedding(1, width)
            self.hf_mlp = Mlp(width, width, width // 8)
            self.embedding_maskfeature = MaskFeature(width // 8)

    def __call__(  # type: ignore[override]
        self,
        features: Features,
        image_code: jax.Array,
        prompts: jax.Array,
        keep: jax.Array | None,
        dense: jax.Array,
        *,
        multimask: bool,
        dynamic: bool = True,
        hq_token_only: bool = False,
        projected: Projected | None = None,
    ) -> Answer:
        """Decode N prompts on one image.

        Args:
            features: Finer features of one image; the embedding is [h, w, D], or one per prompt
                [N, h, w, D].
            image_code: Positional encoding of the image embedding [D, h, w].
            prompts: Prompt tokens [N, P, D].
            keep: [N, P] bool: which prompt tokens exist; None for all.
            dense: Dense prompts [N or 1, h or 1, w or 1, D].
            multimask: Whether to return the masks of tokens 1 to 3, otherwise one, that of token 0.
            dynamic: Whether `stable` chooses the one mask.
            hq_token_only: Whether HQ-SAM 2 returns its finer mask alone, which it adds to each
                otherwise.
            projected: What `project` gives of the image, if that is known.
        """
        tokens, image = self.read(features.embedding, image_code, prompts, keep, dense, projected)
        score = self.pred_obj_score_head(tokens[:, 0])[:, 0].astype(jnp.float32)
        tokens = tokens[:, 1:]
        masks = range(1, 4) if multimask else range(4) if dynamic else range(1)
        height = features.embedding.shape[-3]
        s1, s0 = (quadrupled(x, height).astype(image.dtype) for x in (features.s1, features.s0))
        pixels = self.output_upscaling(image, (s1, s0))
        logits = in_place(self.hyper(tokens, masks), pixels, height)
        iou = jax.nn.sigmoid(self.iou(tokens, masks))
        if dynamic and not multimask:
            logits, iou = stable(logits, iou)
        if self.hq:
            finer = self.embedding_maskfeature(channels_last(pixels, height), self.hf_mlp(tokens[:, 5]))
            finer = finer[:, None].astype(jnp.float32)
            logits = jnp.broadcast_to(finer, logits.shape) if hq_token_only else logits + finer
        own = tokens[:, 2:5] if multimask else tokens[:, 1:2]
        return Answer(logits, iou, own, score)

    def own_tokens(self) -> jax.Array:
        """Tokens that stand before the prompts: presence, IoU, masks, and the finer mask."""
        finer = [self.hf_token.embedding[...]] if self.hq else []
        return jnp.concatenate([self.obj_score_token.embedding[...], super().own_tokens(), *finer])


def stable(logits: jax.Array, iou: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Choose the first of four masks, or if that is unstable the best of the others.

    Args:
        logits: [N, 4, H, W].
        iou: [N, 4] predicted.

    Returns:
        [N, 1, H, W] and [N, 1].
    """
    large, small = ((logits[:, 0] > cut).sum((1, 2), dtype=jnp.float32) for cut in (-DELTA, DELTA))
    share = jnp.where(large > 0, small / jnp.maximum(large, 1.0), 1.0)
    chosen = jnp.where(share >= STABLE, 0, 1 + iou[:, 1:].argmax(1))[:, None]
    return jnp.take_along_axis(logits, chosen[..., None, None], 1), jnp.take_along_axis(iou, chosen, 1)
