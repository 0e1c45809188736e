"""The preparation of images by a model's folder: ``preprocessor_config.json``.

What gsam can do otherwise, it does; anything else that differs from the family's own preparation is
refused.  Filters are not compared: gsam has the original repositories'.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from gsam.errors import CheckpointError
from gsam.weights.fields import Fields

PLACES = (("preprocessor_config.json", ()), ("processor_config.json", ("image_processor",)))
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
"""Means and standard deviations of pixels in 0..1."""


def preparation(folder: Path) -> Fields | None:
    """Read how a folder prepares images; None if it does not say.

    Raises:
        CheckpointError: The file is no table.
    """
    for name, inside in PLACES:
        file = folder / name
        if not file.is_file():
            continue
        try:
            fields = Fields(json.loads(file.read_text(encoding="utf-8")), file=str(file))
        except (ValueError, OSError, RecursionError) as error:
            raise CheckpointError(f"{file} is no preparation of images: {error}", "checkpoint_format") from None
        for key in inside:
            fields = fields.part(key)
        return fields
    return None


def check_pixels(fields: Fields, numbers: tuple[Sequence[float], Sequence[float]]) -> None:
    """Refuse other pixels than a family's: its means and deviations of RGB in 0..1."""
    mean, std = numbers
    fields.only(image_mean=(list(mean),), image_std=(list(std),), do_normalize=True, do_rescale=True)
    fields.only(rescale_factor=1 / 255, do_resize=True)


def check_square(fields: Fields, side: int, *keys: str) -> None:
    """Refuse another size than the model's own square, however it is written."""
    square = {"height": side, "width": side}
    for key in keys or ("size",):
        fields.only(**{key: (square, side, [side, side], {"shortest_edge": side}, {"longest_edge": side})})
