"""The state of a video and its objects, the original's ``inference_state``."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Iterator
from typing import Any, Literal, NoReturn, Self

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


@dataclasses.dataclass(eq=False, repr=False)
class Session:
    """The state of a video that is being segmented: frames, objects and their memories.

    ``state["obj_ids"]`` and a few more keys are as in the original's ``inference_state``.
    """

    frames: Frames
    """The video."""
    memory: Literal["all", "near"] = "all"
    """The frames whose memories are kept: all, or those that the next ones need."""
    objects: dict[Any, TrackedObject] = dataclasses.field(default_factory=dict)
    """By id, in the order in which they were added."""
    arrays: SpillCache = dataclasses.field(default_factory=SpillCache)
    """Masks and memories of the objects' outputs."""
    features: FeatureCache = dataclasses.field(default_factory=FeatureCache)
    """Features of the frames used last."""
    drawn: FeatureCache = dataclasses.field(default_factory=FeatureCache)
    """Features of those frames by the segmenter that draws masks again."""
    last: Frame | None = None
    """The frame that was read last."""
    _live: Iterator[Frame] | None = None

    def __repr__(self) -> str:
        ids = ", ".join(map(repr, self.ids[:5])) + (" ..." if len(self.ids) > 5 else "")
        return f"<{type(self).__name__} of {self.frames!r}: objects {ids or 'none yet'}>"

    def __copy__(self) -> Self:
        return self.copy()

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        return self.copy()

    def __reduce__(self) -> NoReturn:
        raise UsageError(
            "a session holds an open video and cannot be pickled: copy.deepcopy copies it, and "
            "predictor.save_state writes it to a file",
            "not_picklable",
        )

    def copy(self) -> Self:
        """Copy the objects with their prompts and memories; the video is shared.

        Returns:
            A session that goes on by itself.

        Raises:
            gsam.errors.UsageError: The source is live (``video_live``): its frames pass only once.
        """
        if not self.frames.seekable:
            raise UsageError(f"{self.frames.name} is live: its frames pass only once", "video_live")
        other = type(self)(self.frames, self.memory, last=self.last)
        other.objects = {name: tracked.copied(other.arrays) for name, tracked in self.objects.items()}
        return other

    @property
    def count(self) -> int | None:
        """Number of frames; None for a live source."""
        return self.frames.count

    @property
    def height(self) -> int:
        """Height of the video in pixels."""
        return self.frames.size[0]

    @property
    def width(self) -> int:
        """Width of the video in pixels."""
        return self.frames.size[1]

    @property
    def ids(self) -> list[Any]:
        """Ids of the objects, in the order of the rows of results."""
        return list(self.objects)

    def __getitem__(self, word: str) -> Any:
        if word not in WORDS:
            raise KeyError(f"{word!r}: there are {', '.join(WORDS)}")
        return getattr(self, WORDS[word])

    def tracked_object(self, obj_id: Hashable) -> TrackedObject:
        """Find an object.

        Args:
            obj_id: Its id.

        Returns:
            The object.

        Raises:
            gsam.errors.UsageError: There is no such object.
        """
        if obj_id not in self.objects:
            raise UsageError(f"no object {obj_id!r}; there are {', '.join(map(repr, self.ids)) or 'none yet'}")
        return self.objects[obj_id]

    def check(self, frame: int) -> int:
        """Check the number of a frame.

        Args:
            frame: The frame, from 0.

        Returns:
            The same as an int.

        Raises:
            gsam.errors.UsageError: It is no whole number, or lies outside the video.
        """
        if isinstance(frame, bool) or not isinstance(frame, (int, np.integer)):
            raise UsageError(f"a frame is a whole number, not {frame!r}")
        if frame < 0 or (self.count is not None and frame >= self.count):
            raise UsageError(f"frame {frame} is not in this video: it has {self.count}, the first is 0")
        return int(frame)

    def pixels(self, frame: int) -> NDArray[np.uint8]:
        """Read a frame; a live source is read on as far as that.

        Args:
            frame: The frame, from 0.

        Returns:
            [H, W, 3] uint8 RGB.

        Raises:
            EndOfFrames: A live source has ended before.
            gsam.errors.UsageError: The frame of a live source has passed.
            gsam.errors.VideoError: The frame cannot be read.
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
        """Collect the newest output of every object on a frame.

        Args:
            frame: The frame, from 0.

        Returns:
            One output per object in the order of `ids`, None where there is none.
        """
        return [tracked.latest(frame) for tracked in self.objects.values()]
