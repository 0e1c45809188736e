"""nano's segmenter as the teacher of nano's tracker, whose decoder and prompt encoder it shares but
for a token.

The tracker's image encoder is of another kind, so it is taught: its embedding is to be the
teacher's, averaged to its coarser grid, which is worth far more a step than masks alone while the
encoder knows nothing.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from gsam import bind
from gsam.models.sam.config import Config
from gsam.models.sam.model import Sam
from gsam.ops.resize import antialiased, bicubic
from gsam.ops.views import SAM_MEAN, SAM_STD
from gsam.types import Params

SHARED = {"prompt_encoder/": "sam_prompt_encoder/", "mask_decoder/": "sam_mask_decoder/"}
"""Prefixes of the parts that both have, in SAM and in SAM 2."""


@dataclasses.dataclass(frozen=True, eq=False)
class Teacher:
    """A trained SAM whose embeddings and decoder another model starts from."""

    config: Config
    spec: bind.Spec[Sam]
    params: Params

    def initialise(self, params: Params) -> Params:
        """Give a SAM 2 this SAM's prompt encoder and decoder in place of its own.

        Raises `ValueError` where the two models are not of one size.
        """
        taken = {
            there + name.removeprefix(here): value
            for name, value in self.params.items()
            for here, there in SHARED.items()
            if name.startswith(here)
        }
        misfits = sorted(k for k, v in taken.items() if k not in params or params[k].shape != v.shape)
        if misfits:
            raise ValueError(f"the teacher's decoder is not the tracker's: {', '.join(misfits[:5])}")
        return params | taken

    def embedding(self, params: Params, frames: jax.Array, grid: int) -> jax.Array:
        """Embed frames as the teacher does.

        Args:
            params: The teacher's, as the trainer hands them on.
            frames: [N, S, S, 3], 0..255; the teacher sees them at its own size.
            grid: Side of the embedding.

        Returns:
            [N, grid, grid, D].
        """
        size = self.config.image_size
        if frames.shape[1] != size:
            frames = bicubic(frames.transpose(0, 3, 1, 2), size, size).transpose(0, 2, 3, 1)
        pixels = (frames - jnp.asarray(SAM_MEAN, jnp.float32)) / jnp.asarray(SAM_STD, jnp.float32)
        known = self.spec.bind(params).image_encoder(pixels)
        return antialiased(known.transpose(0, 3, 1, 2), grid, grid).transpose(0, 2, 3, 1)
