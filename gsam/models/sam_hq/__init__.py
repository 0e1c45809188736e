"""SAM-HQ as a segmenter."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax

from gsam.models.sam_hq.config import VARIANTS as VARIANTS
from gsam.models.sam_hq.config import Config as Config
from gsam.models.sam_hq.decoder import Features
from gsam.models.sam_hq.model import SamHq
from gsam.models.sam_hq.port import LAYOUTS as LAYOUTS
from gsam.models.sam_like import ONE, THREE, SamLikeSegmenter
from gsam.types import Images, Params, PyTree


@dataclasses.dataclass(frozen=True, eq=False)
class SamHqSegmenter(SamLikeSegmenter):
    """SAM-HQ with one mask per prompt, as the original: SAM's and the fine one, added.

    SAM's is token 0's for ``multimask=False``, and for ``multimask=True`` the one of tokens 1 to 3
    with the highest predicted IoU; the IoU is always that of SAM's token.  transformers has a
    SAM-HQ too, whose decoder is not the original's (it upscales the image from before its
    transformer, rows and columns swapped, and gives four masks): its files are read here and give
    what the original does, its outputs are no reference.
    """

    config: Config
    hq_token_only: bool = False
    """Return the fine mask alone, without SAM's added.

    The authors recommend it for images of one object, and not for several or benchmarks.
    """

    module: ClassVar[type[SamHq]] = SamHq

    def features(self, params: Params, images: Images) -> Features:
        """Encode images as embeddings [B, h, w, D] and finer features [B, 4h, 4w, D/8].  Pure."""
        return self.spec.bind(params).features(self.pixels(params, images))

    def embedding_of(self, features: Features) -> jax.Array:
        return features.image

    def decode(
        self, model: SamHq, features: Features, points: jax.Array, labels: jax.Array, multimask: bool, **mask: PyTree
    ) -> tuple[jax.Array, jax.Array]:
        masks, only = THREE if multimask else ONE, bool(self.hq_token_only)
        return model.decode(features, points, labels, **mask, masks=masks, hq_token_only=only)


spec, build = SamHqSegmenter.spec_of, SamHqSegmenter.from_params
