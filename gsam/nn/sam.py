"""What SAM and the models made of its parts share: how they see a picture, and an encoder, prompts and a decoder as one model."""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol

import jax
from flax import nnx

from gsam.nn.prompt import ABSENT, PromptEncoder
from gsam.nn.two_way import MaskDecoder


class EncoderSizes(Protocol):
    """What prompts and decoder need to know of an image encoder."""

    @property
    def image_size(self) -> int: ...
    @property
    def grid(self) -> int:
        """Cells of the image embedding per side."""

    @property
    def out_chans(self) -> int: ...


class Sizes(EncoderSizes, Protocol):
    """What prompts and decoder need to know of a configuration."""

    @property
    def decoder_heads(self) -> int: ...
    @property
    def decoder_mlp(self) -> int: ...
    @property
    def mask_chans(self) -> int: ...


@dataclasses.dataclass(frozen=True)
class SamConfig:
    """The sizes of a `Sam` whose encoder may be of several kinds."""

    encoder: EncoderSizes
    decoder_heads: int = 8
    decoder_mlp: int = 2048
    mask_chans: int = 16

    @property
    def image_size(self) -> int:
        return self.encoder.image_size

    @property
    def grid(self) -> int:
        return self.encoder.grid

    @property
    def out_chans(self) -> int:
        return self.encoder.out_chans


class Sam(nnx.Module):
    """An image encoder [B, S, S, 3] -> [B, h, w, D], SAM's prompt encoder and its mask decoder, or one like it."""

    def __init__(self, config: Sizes, image_encoder: nnx.Module, mask_decoder: MaskDecoder | None = None) -> None:
        self.image_encoder = image_encoder
        self.prompt_encoder = PromptEncoder(config.out_chans, config.grid, config.image_size, config.mask_chans)
        self.mask_decoder = mask_decoder or MaskDecoder(config.out_chans, config.decoder_heads, config.decoder_mlp)

    def decode(
        self,
        features: Any,
        points: jax.Array,
        labels: jax.Array,
        mask: jax.Array | None = None,
        has_mask: jax.Array | None = None,
        **settings: Any,
    ) -> tuple[jax.Array, jax.Array]:
        """N prompts on one image.

        ``features`` [h, w, D]; ``points`` [N, P, 2] x y in pixels of the view; ``labels`` [N, P] as in `gsam.nn.prompt`
        (a box is two points, `TOP_LEFT` and `BOTTOM_RIGHT`); ``mask`` [N, 4h, 4w] logits of an earlier answer and
        ``has_mask`` [N] for which prompts it counts.  ``settings`` and what is returned are the mask decoder's.
        """
        prompts = self.prompt_encoder.points(points, labels)
        dense = self.prompt_encoder.dense(mask, has_mask)
        code = self.prompt_encoder.image_code()
        return self.mask_decoder(features, code, prompts, labels != ABSENT, dense, **settings)
