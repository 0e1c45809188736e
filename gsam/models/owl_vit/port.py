"""Layout of OWL-ViT's and OWLv2's checkpoints, which is Hugging Face's."""

from __future__ import annotations

import dataclasses

from gsam.models.owl_vit.config import Config
from gsam.nn.tower import Tower, tower_of
from gsam.types import JsonMapping
from gsam.weights.fields import WORDS, Fields
from gsam.weights.preprocessing import CLIP, check_pixels, check_square
from gsam.weights.rules import Layout

_CLIP = r"^(text_model|vision_model|text_projection)\."
LAYOUTS = (
    Layout(
        "hugging_face",
        ((r"^owl(vit|v2)\.", ""),),
        back=((_CLIP, r"owlvit.\1."),),
        unused=(
            (r".*\.position_ids", "an arange"),
            (r"owl(vit|v2)\.visual_projection\.weight", "of CLIP; detection reads the tokens before it"),
            (r"owl(vit|v2)\.logit_scale", "of CLIP; detection has a scale of its own for each token"),
        ),
    ),
)

MODEL_TYPES = ("owlvit", "owlv2")


def written(config: Config) -> Layout:
    """Return the layout with the way back to the names of a model's version."""
    return dataclasses.replace(LAYOUTS[0], back=((_CLIP, r"owlv2.\1."),)) if config.objectness else LAYOUTS[0]


def config_from_hf(values: JsonMapping) -> Config:
    """Read the sizes in a Hugging Face ``config.json``; the defaults are B/32's or OWLv2's B/16's.

    Raises:
        CheckpointError: Sizes that cannot be, or a model that computes otherwise than OWL.
    """
    second = values.get("model_type") == "owlv2"
    fields = Fields(values)
    vision, text = fields.part("vision_config"), fields.part("text_config")
    side, patch = vision.side("image_size", 960 if second else 768), vision.side("patch_size", 16 if second else 32)
    vision.divides(side, patch, "pixels (patch_size)")
    return Config(
        vision=tower_of(vision, Tower(768, 12, 12)),
        text=tower_of(text, Tower(512, 12, 8)),
        image_size=side,
        patch=patch,
        objectness=second,
        vocab=text.size("vocab_size", 49408, WORDS),
        context=text.size("max_position_embeddings", 16),
    )


def prepared(config: Config, fields: Fields) -> Config:
    """Refuse another preparation of images than the model's.  Raises `CheckpointError`."""
    check_pixels(fields, CLIP)
    check_square(fields, config.image_size)
    return config
