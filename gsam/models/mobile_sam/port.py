"""Layout of MobileSAM's checkpoint, the original ``mobile_sam.pt``; Hugging Face has none."""

from __future__ import annotations

from gsam.weights import sam
from gsam.weights.rules import Layout

LAYOUTS = (
    Layout(
        "original",
        (*sam.ORIGINAL, *sam.TINY_VIT),
        unused=(*sam.ORIGINAL_UNUSED, *sam.TINY_VIT_UNUSED),
        transposed=sam.TRANSPOSED,
        back=(*sam.ORIGINAL_BACK, *sam.TINY_VIT_BACK),
    ),
)

MODEL_TYPES: tuple[str, ...] = ()
