"""Sizes of SigLIP and SigLIP 2, of the models with one resolution each."""

from __future__ import annotations

import dataclasses
from typing import Literal

from gsam.nn.tower import Tower


@dataclasses.dataclass(frozen=True)
class Config:
    """Sizes of both towers, and the version."""

    vision: Tower
    text: Tower
    image_size: int
    patch: int
    vocab: int = 32000
    context: int = 64
    version: Literal[1, 2] = 1
    """Version of SigLIP, which decides how text is normalised and padded."""

    @property
    def grid(self) -> int:
        """Patches per side; pixels that fill no patch are left out."""
        return self.image_size // self.patch

    @property
    def pad(self) -> int:
        """Token that pads text: SigLIP's end mark, SigLIP 2's zero."""
        return 1 if self.version == 1 else 0


def tower(width: int, depth: int, heads: int, mlp: int = 0) -> Tower:
    """Sizes of a tower with SigLIP's activation and eps."""
    return Tower(width, depth, heads, mlp=mlp, act="gelu_tanh", eps=1e-6)


_SIZES = {"base": tower(768, 12, 12), "large": tower(1024, 24, 16), "so400m": tower(1152, 27, 16, 4304)}


def _one(version: Literal[1, 2], size: str, patch: int, image: int) -> Config:
    return Config(_SIZES[size], _SIZES[size], image, patch, 32000 if version == 1 else 256000, version=version)


VARIANTS: dict[str, Config] = {
    "siglip_base_patch16_224": _one(1, "base", 16, 224),
    "siglip_base_patch16_256": _one(1, "base", 16, 256),
    "siglip_base_patch16_384": _one(1, "base", 16, 384),
    "siglip_base_patch16_512": _one(1, "base", 16, 512),
    "siglip_large_patch16_256": _one(1, "large", 16, 256),
    "siglip_large_patch16_384": _one(1, "large", 16, 384),
    "siglip_so400m_patch14_384": _one(1, "so400m", 14, 384),
    "siglip2_base_patch16_224": _one(2, "base", 16, 224),
    "siglip2_base_patch16_256": _one(2, "base", 16, 256),
    "siglip2_base_patch16_384": _one(2, "base", 16, 384),
    "siglip2_base_patch16_512": _one(2, "base", 16, 512),
    "siglip2_large_patch16_256": _one(2, "large", 16, 256),
    "siglip2_large_patch16_384": _one(2, "large", 16, 384),
    "siglip2_large_patch16_512": _one(2, "large", 16, 512),
    "siglip2_so400m_patch14_224": _one(2, "so400m", 14, 224),
    "siglip2_so400m_patch14_384": _one(2, "so400m", 14, 384),
}
