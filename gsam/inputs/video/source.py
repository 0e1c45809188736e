"""Base of all sources of frames."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from gsam.errors import UsageError, VideoError
from gsam.files import Closing
from gsam.inputs.video.prefetch import ahead


@dataclasses.dataclass(frozen=True, eq=False)
class Frame:
    """One image of a video."""

    index: int
    """From 0, counting what there is: a missing file makes no hole in it, but one in ``time``."""
    pixels: NDArray[np.uint8]
    """[H, W, 3] RGB, upright."""
    time: Fraction | None = None
    """Seconds from the first frame, exact; None where no rate is known."""
    name: str | None = None
    """The file's name, if the frame is one."""


class Frames(Closing):
    """Frames of one size, one after the other.

    Iterate, as often as you like unless it is live; ``frames[i]`` and `walk` go anywhere where
    `seekable`.  All iterations are independent of each other.
    """

    name: str
    """Name of the file or folder, for messages and for written results."""
    size: tuple[int, int]
    """Height and width, upright."""
    rate: Fraction | None
    """Frames a second (the mean where it varies), exact; None if unknown."""
    time_base: Fraction | None
    """Seconds of which every frame's time is a multiple; None if frames have no time."""
    look_ahead: int
    """Number of frames that a thread may have ready before they are needed."""
    seekable: bool = True
    pixel_shape: Fraction = Fraction(1)
    """Width of a pixel by its height, upright."""
    has_sound: bool = False
    """Whether the file has sound, which frames have not."""

    @property
    @abc.abstractmethod
    def count(self) -> int | None:
        """Number of frames; None if it is known only at the end."""

    @abc.abstractmethod
    def sequence(self, start: int, stop: int | None, step: int) -> Iterator[Frame]:
        """Yield every ``step``-th frame from ``start`` up to ``stop``, which are in range.

        Runs in the caller's thread.
        """

    @abc.abstractmethod
    def frame(self, index: int) -> Frame:
        """One frame; ``index`` is in range."""

    def __iter__(self) -> Iterator[Frame]:
        return self.walk()

    def walk(self, start: int | None = None, stop: int | None = None, step: int = 1) -> Iterator[Frame]:
        """Yield the frames ``[start:stop:step]``, read ahead; negative steps go backwards.

        Raises `UsageError` for a step of 0, and for anything but all frames in order where the
        source is live.
        """
        if not self.seekable:
            if (start or 0, stop, step) != (0, None, 1):
                raise UsageError(f"{self.name}: is live, its frames come in order and once", "video_not_seekable")
            return ahead(self.sequence(0, None, 1), self.look_ahead)
        if step == 0:
            raise UsageError("frames cannot be walked through in steps of 0")
        if step > 0 and not (start and start < 0) and stop is None:  # needs no count
            return ahead(self.sequence(start or 0, None, step), self.look_ahead)
        begin, end, step = slice(start, stop, step).indices(len(self))
        return ahead(self.sequence(begin, None if end < 0 else end, step), self.look_ahead)

    def __getitem__(self, index: int) -> Frame:
        """A frame, counted from the end if negative.

        Raises `VideoError` past the end, `UsageError` if live.
        """
        if not self.seekable:
            raise UsageError(f"{self.name}: is live, frame {index} cannot be sought", "video_not_seekable")
        count = len(self)
        if not -count <= index < count:
            raise VideoError(f"{self.name}: has no frame {index}, it has {count}", "frame_past_end")
        return self.frame(index % count)

    def __len__(self) -> int:
        if self.count is None:
            raise TypeError(f"{self.name}: is live, nobody knows how many frames it has")
        return self.count

    def close(self) -> None:
        """Let go of files; what is being iterated over ends by itself."""

    def __repr__(self) -> str:
        count = "?" if self.count is None else self.count
        rate = "" if self.rate is None else f", {float(self.rate):g} a second"
        return f"<{type(self).__name__} {self.name}: {count} frames of {self.size[1]} x {self.size[0]}{rate}>"

    def checked(self, frame: Frame) -> Frame:
        """``frame``, if it is as large as the first.  Raises `VideoError` naming it."""
        h, w = frame.pixels.shape[:2]
        if (h, w) != self.size:
            which = f"frame {frame.index}" + (f" ({frame.name})" if frame.name else "")
            first = f"{self.size[1]} x {self.size[0]}"
            raise VideoError(
                f"{self.name}: {which} is {w} x {h}, the first is {first}: a video has one size", "frames_mixed_sizes"
            )
        return frame
