"""The frame of SAM and its relatives: an image encoder, a prompt encoder and a mask decoder."""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol

import jax
from flax import nnx

from gsam.nn.prompt import ABSENT, PromptEncoder
from gsam.nn.two_way import MaskDecoder, Projected
from gsam.types import PyTree


class EncoderSizes(Protocol):
    """The part of an image encoder's sizes that prompts and decoder need."""

    @property
    def image_size(self) -> int: ...
    @property
    def grid(self) -> int:
        """Cells per side of the image embedding."""

    @property
    def out_chans(self) -> int: ...


class Sizes(EncoderSizes, Protocol):
    """The part of a configuration that prompts and decoder need."""

    @property
    def decoder_heads(self) -> int: ...
    @property
    def decoder_mlp(self) -> int: ...
    @property
    def mask_chans(self) -> int: ...


@dataclasses.dataclass(frozen=True)
class SamConfig:
    """Sizes of a `Sam` whose encoder may be of several kinds."""

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
    """An image encoder [B, S, S, 3] -> [B, h, w, D] with a prompt encoder and a mask decoder.

    Both are SAM's, but a mask decoder like it may be given.
    """

    def __init__(self, config: Sizes, image_encoder: nnx.Module, mask_decoder: MaskDecoder | None = None) -> None:
        self.image_encoder = image_encoder
        self.prompt_encoder = PromptEncoder(config.out_chans, config.grid, config.image_size, config.mask_chans)
        self.mask_decoder = mask_decoder or MaskDecoder(config.out_chans, config.decoder_heads, config.decoder_mlp)

    def decode(
        self,
        features: PyTree,
        points: jax.Array,
        labels: jax.Array,
        mask: jax.Array | None = None,
        has_mask: jax.Array | None = None,
        projected: Projected | None = None,
        **settings: Any,
    ) -> tuple[jax.Array, jax.Array]:
        """Decode N prompts on one image.

        Args:
            features: [h, w, D], or the pytree that the mask decoder takes.
            points: [N, P, 2] x y in pixels of the view.
            labels: [N, P] as in `gsam.nn.prompt` (a box is two points, `TOP_LEFT` and
                `BOTTOM_RIGHT`).
            mask: [N, 4h, 4w] logits of an earlier answer, or None.
            has_mask: [N] bool: which prompts have a mask; None for all.
            projected: What `project` gives of the image, if that is known and no prompt has a mask.
            **settings: Keywords of the mask decoder.

        Returns:
            Masks and predicted IoU as the mask decoder gives them.
        """
        prompts = self.prompt_encoder.points(points, labels)
        dense = self.prompt_encoder.dense(mask, has_mask)
        code = self.prompt_encoder.image_code()
        return self.mask_decoder(features, code, prompts, labels != ABSENT, dense, projected=projected, **settings)

    def project(self, embedding: jax.Array) -> Projected:
        """Project an image embedding [h, w, D] once for all prompts that have no mask."""
        prompts = self.prompt_encoder
        return self.mask_decoder.project(embedding, prompts.image_code(), prompts.dense(None, None))
