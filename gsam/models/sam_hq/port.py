"""Layouts of SAM-HQ's checkpoints: the original ``.pth`` and Hugging Face's, without light."""

from __future__ import annotations

from gsam.models.sam_hq.config import Config
from gsam.nn.sam_vit import SamVit
from gsam.types import JsonMapping
from gsam.weights import sam
from gsam.weights.fields import Fields
from gsam.weights.preprocessing import IMAGENET, check_pixels, check_square
from gsam.weights.rules import Layout

_TRANSPOSED = r"(output_upscaling|compress_vit_feat|embedding_encoder)/conv"
_SEQUENCES = r"(compress_vit_feat|embedding_encoder|embedding_maskfeature)"

LAYOUTS = (
    Layout(
        "original",
        (
            *sam.ORIGINAL,
            *sam.TINY_VIT,
            (_SEQUENCES + r"\.0\.", r"\1.conv1."),
            (_SEQUENCES + r"\.1\.", r"\1.norm1."),
            (_SEQUENCES + r"\.3\.", r"\1.conv2."),
        ),
        unused=(*sam.ORIGINAL_UNUSED, *sam.TINY_VIT_UNUSED),
        transposed=_TRANSPOSED,
        back=(
            *sam.ORIGINAL_BACK,
            *sam.TINY_VIT_BACK,
            (_SEQUENCES + r"\.conv1\.", r"\1.0."),
            (_SEQUENCES + r"\.norm1\.", r"\1.1."),
            (_SEQUENCES + r"\.conv2\.", r"\1.3."),
        ),
    ),
    Layout(
        "hugging_face",
        (
            *sam.HUGGING_FACE,
            (r"\.hq_token\.", ".hf_token."),
            (r"\.hq_mask_mlp\.", ".hf_mlp."),
            (r"\.compress_vit_(conv|norm)", r".compress_vit_feat.\1"),
            (r"\.encoder_(conv|norm)", r".embedding_encoder.\1"),
            (r"\.mask_(conv|norm)", r".embedding_maskfeature.\1"),
            (r"(compress_vit_feat|embedding_encoder|embedding_maskfeature)\.norm\.", r"\1.norm1."),
        ),
        tied=sam.HUGGING_FACE_TIED,
        transposed=_TRANSPOSED,
        back=(
            *sam.HUGGING_FACE_BACK,
            (r"\.hf_token\.", ".hq_token."),
            (r"\.hf_mlp\.", ".hq_mask_mlp."),
            (r"(compress_vit_feat|embedding_encoder|embedding_maskfeature)\.norm1\.", r"\1.norm."),
            (r"\.compress_vit_feat\.", ".compress_vit_"),
            (r"\.embedding_encoder\.", ".encoder_"),
            (r"\.embedding_maskfeature\.", ".mask_"),
        ),
    ),
)

MODEL_TYPES = ("sam_hq",)


def config_from_hf(values: JsonMapping) -> Config:
    """Read the sizes in a Hugging Face ``config.json``; the defaults are ViT-B's."""
    vit, decoder = sam.hugging_face_sizes(values)
    return Config(SamVit(**vit), **decoder)


def prepared(config: Config, fields: Fields) -> Config:
    """Refuse another preparation of images than the model's.  Raises `CheckpointError`."""
    check_pixels(fields, IMAGENET)
    check_square(fields, config.encoder.image_size, "size", "pad_size")
    return config
