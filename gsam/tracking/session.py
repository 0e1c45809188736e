"""What is known of a video while somebody works on it: the original's ``inference_state``."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gsam.errors import UsageError
from gsam.inputs.video import Frame, Frames
from gsam.tracking.compiled import Cache
from gsam.tracking.objects import FrameOutput, TrackedObject
from gsam.tracking.spill_cache import SpillCache


class EndOfFrames(UsageError):
    """A live source has no further frame."""


WORDS = {"num_frames": "count", "video_height": "height", "video_width": "width", "obj_ids": "ids"}


@dataclasses.dataclass(eq=False)
class Session:
    """Frames, objects and what is remembered of them.  ``state["obj_ids"]`` and a few more keys are as in the original."""

    frames: Frames
    memory: Literal["all", "near"] = "all"
    tracks: dict[Any, TrackedObject] = dataclasses.field(default_factory=dict)
    """By id, in the order in which they were added."""
    shelf: SpillCache = dataclasses.field(default_factory=SpillCache)
    cache: Cache = dataclasses.field(default_factory=Cache)
    last: Frame | None = None
    """The frame that was read last."""
    _coming: Iterator[Frame] | None = None

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
        return list(self.tracks)

    def __getitem__(self, word: str) -> Any:
        if word not in WORDS:
            raise KeyError(f"{word!r}: there are {', '.join(WORDS)}")
        return getattr(self, WORDS[word])

    def track(self, obj_id: Any) -> TrackedObject:
        """Raises `UsageError` for an object that does not exist."""
        if obj_id not in self.tracks:
            raise UsageError(f"no object {obj_id!r}; there are {', '.join(map(repr, self.ids)) or 'none yet'}")
        return self.tracks[obj_id]

    def check(self, frame: int) -> int:
        """A frame's number.  Raises `UsageError` where it lies outside the video."""
        if isinstance(frame, bool) or not isinstance(frame, (int, np.integer)):
            raise UsageError(f"a frame is a whole number, not {frame!r}")
        if frame < 0 or (self.count is not None and frame >= self.count):
            raise UsageError(f"frame {frame} is not in this video: it has {self.count}, the first is 0")
        return int(frame)

    def pixels(self, frame: int) -> NDArray[np.uint8]:
        """Of a frame, [H, W, 3]; a live source is read on as far as that.  Raises `EndOfFrames`, and what `Frames` does."""
        if self.last is not None and self.last.index == frame:
            return self.last.pixels
        if self.frames.seekable:
            self.last = self.frames[frame]
            return self.last.pixels
        self._coming = self._coming or self.frames.walk()
        while self.last is None or self.last.index < frame:
            coming = next(self._coming, None)
            if coming is None:
                raise EndOfFrames(f"{self.frames.name} has ended: there is no frame {frame}")
            self.last = coming
        if self.last.index > frame:
            raise UsageError(f"{self.frames.name} is live, frame {frame} has passed")
        return self.last.pixels

    def outputs(self, frame: int) -> list[FrameOutput | None]:
        """The newest of every object."""
        return [track.latest(frame) for track in self.tracks.values()]
