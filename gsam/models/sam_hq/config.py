"""The sizes SAM-HQ comes in: SAM's three, and light on TinyViT."""

from __future__ import annotations

import dataclasses

from gsam.nn.tiny_vit import TinyVit


@dataclasses.dataclass(frozen=True)
class Vit:
    """The sizes of SAM's own image encoder, see `gsam.nn.sam_vit.Sizes`."""

    width: int
    depth: int
    heads: int
    global_blocks: tuple[int, ...]
    image_size: int = 1024
    patch: int = 16
    window: int = 14
    mlp_ratio: int = 4
    out_chans: int = 256

    @property
    def grid(self) -> int:
        return self.image_size // self.patch

    @property
    def early_width(self) -> int:
        """Channels of the early map, see `gsam.nn.sam_vit.ImageEncoder.with_early`."""
        return self.width


@dataclasses.dataclass(frozen=True)
class Config:
    encoder: Vit | TinyVit
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


VARIANTS: dict[str, Config] = {
    "sam_hq_vit_b": Config(Vit(768, 12, 12, (2, 5, 8, 11))),
    "sam_hq_vit_l": Config(Vit(1024, 24, 16, (5, 11, 17, 23))),
    "sam_hq_vit_h": Config(Vit(1280, 32, 16, (7, 15, 23, 31))),
    "sam_hq_vit_tiny": Config(TinyVit()),
}
