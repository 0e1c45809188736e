"""Layout of FastSAM's checkpoints: a pickled network (`gsam.weights.modules`)."""

from __future__ import annotations

from collections.abc import Mapping

from gsam.models.fast_sam.config import Config
from gsam.weights.rules import Layout

LAYOUTS = (
    Layout(
        "original",
        (),
        unused=(
            (r".*\.num_batches_tracked", "how many batches a norm was trained on"),
            (r"model\.22\.dfl\.conv\.weight", "the numbers 0 to 15, which the head multiplies by"),
        ),
        transposed=r"proto/upsample",
        back=(),
    ),
)

MODEL_TYPES: tuple[str, ...] = ()


def config_from_hf(values: Mapping[str, object]) -> Config:
    """Raise ``ValueError``: there is no Hugging Face layout of this model."""
    raise ValueError("FastSAM has no Hugging Face layout")
