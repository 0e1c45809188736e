"""SAM-HQ as a segmenter."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax

from gsam import bind
from gsam.models.sam_hq.config import VARIANTS as VARIANTS
from gsam.models.sam_hq.config import Config as Config
from gsam.models.sam_hq.config import Vit as Vit
from gsam.models.sam_hq.decoder import Features
from gsam.models.sam_hq.model import SamHq
from gsam.models.sam_hq.port import LAYOUTS as LAYOUTS
from gsam.models.sam_like import ONE, THREE, SamLikeSegmenter
from gsam.types import Images, Params


@dataclasses.dataclass(frozen=True, eq=False)
class SamHqSegmenter(SamLikeSegmenter):
    """One mask a prompt, as the original: SAM's and the fine one, added.

    SAM's is token 0's for ``multimask=False``, and for ``multimask=True`` the one of tokens 1 to 3 with the highest predicted
    IoU; the IoU is always that of SAM's token.  transformers has a SAM-HQ too, whose decoder is not the original's (it
    upscales the image from before its transformer, rows and columns swapped, and gives four masks): its files are read
    here and give what the original does, its outputs are no reference.
    """

    config: Config
    hq_token_only: bool = False
    """The fine mask alone.  The authors recommend it for pictures of one object, and not for several or benchmarks."""

    def features(self, params: Params, images: Images) -> Features:
        """The image embedding [B, h, w, D] and the finer features [B, 4h, 4w, D/8]."""
        return self.spec.bind(params).features(self.pixels(params, images))

    def decode(
        self, model: SamHq, features: Features, points: jax.Array, labels: jax.Array, multimask: bool, **mask: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        masks, only = THREE if multimask else ONE, bool(self.hq_token_only)
        return model.decode(features, points, labels, **mask, masks=masks, hq_token_only=only)


def spec(config: Config) -> bind.Spec[SamHq]:
    """The model without its numbers."""
    return bind.spec(lambda: SamHq(config))


def build(config: Config, params: Params, tokenizer: object = None, **settings: Any) -> SamHqSegmenter:
    """A segmenter from parameters that fit ``config`` (`gsam.bind.MismatchError` if they do not)."""
    model = spec(config)
    model.check(params)
    return SamHqSegmenter(config, model, params, **settings)
