"""SAM's checkpoints: the original ``.pth`` and the Hugging Face layout."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gsam.models.sam.config import Config
from gsam.weights import sam
from gsam.weights.rules import Layout

LAYOUTS = (
    Layout("original", sam.ORIGINAL, unused=sam.ORIGINAL_UNUSED, transposed=sam.TRANSPOSED),
    Layout("hugging_face", sam.HUGGING_FACE, tied=sam.HUGGING_FACE_TIED, transposed=sam.TRANSPOSED),
)

MODEL_TYPES = ("sam",)


def config_from_hf(values: Mapping[str, Any]) -> Config:
    """A Hugging Face ``config.json`` as our sizes; what it leaves out is ViT-B's."""
    vision, prompt, decoder = (values.get(f"{k}_config") or {} for k in ("vision", "prompt_encoder", "mask_decoder"))
    width = vision.get("hidden_size", 768)
    return Config(
        width=width,
        depth=vision.get("num_hidden_layers", 12),
        heads=vision.get("num_attention_heads", 12),
        global_blocks=tuple(vision.get("global_attn_indexes", (2, 5, 8, 11))),
        image_size=vision.get("image_size", 1024),
        patch=vision.get("patch_size", 16),
        window=vision.get("window_size", 14),
        mlp_ratio=(vision.get("mlp_dim") or 4 * width) // width,
        out_chans=vision.get("output_channels", 256),
        decoder_heads=decoder.get("num_attention_heads", 8),
        decoder_mlp=decoder.get("mlp_dim", 2048),
        mask_chans=prompt.get("mask_input_channels", 16),
    )
