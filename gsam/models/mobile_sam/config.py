"""Size of MobileSAM; there is one."""

from __future__ import annotations

import dataclasses

from gsam.nn.sam import SamConfig
from gsam.nn.tiny_vit import TinyVit


@dataclasses.dataclass(frozen=True)
class Config(SamConfig):
    encoder: TinyVit


VARIANTS: dict[str, Config] = {"mobile_sam": Config(TinyVit())}
