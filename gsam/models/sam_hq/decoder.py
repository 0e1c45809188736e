"""SAM-HQ's mask decoder: SAM's, with one token more whose mask is read from finer features.

Original: segment_anything/modeling/mask_decoder_hq.py.  The token stands between SAM's own and the
prompts, so SAM's masks change a little too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from gsam.nn.layers import ConvTranspose2x2, Embedding, LayerNorm, Mlp, gelu
from gsam.nn.mask_feature import MaskFeature
from gsam.nn.two_way import MaskDecoder, Projected
from gsam.nn.upscaling import channels_last, in_place


class Features(NamedTuple):
    """Features computed once per image."""

    image: jax.Array
    """SAM's image embedding, [..., h, w, D]."""
    hq: jax.Array
    """Finer features, [..., 4h, 4w, D/8]."""


class Finer(nnx.Module):
    """Fourfold upscaling, [..., h, w, C] -> [..., 4h, 4w, E]; a sequence in the original."""

    def __init__(self, d_in: int, d_hidden: int, d_out: int) -> None:
        self.conv1 = ConvTranspose2x2(d_in, d_hidden)
        self.norm1 = LayerNorm(d_hidden, 1e-6)
        self.conv2 = ConvTranspose2x2(d_hidden, d_out)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.conv2(gelu(self.norm1(self.conv1(x))))


class HqMaskDecoder(MaskDecoder):
    """SAM's decoder with one mask per prompt: the best of SAM's and the fine one, added."""

    def __init__(self, width: int, heads: int, hidden: int, early_width: int) -> None:
        super().__init__(width, heads, hidden)
        self.hf_token = Embedding(1, width)
        self.hf_mlp = Mlp(width, width, width // 8)
        self.compress_vit_feat = Finer(early_width, width, width // 8)
        self.embedding_encoder = Finer(width, width // 4, width // 8)
        self.embedding_maskfeature = MaskFeature(width // 8)

    def features(self, image: jax.Array, early: jax.Array) -> Features:
        """Combine an image embedding [B, h, w, D] and an early map [B, h, w, early_width]."""
        return Features(image, self.embedding_encoder(image) + self.compress_vit_feat(early))

    def __call__(  # type: ignore[override]
        self,
        features: Features,
        image_code: jax.Array,
        prompts: jax.Array,
        keep: jax.Array | None,
        dense: jax.Array,
        masks: Sequence[int] = range(4),
        projected: Projected | None = None,
        *,
        hq_token_only: bool = False,
    ) -> tuple[jax.Array, jax.Array]:
        """Decode N prompts on one image, as `MaskDecoder` does, to one mask each.

        Of the ``masks``, the one with the highest predicted IoU counts.

        Args:
            features: The image's features, without a leading axis.
            image_code: Positional encoding of the image embedding [D, h, w].
            prompts: Prompt tokens [N, P, D].
            keep: [N, P] bool: which prompt tokens exist; None for all.
            dense: Dense prompts [N or 1, h or 1, w or 1, D].
            masks: Indices of SAM's masks to choose from.
            projected: What `project` gives of the image, if that is known.
            hq_token_only: Whether to return the fine mask alone, without SAM's added.

        Returns:
            Logits [N, 1, 4h, 4w] and the predicted IoU [N, 1] of SAM's mask, both float32.
        """
        tokens, image = self.read(features.image, image_code, prompts, keep, dense, projected)
        pixels = self.output_upscaling(image)
        height = features.image.shape[0]
        iou = self.iou(tokens, masks)
        best = iou.argmax(1)[:, None]
        logits = self.fine(tokens[:, 5], channels_last(pixels, height), features.hq)[:, None].astype(jnp.float32)
        if not hq_token_only:
            hyper = jnp.take_along_axis(self.hyper(tokens, masks), best[..., None], 1)
            logits = logits + in_place(hyper, pixels, height)
        return logits, jnp.take_along_axis(iou, best, 1)

    def own_tokens(self) -> jax.Array:
        """Tokens that stand before the prompts: IoU, masks, and the fine mask."""
        return jnp.concatenate([super().own_tokens(), self.hf_token.embedding[...]])

    def fine(self, token: jax.Array, pixels: jax.Array, hq: jax.Array) -> jax.Array:
        """Decode the fine mask.

        Args:
            token: Its token [N, D].
            pixels: SAM's upscaled image [N, 4h, 4w, D/8].
            hq: The finer features [4h, 4w, D/8].

        Returns:
            Logits [N, 4h, 4w].
        """
        hyper = self.hf_mlp(token)
        return self.embedding_maskfeature(pixels, hyper) + jnp.einsum("ne,hwe->nhw", hyper, hq)
