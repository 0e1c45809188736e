"""The state of a video and its objects, the original's ``inference_state``."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gsam.errors import UsageError
from gsam.inputs.video import Frame, Frames
from gsam.tracking.compiled import FeatureCache
from gsam.tracking.objects import FrameOutput, TrackedObject
from gsam.tracking.spill_cache import SpillCache


class EndOfFrames(UsageError):
    """A live source has no further frame."""


WORDS = {"num_frames": "count", "video_height": "height", "video_width": "width", "obj_ids": "ids"}


@dataclasses.dataclass(eq=False)
class Session:
    """Frames, objects and their memories; ``state["obj_ids"]`` and a few more as in the original."""

    frames: Frames
    memory: Literal["all", "near"] = "all"
    """The frames whose memories are kept: all, or those that the next ones need."""
    objects: dict[Any, TrackedObject] = dataclasses.field(default_factory=dict)
    """By id, in the order in which they were added."""
    arrays: SpillCache = dataclasses.field(default_factory=SpillCache)
    """Masks and memories of the objects' outputs."""
    features: FeatureCache = dataclasses.field(default_factory=FeatureCache)
    last: Frame | None = None
    """The frame that was read last."""
    _live: Iterator[Frame] | None = None

    @property
    def count(self) -> int | None:
        """Frames; None of a live source."""
        return self.frames.count

    @property
    def height(self) -> int:
        return self.frames.size[0]

    @property
    def width(self) -> int:
        return self.frames.size[1]

    @property
    def ids(self) -> list[Any]:
        """Of the objects, in the order of rows of results."""
        return list(self.objects)

    def __getitem__(self, word: str) -> Any:
        if word not in WORDS:
            raise KeyError(f"{word!r}: there are {', '.join(WORDS)}")
        return getattr(self, WORDS[word])

    def tracked_object(self, obj_id: Any) -> TrackedObject:
        """Get an object by its id.  Raises `UsageError` for one that does not exist."""
        if obj_id not in self.objects:
            raise UsageError(f"no object {obj_id!r}; there are {', '.join(map(repr, self.ids)) or 'none yet'}")
        return self.objects[obj_id]

    def check(self, frame: int) -> int:
        """Check a frame's number.  Raises `UsageError` where it lies outside the video."""
        if isinstance(frame, bool) or not isinstance(frame, (int, np.integer)):
            raise UsageError(f"a frame is a whole number, not {frame!r}")
        if frame < 0 or (self.count is not None and frame >= self.count):
            raise UsageError(f"frame {frame} is not in this video: it has {self.count}, the first is 0")
        return int(frame)

    def pixels(self, frame: int) -> NDArray[np.uint8]:
        """Read a frame, [H, W, 3]; a live source is read on as far as that.

        Raises `EndOfFrames`, and what `Frames` does.
        """
        if self.last is not None and self.last.index == frame:
            return self.last.pixels
        if self.frames.seekable:
            self.last = self.frames[frame]
            return self.last.pixels
        self._live = self._live or self.frames.walk()
        while self.last is None or self.last.index < frame:
            upcoming = next(self._live, None)
            if upcoming is None:
                raise EndOfFrames(f"{self.frames.name} has ended: there is no frame {frame}")
            self.last = upcoming
        if self.last.index > frame:
            raise UsageError(f"{self.frames.name} is live, frame {frame} has passed")
        return self.last.pixels

    def outputs(self, frame: int) -> list[FrameOutput | None]:
        """The newest output of every object on a frame."""
        return [tracked.latest(frame) for tracked in self.objects.values()]
