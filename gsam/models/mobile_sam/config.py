"""The sizes MobileSAM comes in: one."""

from __future__ import annotations

import dataclasses

from gsam.nn.tiny_vit import TinyVit


@dataclasses.dataclass(frozen=True)
class Config:
    encoder: TinyVit
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


VARIANTS: dict[str, Config] = {"mobile_sam": Config(TinyVit())}
