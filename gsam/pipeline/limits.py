"""The settings of a pipeline that are not a model's."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp

from gsam.types import Thresholds


@dataclasses.dataclass(frozen=True)
class Limits:
    """Limits on what a pipeline keeps; only ``boxes`` is a shape, changing the others compiles
    nothing.
    """

    boxes: int = 300
    """Objects per image, at most."""
    threshold: float = 0.3
    """Drop detections of a lower score, in 0..1."""
    nms: float = 0.7
    """IoU above which the better of two boxes with one label is kept."""
    duplicate: float = 1.0
    """IoU above which the better of two boxes with different labels is kept; 1 keeps both."""
    group: float = 0.7
    """Drop a box filled to more than this by two or more smaller ones of its label; 1 keeps it."""
    inside: float = 0.9
    """Share of the smaller of two masks with one label, inside the other, above which the better is
    kept; 1 keeps both.
    """
    reject: float = 0.0
    """Drop what the classifier believes in less than this, in 0..1."""
    mask_threshold: float = 0.0
    """Logits above this are mask."""
    tile: int = 0
    """Look at an image with a longer side in tiles of so many pixels too, for its small things; 0
    for never.
    """
    overlap: float = 0.2
    """Share of a tile that its neighbour sees too."""
    text_threshold: float = 0.25
    """Tokens above this make the label where a detector was asked for ``labels="phrases"``."""

    @property
    def thresholds(self) -> Thresholds:
        """The limits that compiled programs take as run-time values."""
        return Thresholds(**{f.name: jnp.float32(getattr(self, f.name)) for f in dataclasses.fields(Thresholds)})
