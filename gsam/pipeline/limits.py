"""The settings of a pipeline that are not a model's."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self, TypedDict

import numpy as np
from jax import device_put

from gsam.errors import UsageError
from gsam.runtime.settings import LIMITS, check_numbers, unknown_setting
from gsam.types import Thresholds


class OpenSettings(TypedDict, total=False):
    """Settings of opening images, see `gsam.inputs.image.open_image`."""

    stretch: bool
    max_pixels: int | None


OPENING = tuple(OpenSettings.__annotations__)
"""The names of `OpenSettings`."""


class LimitSettings(TypedDict, total=False):
    """`Limits` as keyword arguments."""

    boxes: int
    threshold: float
    nms: float
    duplicate: float
    group: float
    inside: float
    reject: float
    mask_threshold: float
    tile: int
    overlap: float
    text_threshold: float


class CallSettings(LimitSettings, OpenSettings):
    """Settings of one call of a `gsam.Pipeline`."""


class TrackSettings(CallSettings, total=False):
    """Settings of `gsam.Pipeline.track`, those of its tracking included."""

    every: int
    match: float
    covered: float
    same: float
    patience: int
    most: int
    prompt: Literal["box", "mask"]
    renew: float
    doubt: int
    redraw: bool


@dataclasses.dataclass(frozen=True)
class Limits:
    """Limits on what a pipeline keeps.

    Only ``boxes`` is a shape: changing the others compiles nothing.

    Args:
        boxes: Objects per image, at most; of an image in tiles, per tile.  A call may ask for
            fewer than the pipeline was loaded with.
        threshold: Drop detections of a lower score, in 0..1.
        nms: IoU above which the better of two boxes with one label is kept; 1 keeps both.
        duplicate: IoU above which the better of two boxes with different labels is kept; 1 keeps
            both.
        group: Drop a box filled to more than this by two or more smaller ones of its label; 1 keeps
            it.
        inside: Share of the smaller of two masks with one label, inside the other, above which the
            better is kept; 1 keeps both.
        reject: Drop what the classifier believes in less than this, in 0..1.
        mask_threshold: Logits above this are mask.
        tile: Look at an image with a longer side in tiles of so many pixels too, for its small
            things; 0 for never.
        overlap: Share of a tile that its neighbour sees too, below 1.
        text_threshold: Tokens above this make the label where a detector was asked for
            ``labels="phrases"``; nothing elsewhere.

    Raises:
        gsam.errors.UsageError: A value is out of its range.

    Example:
        >>> gsam.Limits(threshold=0.4).nms
        0.7
    """

    boxes: int = 300
    threshold: float = 0.3
    nms: float = 0.7
    duplicate: float = 1.0
    group: float = 0.7
    inside: float = 0.9
    reject: float = 0.0
    mask_threshold: float = 0.0
    tile: int = 0
    overlap: float = 0.2
    text_threshold: float = 0.25

    def __post_init__(self) -> None:
        check_numbers({name: getattr(self, name) for name in LIMITS}, LIMITS)

    @property
    def thresholds(self) -> Thresholds:
        """The limits that compiled programs take as run-time values."""
        return Thresholds(
            **{f.name: device_put(np.float32(getattr(self, f.name))) for f in dataclasses.fields(Thresholds)}
        )

    def tiled(self, shape: Sequence[int]) -> bool:
        """Tell whether an image is looked at in tiles too.

        Args:
            shape: [H, W, ...] of the image.

        Returns:
            True if its longer side is longer than a tile.
        """
        return 0 < self.tile < max(shape[:2])

    def replaced(self, settings: Mapping[str, Any]) -> Self:
        """Put some settings in place of those that are here.

        Args:
            settings: Names and values.

        Returns:
            The limits with them.

        Raises:
            gsam.errors.UsageError: There is no such setting, or a value is out of its range.
        """
        check_names(settings)
        return dataclasses.replace(self, **settings)

    def for_call(self, settings: Mapping[str, Any], *, phrases: bool) -> Self:
        """Put the settings of one call in place of those that are here.

        Args:
            settings: Names and values; those of `OpenSettings` are no limits.
            phrases: Whether labels are decoded as phrases.

        Returns:
            The limits with them.

        Raises:
            gsam.errors.UsageError: As of `replaced`, and for a setting that this call cannot obey.
        """
        check_names(settings, OPENING)
        settings = {name: value for name, value in settings.items() if name not in OPENING}
        limits = self.replaced(settings)
        if limits.boxes > self.boxes:
            text = f"boxes is at most {self.boxes} in a call, as this pipeline was loaded, not {limits.boxes}"
            raise UsageError(f"{text}: give it to gsam.load(boxes={limits.boxes})")
        check_phrases(settings, phrases)
        return limits


def check_names(settings: Mapping[str, Any], others: Sequence[str] = ()) -> None:
    """Refuse names that are none of `Limits`.

    Args:
        settings: Names and values.
        others: Names that are right too.

    Raises:
        gsam.errors.UsageError: There is no such setting.
    """
    for name in settings:
        if name not in LIMITS and name not in others:
            raise unknown_setting(name, (*LIMITS, *others))


def check_phrases(settings: Mapping[str, Any], phrases: bool) -> None:
    """Refuse a threshold of phrases where labels are the user's words.

    Raises:
        gsam.errors.UsageError: It would be ignored.
    """
    if "text_threshold" in settings and not phrases:
        text = "text_threshold counts with labels='phrases' only: labels are your own words here, and"
        raise UsageError(f"{text} `threshold` is compared with the score of a box for them")
