"""Layout of EfficientSAM's checkpoints: the original ``.pt``, or the zip that one is shipped in."""

from __future__ import annotations

from collections.abc import Mapping

from gsam.models.efficient_sam.config import Config
from gsam.weights.rules import Layout

LAYOUTS = (
    Layout(
        "original",
        (
            (r"neck\.0\.", "neck.conv1."),
            (r"neck\.1\.", "neck.norm1."),
            (r"neck\.2\.", "neck.conv2."),
            (r"neck\.3\.", "neck.norm2."),
            (r"upscaling_layers\.0\.0\.", "upscaling_layers.conv1."),
            (r"upscaling_layers\.0\.1\.", "upscaling_layers.norm1."),
            (r"upscaling_layers\.1\.0\.", "upscaling_layers.conv2."),
            (r"\.layers\.(\d+)\.0\.(weight|bias)$", r".layers.\1.\2"),
        ),
        transposed=r"upscaling_layers/conv",
        back=(
            (r"neck\.conv1\.", "neck.0."),
            (r"neck\.norm1\.", "neck.1."),
            (r"neck\.conv2\.", "neck.2."),
            (r"neck\.norm2\.", "neck.3."),
            (r"upscaling_layers\.conv1\.", "upscaling_layers.0.0."),
            (r"upscaling_layers\.norm1\.", "upscaling_layers.0.1."),
            (r"upscaling_layers\.conv2\.", "upscaling_layers.1.0."),
            (r"(mlp|mlps\.\d+|iou_prediction_head)\.layers\.(\d+)\.(weight|bias)$", r"\1.layers.\2.0.\3"),
        ),
    ),
)

MODEL_TYPES: tuple[str, ...] = ()


def config_from_hf(values: Mapping[str, object]) -> Config:
    """Raise ``ValueError``: there is no Hugging Face layout of this model."""
    raise ValueError("EfficientSAM has no configuration on the hub")
