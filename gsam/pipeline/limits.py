"""The settings of a pipeline that are not a model's."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp

from gsam.types import Thresholds


@dataclasses.dataclass(frozen=True)
class Limits:
    """What is kept.  Only ``boxes`` is a shape; changing the others recompiles nothing."""

    boxes: int = 300
    """At most so many objects a picture."""
    threshold: float = 0.3
    """Detections below this score are dropped."""
    nms: float = 0.7
    """Of two boxes with one label and a larger IoU, the better is kept."""
    duplicate: float = 1.0
    """Of two boxes with different labels and a larger IoU, the better is kept; 1 keeps both."""
    group: float = 0.7
    """A box filled to more than this by two or more smaller ones of its label is dropped; 1 keeps it."""
    inside: float = 0.9
    """Of two masks with one label, where more than this of the smaller lies in the other, the better is kept; 1 keeps both."""
    reject: float = 0.0
    """What the classifier believes in less than this is dropped."""
    mask_threshold: float = 0.0
    """Logits above this are mask."""
    tile: int = 0
    """A picture with a longer side is looked at in tiles of so many pixels too, for its small things; 0 for never."""
    overlap: float = 0.2
    """How much of a tile its neighbour sees too."""
    text_threshold: float = 0.25
    """Tokens above this make the label where a detector was asked for ``labels="phrases"``."""

    @property
    def thresholds(self) -> Thresholds:
        """Those that compiled programs take as run-time values."""
        return Thresholds(**{f.name: jnp.float32(getattr(self, f.name)) for f in dataclasses.fields(Thresholds)})
