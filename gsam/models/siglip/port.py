"""Layout of SigLIP's checkpoints, which is Hugging Face's."""

from __future__ import annotations

from gsam.errors import CheckpointError
from gsam.models.siglip.config import Config, tower
from gsam.nn.tower import tower_of
from gsam.types import JsonMapping
from gsam.weights.fields import WORDS, Fields
from gsam.weights.preprocessing import HALF, check_pixels, check_square
from gsam.weights.rules import Layout

LAYOUTS = (
    Layout(
        "hugging_face",
        ((r"\.in_proj_(weight|bias)$", r".in_proj.\1"),),
        unused=((r".*\.position_ids", "an arange"),),
        back=((r"\.in_proj\.(weight|bias)$", r".in_proj_\1"),),
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
    fields = Fields(values)
    vision, text = fields.part("vision_config"), fields.part("text_config")
    if not vision.flag("vision_use_head", True):
        raise CheckpointError(
            "a SigLIP without its pooling head has nothing to compare with text", "checkpoint_unknown"
        )
    side, patch = vision.side("image_size", 224), vision.side("patch_size", 16)
    if patch > side:
        raise CheckpointError(f"config.json: patches of {patch} pixels in {side}", "checkpoint_format")
    vocab = text.size("vocab_size", 32000, WORDS)
    sizes = tower_of(text, tower(768, 12, 12))
    text.only(projection_size=(sizes.width,))
    return Config(
        vision=tower_of(vision, tower(768, 12, 12)),
        text=sizes,
        image_size=side,
        patch=patch,
        vocab=vocab,
        context=text.size("max_position_embeddings", 64),
        version=2 if vocab == GEMMA else 1,
    )


def prepared(config: Config, fields: Fields) -> Config:
    """Refuse another preparation of images than the model's.  Raises `CheckpointError`."""
    check_pixels(fields, HALF)
    check_square(fields, config.image_size)
    return config
