"""MobileSAM as a segmenter: SAM's view, prompts, masks and IoU, at a fraction of the encoder."""

from __future__ import annotations

import dataclasses
from typing import Any

from gsam import bind
from gsam.models.mobile_sam.config import VARIANTS as VARIANTS
from gsam.models.mobile_sam.config import Config
from gsam.models.mobile_sam.model import MobileSam
from gsam.models.mobile_sam.port import LAYOUTS as LAYOUTS
from gsam.models.sam_like import SamLikeSegmenter
from gsam.types import Params


@dataclasses.dataclass(frozen=True, eq=False)
class MobileSamSegmenter(SamLikeSegmenter):
    """As the original with its attention biases, which some of its own scripts run without: see `gsam.nn.tiny_vit`."""

    config: Config


def spec(config: Config) -> bind.Spec[MobileSam]:
    """The model without its numbers."""
    return bind.spec(lambda: MobileSam(config))


def build(config: Config, params: Params, tokenizer: object = None, **settings: Any) -> MobileSamSegmenter:
    """A segmenter from parameters that fit ``config`` (`gsam.bind.MismatchError` if they do not)."""
    model = spec(config)
    model.check(params)
    return MobileSamSegmenter(config, model, params, **settings)
