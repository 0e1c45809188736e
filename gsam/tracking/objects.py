"""One object through a video: what was asked of it, and what was made of it on each frame."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gsam.tracking.spill_cache import SpillCache


@dataclasses.dataclass
class FrameOutput:
    """What an object looked like on one frame.  Arrays lie on a `SpillCache`, under this object's identity."""

    shelf: SpillCache
    score: float
    """Logit: above 0 it is there."""
    iou: float
    """Predicted."""
    pointer: NDArray[np.float32]
    """[D]."""
    logits: dataclasses.InitVar[NDArray[np.float32]]
    memory: dataclasses.InitVar[NDArray[Any] | None] = None

    def __post_init__(self, logits: NDArray[np.float32], memory: NDArray[Any] | None) -> None:
        self.shelf[id(self), "logits"] = logits
        if memory is not None:
            self.remember(memory)

    def __del__(self) -> None:
        for what in ("logits", "memory"):
            self.shelf.pop((id(self), what))

    @property
    def mask(self) -> NDArray[np.float32]:
        """[4h, 4w] float32 logits over the view, holes filled."""
        return self.shelf[id(self), "logits"]

    @property
    def memorised(self) -> bool:
        return (id(self), "memory") in self.shelf

    @property
    def recalled(self) -> NDArray[Any]:
        """[h w, E] bfloat16."""
        return self.shelf[id(self), "memory"]

    def remember(self, memory: NDArray[Any]) -> None:
        self.shelf[id(self), "memory"] = memory


@dataclasses.dataclass
class Points:
    """Clicks on one frame, the corners of a box first."""

    xy: NDArray[np.float32]
    """[P, 2] pixels of the view."""
    labels: NDArray[np.int32]
    """[P] as in `gsam.nn.prompt`."""


@dataclasses.dataclass
class TrackedObject:
    """One object.  Frames are numbers; `asked` are those of the current prompts that no propagation has taken up yet."""

    id: Any
    points: dict[int, Points] = dataclasses.field(default_factory=dict)
    masks: dict[int, NDArray[np.bool_]] = dataclasses.field(default_factory=dict)
    """Of each frame the drawn mask, [S, S] over the view."""
    prompted: dict[int, FrameOutput] = dataclasses.field(default_factory=dict)
    """The original's ``cond_frame_outputs``."""
    followed: dict[int, FrameOutput] = dataclasses.field(default_factory=dict)
    """The original's ``non_cond_frame_outputs``."""
    asked: dict[bool, dict[int, FrameOutput]] = dataclasses.field(default_factory=lambda: {False: {}, True: {}})
    """The original's ``temp_output_dict``: for `followed` (False) and for `prompted` (True)."""
    tracked: dict[int, bool] = dataclasses.field(default_factory=dict)
    """Frames that propagation went over, and whether backwards."""

    def latest(self, frame: int) -> FrameOutput | None:
        """What is known of a frame, the newest first."""
        places = (self.asked[True], self.asked[False], self.prompted, self.followed)
        return next((place[frame] for place in places if frame in place), None)

    def forget_around(self, frame: int, reach: int) -> None:
        """Drop what was followed within ``reach`` frames."""
        for near in range(frame - reach, frame + reach + 1):
            self.followed.pop(near, None)

    def reset(self) -> None:
        """As if nothing had been asked."""
        places: tuple[dict[int, Any], ...] = (self.points, self.masks, self.prompted, self.followed, self.tracked)
        for place in (*places, *self.asked.values()):
            place.clear()

    def prune(self, keep: Iterable[int]) -> None:
        """Drop what was followed on any other frame than these."""
        wanted = set(keep)
        for frame in [f for f in self.followed if f not in wanted]:
            del self.followed[frame]
