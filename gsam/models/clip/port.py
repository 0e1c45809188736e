"""Layouts of CLIP's checkpoints: Hugging Face's, and OpenAI's own.

OpenAI's files are TorchScript programs, of which the tensors are read (`gsam.weights.read`), or
state dicts with the same names.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import numpy as np

from gsam.errors import CheckpointError
from gsam.models.clip.config import Config
from gsam.nn.tower import Tower
from gsam.types import JsonMapping
from gsam.weights.rules import Layout
from gsam.weights.tensor import Tensor

LAYOUTS = (
    Layout(
        "hugging_face",
        ((r"\.pre_layrnorm\.", ".pre_layernorm."),),
        unused=((r".*\.position_ids", "an arange"),),
    ),
    Layout(
        "original",
        (
            (r"^visual\.conv1\.", "vision_model.embeddings.patch_embedding."),
            (r"^visual\.class_embedding$", "vision_model.embeddings.class_embedding"),
            (r"^visual\.positional_embedding$", "vision_model.embeddings.position_embedding.weight"),
            (r"^visual\.ln_pre\.", "vision_model.pre_layernorm."),
            (r"^visual\.ln_post\.", "vision_model.post_layernorm."),
            (r"^visual\.proj$", "visual_projection.weight"),
            (r"^visual\.transformer\.resblocks\.", "vision_model.encoder.layers."),
            (r"^positional_embedding$", "text_model.embeddings.position_embedding.weight"),
            (r"^token_embedding\.", "text_model.embeddings.token_embedding."),
            (r"^transformer\.resblocks\.", "text_model.encoder.layers."),
            (r"^ln_final\.", "text_model.final_layer_norm."),
            (r"^text_projection$", "text_projection.weight"),
            (r"\.ln_(\d)\.", r".layer_norm\1."),
            (r"\.attn\.", ".self_attn."),
            (r"\.mlp\.c_fc\.", ".mlp.fc1."),
            (r"\.mlp\.c_proj\.", ".mlp.fc2."),
        ),
        unused=((r"input_resolution|context_length|vocab_size", "sizes, which the tensors show"),),
        stacked=((r"\.attn\.in_proj_(weight|bias)$", tuple(rf".attn.{k}_proj.\1" for k in "qkv")),),
        straight=r"visual\.proj|text_projection",
    ),
)

STRANGERS = (
    (
        r"(.*\.)?visual\.(attnpool|layer1)\..*",
        "a CLIP with a ResNet (RN50 and the like): only those with a ViT are supported",
    ),
    (
        r"(.*\.)?visual\.trunk\..*",
        "a CLIP with another image encoder (OpenCLIP with timm): only those with CLIP's own ViT are",
    ),
)
"""Names of tensors of models that look like CLIP, and what they are."""

MODEL_TYPES = ("clip",)


def told(config: Config, tensors: Mapping[str, Tensor]) -> Config:
    """The configuration as it is; warns of OpenCLIP's weights, which look like OpenAI's.

    OpenAI's are in half precision.
    """
    first = next((t for n, t in tensors.items() if n.endswith("visual.conv1.weight")), None)
    if first is not None and first.dtype == np.float32:
        warnings.warn(
            "a CLIP in OpenAI's layout, in float32: read with CLIP's quick GELU. Weights of OpenCLIP (LAION) look "
            "the same and need another GELU: load those in Hugging Face's layout",
            stacklevel=2,
        )
    return config


def config_from_hf(values: JsonMapping) -> Config:
    """Read the sizes in a Hugging Face ``config.json``; the defaults are B/32's.

    Raises:
        CheckpointError: A tower with another activation than CLIP's.
    """
    vision, text = values.get("vision_config") or {}, values.get("text_config") or {}
    return Config(
        vision=tower(vision, 768, 12, 12),
        text=tower(text, 512, 12, 8),
        projection=values.get("projection_dim", 512),
        image_size=vision.get("image_size", 224),
        patch=vision.get("patch_size", 32),
        vocab=text.get("vocab_size", 49408),
        context=text.get("max_position_embeddings", 77),
    )


def tower(values: JsonMapping, width: int, depth: int, heads: int) -> Tower:
    """Read the sizes of a tower, with defaults."""
    act = values.get("hidden_act", "quick_gelu")
    if act != "quick_gelu":  # the tensors of both look alike
        raise CheckpointError(f"a tower with {act}: only CLIP's quick_gelu is supported", "checkpoint_unknown")
    width = values.get("hidden_size", width)
    hidden = values.get("intermediate_size", 4 * width)
    depth, heads = values.get("num_hidden_layers", depth), values.get("num_attention_heads", heads)
    return Tower(width, depth, heads, hidden // width)
