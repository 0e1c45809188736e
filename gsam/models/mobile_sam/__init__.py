"""MobileSAM as a segmenter: SAM's view, prompts, masks and IoU, at a fraction of the encoder."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from gsam.models.mobile_sam.config import VARIANTS as VARIANTS
from gsam.models.mobile_sam.config import Config
from gsam.models.mobile_sam.model import MobileSam
from gsam.models.mobile_sam.port import LAYOUTS as LAYOUTS
from gsam.models.sam_like import SamLikeSegmenter


@dataclasses.dataclass(frozen=True, eq=False)
class MobileSamSegmenter(SamLikeSegmenter):
    """MobileSAM with its attention biases, which some of its own scripts run without.

    See `gsam.nn.tiny_vit`.
    """

    config: Config

    module: ClassVar[type[MobileSam]] = MobileSam


spec, build = MobileSamSegmenter.spec_of, MobileSamSegmenter.from_params
