"""Layout of OWL-ViT's and OWLv2's checkpoints, which is Hugging Face's."""

from __future__ import annotations

from gsam.errors import CheckpointError
from gsam.models.owl_vit.config import Config
from gsam.nn.tower import Tower
from gsam.types import JsonMapping
from gsam.weights.rules import Layout

LAYOUTS = (
    Layout(
        "hugging_face",
        ((r"^owl(vit|v2)\.", ""),),
        unused=(
            (r".*\.position_ids", "an arange"),
            (r"owl(vit|v2)\.visual_projection\.weight", "of CLIP; detection reads the tokens before it"),
            (r"owl(vit|v2)\.logit_scale", "of CLIP; detection has a scale of its own for each token"),
        ),
    ),
)

MODEL_TYPES = ("owlvit", "owlv2")


def config_from_hf(values: JsonMapping) -> Config:
    """Read the sizes in a Hugging Face ``config.json``; the defaults are B/32's or OWLv2's B/16's.

    Raises:
        CheckpointError: A tower with another activation than CLIP's.
    """
    second = values.get("model_type") == "owlv2"
    vision, text = values.get("vision_config") or {}, values.get("text_config") or {}
    return Config(
        vision=_tower(vision, 768, 12),
        text=_tower(text, 512, 8),
        image_size=vision.get("image_size", 960 if second else 768),
        patch=vision.get("patch_size", 16 if second else 32),
        objectness=second,
        vocab=text.get("vocab_size", 49408),
        context=text.get("max_position_embeddings", 16),
    )


def _tower(values: JsonMapping, width: int, heads: int) -> Tower:
    act = values.get("hidden_act", "quick_gelu")
    if act != "quick_gelu":  # the tensors of both look alike
        raise CheckpointError(f"a tower with {act}: only CLIP's quick_gelu is supported", "checkpoint_unknown")
    width = values.get("hidden_size", width)
    depth, heads = values.get("num_hidden_layers", 12), values.get("num_attention_heads", heads)
    return Tower(width, depth, heads, values.get("intermediate_size", 4 * width) // width)
