"""Layout of CLIP's checkpoints, which is Hugging Face's.

The original files are TorchScript programs, which are not read.
"""

from __future__ import annotations

from gsam.errors import CheckpointError
from gsam.models.clip.config import Config
from gsam.nn.tower import Tower
from gsam.types import JsonMapping
from gsam.weights.rules import Layout

LAYOUTS = (
    Layout(
        "hugging_face",
        ((r"\.pre_layrnorm\.", ".pre_layernorm."),),
        unused=((r".*\.position_ids", "an arange"),),
    ),
)

MODEL_TYPES = ("clip",)


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
