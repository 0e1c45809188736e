"""Sizes of SAM 2, SAM 2.1 and HQ-SAM 2."""

from __future__ import annotations

import dataclasses

STRIDE = 4
"""Pixels per side of a token of the first stage; it doubles from stage to stage."""


@dataclasses.dataclass(frozen=True)
class Config:
    """Sizes of a model."""

    embed: int
    """Width of the first stage.

    Width and heads double, and the side halves, from stage to stage.
    """
    heads: int
    """Heads of the first stage."""
    stages: tuple[int, ...]
    """Number of blocks of each of the four stages."""
    global_blocks: tuple[int, ...]
    """Indices of the blocks that attend over the whole image; the others within windows."""
    v21: bool = False
    """SAM 2.1, which differs from SAM 2 in its memory and not on images.

    Memory knows that an object is absent (``no_obj_embed_spatial``), and pointers know their time
    (``obj_ptr_tpos_proj``, signed distances).
    """
    hq: bool = False
    """HQ-SAM 2, which has one token more, whose finer mask is added."""
    background: int = 7
    """Side of the positions that are enlarged to the whole image."""
    window_spec: tuple[int, ...] = (8, 4, 14, 7)
    """Windows of each stage, in its tokens per side.

    Those of the first are also the side of the positions repeated in each window.
    """
    image_size: int = 1024
    mlp_ratio: int = 4
    width: int = 256
    """Width of the image embedding, the prompts and the decoder."""
    decoder_heads: int = 8
    decoder_mlp: int = 2048
    mask_chans: int = 16
    num_maskmem: int = 7
    """Frames of memory, the one or those with prompts among them."""
    mem_dim: int = 64
    """Width of the memory."""
    memory_layers: int = 4
    memory_mlp: int = 2048
    max_obj_ptrs: int = 16
    """Frames whose object pointers are remembered."""

    @property
    def side(self) -> int:
        """Tokens of the first stage per side."""
        return self.image_size // STRIDE

    @property
    def grid(self) -> int:
        """Cells of the image embedding per side."""
        return self.side // 4


_TINY = Config(96, 1, (1, 2, 7, 2), (5, 7, 9))
_SMALL = Config(96, 1, (1, 2, 11, 2), (7, 10, 13))
_BASE_PLUS = Config(112, 2, (2, 3, 16, 3), (12, 16, 20), background=14)
_LARGE = Config(144, 2, (2, 6, 36, 4), (23, 33, 43), window_spec=(8, 4, 16, 8))
NANO = Config(
    32,
    1,
    (1, 2, 6, 1),
    (5, 8),
    v21=True,
    background=4,
    window_spec=(8, 4, 14, 7),
    image_size=224,
    width=64,
    decoder_heads=4,
    decoder_mlp=256,
    mem_dim=32,
    memory_layers=2,
    memory_mlp=256,
)
_SIZES = {"tiny": _TINY, "small": _SMALL, "base_plus": _BASE_PLUS, "large": _LARGE}

VARIANTS: dict[str, Config] = {
    f"{name}_hiera_{size}": dataclasses.replace(config, v21=name == "sam2.1")
    for name in ("sam2", "sam2.1")
    for size, config in _SIZES.items()
} | {"sam2.1_hq_hiera_large": dataclasses.replace(_LARGE, v21=True, hq=True), "nano_sam2": NANO}
