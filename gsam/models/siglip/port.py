"""Layout of SigLIP's checkpoints, which is Hugging Face's."""

from __future__ import annotations

from gsam.errors import CheckpointError
from gsam.models.siglip.config import Config, tower
from gsam.nn.tower import Tower
from gsam.types import JsonMapping
from gsam.weights.rules import Layout

LAYOUTS = (
    Layout(
        "hugging_face",
        ((r"\.in_proj_(weight|bias)$", r".in_proj.\1"),),
        unused=((r".*\.position_ids", "an arange"),),
    ),
)

MODEL_TYPES = ("siglip", "siglip2")

GEMMA = 256000
"""Size of SigLIP 2's vocabulary; its fixed-resolution models have SigLIP's model type."""


def config_from_hf(values: JsonMapping) -> Config:
    """Read the sizes in a Hugging Face ``config.json``; the defaults are B/16's at 224.

    Raises:
        CheckpointError: SigLIP 2 NaFlex (type ``siglip2``), whose patches come from images of any
            shape, or a model without its pooling head.
    """
    if values.get("model_type") == "siglip2":
        raise CheckpointError(
            "SigLIP 2 NaFlex (any aspect ratio) is not supported: take one of a fixed resolution, "
            "siglip2_base_patch16_224 for example",
            "checkpoint_unknown",
        )
    vision, text = values.get("vision_config") or {}, values.get("text_config") or {}
    if vision.get("vision_use_head") is False:
        raise CheckpointError(
            "a SigLIP without its pooling head has nothing to compare with text", "checkpoint_unknown"
        )
    vocab = text.get("vocab_size", 32000)
    return Config(
        vision=_tower(vision),
        text=_tower(text),
        image_size=vision.get("image_size", 224),
        patch=vision.get("patch_size", 16),
        vocab=vocab,
        context=text.get("max_position_embeddings", 64),
        version=2 if vocab == GEMMA else 1,
    )


def _tower(values: JsonMapping) -> Tower:
    """Read the sizes of a tower."""
    act = values.get("hidden_act", "gelu_pytorch_tanh")
    if act != "gelu_pytorch_tanh":  # the tensors of both look alike
        raise CheckpointError(f"a tower with {act}: only SigLIP's gelu_pytorch_tanh is supported", "checkpoint_unknown")
    width, hidden = values.get("hidden_size", 768), values.get("intermediate_size", 3072)
    depth, heads = values.get("num_hidden_layers", 12), values.get("num_attention_heads", 12)
    if width % heads:
        raise CheckpointError(f"{heads} heads do not divide a width of {width}", "checkpoint_format")
    return tower(width, depth, heads, 0 if hidden == 4 * width else hidden)
