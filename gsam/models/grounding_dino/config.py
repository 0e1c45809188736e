"""Sizes of Grounding DINO, MM-Grounding-DINO and LLMDet."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class SwinConfig:
    """Sizes of the image backbone."""

    width: int
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    window: int
    patch: int = 4
    mlp_ratio: int = 4
    out: tuple[int, ...] = (1, 2, 3)
    """Stages that are read, counted from 0; the default ones have strides 8, 16 and 32."""


@dataclasses.dataclass(frozen=True)
class BertConfig:
    """Sizes of the text backbone."""

    width: int = 768
    depth: int = 12
    heads: int = 12
    hidden: int = 3072
    vocab: int = 30522
    positions: int = 512


@dataclasses.dataclass(frozen=True)
class Config:
    """Sizes of a model."""

    swin: SwinConfig
    bert: BertConfig = BertConfig()
    width: int = 256
    encoder_layers: int = 6
    decoder_layers: int = 6
    heads: int = 8
    hidden: int = 2048
    """Width of the feed-forward parts.

    Text enhancer and fusion have half of it, and half of the heads.
    """
    levels: int = 4
    points: int = 4
    queries: int = 900
    tokens: int = 256
    """Tokens of the longest caption; more go into further passes."""
    size: int = 800
    limit: int = 1333
    """Pixels of the shorter side (``size``), and of the longer at most."""
    shared_heads: bool = True
    """Share one box head among all layers of the decoder."""
    scaled: bool = False
    """MM-Grounding-DINO: logits are divided by the root of the width, and have a learned bias."""
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    """Mean and standard deviation of RGB in 0..1, by which pixels are normalised."""


_SWIN_T = SwinConfig(96, (2, 2, 6, 2), (3, 6, 12, 24), 7)
_SWIN_B = SwinConfig(128, (2, 2, 18, 2), (4, 8, 16, 32), 12)
_SWIN_L = SwinConfig(192, (2, 2, 18, 2), (6, 12, 24, 48), 12, out=(0, 1, 2, 3))
_MM_T = Config(_SWIN_T, shared_heads=False, scaled=True)
_MM_B = Config(_SWIN_B, shared_heads=False, scaled=True)
_MM_L = Config(_SWIN_L, levels=5, shared_heads=False, scaled=True)

VARIANTS: dict[str, Config] = {
    "grounding_dino_tiny": Config(_SWIN_T),
    "grounding_dino_base": Config(_SWIN_B),
    "mm_grounding_dino_tiny_o365v1_goldg": _MM_T,
    "mm_grounding_dino_tiny_o365v1_goldg_grit": _MM_T,
    "mm_grounding_dino_tiny_o365v1_goldg_v3det": _MM_T,
    "mm_grounding_dino_tiny_o365v1_goldg_grit_v3det": _MM_T,
    "mm_grounding_dino_base_o365v1_goldg_v3det": _MM_B,
    "mm_grounding_dino_base_all": _MM_B,
    "mm_grounding_dino_large_o365v2_oiv6_goldg": _MM_L,
    "mm_grounding_dino_large_all": _MM_L,
    "llmdet_tiny": _MM_T,
    "llmdet_base": _MM_B,
    "llmdet_large": _MM_L,
}
