"""Some of a video's frames in a row, as a video of their own."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from gsam.errors import UsageError
from gsam.inputs.video.source import Frame, Frames


class Part(Frames):
    """The frames ``first`` up to ``stop`` of a video, counted from 0; times stay as they were."""

    def __init__(self, whole: Frames, first: int, stop: int) -> None:
        """Take frames of a video that can be sought; it is not closed with its part."""
        if whole.count is None or not 0 <= first < stop <= whole.count:
            raise UsageError(f"{whole.name}: has {whole.count} frames, and no part {first}..{stop - 1}")
        self._whole, self._first, self._stop = whole, first, stop
        self.name, self.size, self.rate, self.time_base = whole.name, whole.size, whole.rate, whole.time_base
        self.look_ahead, self.pixel_shape, self.has_sound = whole.look_ahead, whole.pixel_shape, whole.has_sound

    @property
    def count(self) -> int:
        return self._stop - self._first

    def sequence(self, start: int, stop: int | None, step: int) -> Iterator[Frame]:
        end = self._first + stop if stop is not None else self._stop if step > 0 else self._first - 1
        for frame in self._whole.sequence(self._first + start, None if end < 0 else end, step):
            yield self._renumbered(frame)

    def frame(self, index: int) -> Frame:
        return self._renumbered(self._whole.frame(self._first + index))

    def _renumbered(self, frame: Frame) -> Frame:
        return dataclasses.replace(frame, index=frame.index - self._first)
