"""The settings of tracking by text, and their ranges."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from gsam.errors import UsageError
from gsam.runtime.settings import COUNT, Number, check_numbers

PROMPTS = "box", "mask"
TRACKING: Mapping[str, Number] = {
    **dict.fromkeys(("every", "patience"), COUNT),
    "most": Number(1, 1000, whole=True),
    **dict.fromkeys(("match", "covered", "same", "renew"), Number(0, 1, above=True)),
    "doubt": Number(0, 1000, whole=True),
}
"""Ranges of the numbers of `TrackingConfig`."""


@dataclasses.dataclass(frozen=True)
class TrackingConfig:
    """When a pipeline detects objects, and which detections are tracked already."""

    every: int = 10
    """Every n-th frame is a key frame, the first included."""
    match: float = 0.5
    """A detection is an object that is tracked already from this mask IoU on."""
    covered: float = 0.7
    """Nor is it new if this share of it lies in objects with its label."""
    same: float = 0.8
    """Two objects with a larger mask IoU are one."""
    patience: int = 30
    """Frames in a row without being visible after which an object is closed."""
    most: int = 64
    """Objects tracked at a time."""
    prompt: str = "box"
    """The tracker's prompt for a new object: its ``"box"``, or the ``"mask"`` of the pipeline."""
    renew: float = 1.0
    """A detection that is tracked already and scores higher than this gives the tracker its mask to
    go on from; 1 never, so that an object is prompted once."""
    doubt: int = 0
    """After so many key frames in a row on which it was visible and no detection matched it, an
    object is hidden until one does; 0 never."""
    redraw: bool = False
    """Whether the pipeline's segmenter draws the masks again that the tracker finds."""

    def __post_init__(self) -> None:
        check_numbers({name: getattr(self, name) for name in TRACKING}, TRACKING)
        if self.redraw not in (False, True):
            raise UsageError(f"redraw is {self.redraw!r}, it must be True or False, 0 or 1 in a recipe")
        if self.prompt not in PROMPTS:
            raise UsageError(f"prompt is one of {', '.join(PROMPTS)}, not {self.prompt!r}")


SETTINGS = tuple(field.name for field in dataclasses.fields(TrackingConfig))
"""Names of all settings."""
