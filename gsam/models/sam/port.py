"""Layouts of SAM's checkpoints: the original ``.pth`` and Hugging Face's."""

from __future__ import annotations

from gsam.models.sam.config import Config
from gsam.types import JsonMapping
from gsam.weights import sam
from gsam.weights.fields import Fields
from gsam.weights.preprocessing import IMAGENET, check_pixels, check_square
from gsam.weights.rules import Layout

LAYOUTS = (
    Layout("original", sam.ORIGINAL, unused=sam.ORIGINAL_UNUSED, transposed=sam.TRANSPOSED, back=sam.ORIGINAL_BACK),
    Layout(
        "hugging_face",
        sam.HUGGING_FACE,
        tied=sam.HUGGING_FACE_TIED,
        transposed=sam.TRANSPOSED,
        back=sam.HUGGING_FACE_BACK,
    ),
)

MODEL_TYPES = ("sam",)


def config_from_hf(values: JsonMapping) -> Config:
    """Read the sizes in a Hugging Face ``config.json``; the defaults are ViT-B's."""
    vit, decoder = sam.hugging_face_sizes(values)
    return Config(**vit, **decoder)


def prepared(config: Config, fields: Fields) -> Config:
    """Refuse another preparation of images than the model's.  Raises `CheckpointError`."""
    check_pixels(fields, IMAGENET)
    check_square(fields, config.image_size, "size", "pad_size")
    return config
