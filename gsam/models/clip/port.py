"""Layouts of CLIP's checkpoints: Hugging Face's, and OpenAI's own.

OpenAI's files are TorchScript programs, of which the tensors are read (`gsam.weights.read`), or
state dicts with the same names.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import numpy as np

from gsam.models.clip.config import Config
from gsam.nn.tower import Tower, tower_of
from gsam.types import JsonMapping
from gsam.weights.fields import WORDS, Fields
from gsam.weights.preprocessing import CLIP, check_pixels, check_square
from gsam.weights.rules import Layout
from gsam.weights.tensor import Tensor

LAYOUTS = (
    Layout(
        "hugging_face",
        ((r"\.pre_layrnorm\.", ".pre_layernorm."),),
        unused=((r".*\.position_ids", "an arange"),),
        back=((r"\.pre_layernorm\.", ".pre_layrnorm."),),
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
        back=(
            (r"\.layer_norm(\d)\.", r".ln_\1."),
            (r"\.self_attn\.[qkv]_proj\.(weight|bias)$", r".attn.in_proj_\1"),
            (r"\.self_attn\.", ".attn."),
            (r"\.mlp\.fc1\.", ".mlp.c_fc."),
            (r"\.mlp\.fc2\.", ".mlp.c_proj."),
            (r"^vision_model\.embeddings\.patch_embedding\.", "visual.conv1."),
            (r"^vision_model\.embeddings\.class_embedding$", "visual.class_embedding"),
            (r"^vision_model\.embeddings\.position_embedding\.weight$", "visual.positional_embedding"),
            (r"^vision_model\.pre_layernorm\.", "visual.ln_pre."),
            (r"^vision_model\.post_layernorm\.", "visual.ln_post."),
            (r"^vision_model\.encoder\.layers\.", "visual.transformer.resblocks."),
            (r"^visual_projection\.weight$", "visual.proj"),
            (r"^text_model\.embeddings\.position_embedding\.weight$", "positional_embedding"),
            (r"^text_model\.embeddings\.token_embedding\.", "token_embedding."),
            (r"^text_model\.encoder\.layers\.", "transformer.resblocks."),
            (r"^text_model\.final_layer_norm\.", "ln_final."),
            (r"^text_projection\.weight$", "text_projection"),
        ),
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
        CheckpointError: Sizes that cannot be, or a model that computes otherwise than CLIP.
    """
    fields = Fields(values)
    vision, text = fields.part("vision_config"), fields.part("text_config")
    side, patch = vision.side("image_size", 224), vision.side("patch_size", 32)
    vision.divides(side, patch, "pixels (patch_size)")
    vocab = text.size("vocab_size", 49408, WORDS)
    return Config(
        vision=tower_of(vision, Tower(768, 12, 12)),
        text=tower_of(text, Tower(512, 12, 8)),
        projection=fields.size("projection_dim", 512),
        image_size=side,
        patch=patch,
        vocab=vocab,
        context=text.size("max_position_embeddings", 77),
        end=_end(text, vocab),
    )


def _end(text: Fields, vocab: int) -> int | None:
    """Token that a text is read at, None where it is the highest.

    2 stands for that in configurations from before it was read; so it is in Hugging Face's code.
    """
    end = text.size("eos_token_id", 49407, WORDS, 0)
    return None if end in (2, vocab - 1) or ("eos_token_id" not in text and end >= vocab) else end


def prepared(config: Config, fields: Fields) -> Config:
    """Refuse another preparation of images than the model's.  Raises `CheckpointError`."""
    check_pixels(fields, CLIP)
    check_square(fields, config.image_size, "size", "crop_size")
    return config
