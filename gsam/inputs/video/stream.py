"""Frames that come while one waits: a camera, a generator."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING

from gsam.errors import UsageError, VideoError
from gsam.inputs.video.folder import PLAIN, Opening, opened
from gsam.inputs.video.source import Frame, Frames

if TYPE_CHECKING:
    from gsam.inputs.image import Source


class Stream(Frames):
    """Images from an iterator, each once, however many they are.

    The first is taken at once, to know the size.  Raises `VideoError` where there is none.
    """

    seekable = False

    def __init__(
        self,
        pictures: Iterator[Source],
        *,
        name: str = "live",
        rate: Fraction | None = None,
        look_ahead: int = 4,
        opening: Opening = PLAIN,
    ) -> None:
        self.name, self.rate, self.look_ahead = name, rate, look_ahead
        self._opening = opening
        self.time_base = None if rate is None else 1 / rate
        self._rest: Iterator[Source] | None = pictures
        try:
            first = next(pictures)
        except StopIteration:
            raise VideoError(f"{name}: ended before its first frame", "video_empty") from None
        self._first = self._made(0, first)
        self.size = (self._first.pixels.shape[0], self._first.pixels.shape[1])

    @property
    def count(self) -> None:
        return None

    def sequence(self, start: int, stop: int | None, step: int) -> Iterator[Frame]:
        if self._rest is None:
            raise UsageError(f"{self.name}: is live and has been read already", "video_not_seekable")
        rest, self._rest = self._rest, None
        frames = (self.checked(self._made(i, picture)) for i, picture in enumerate(rest, 1))
        return itertools.chain([self._first], frames)

    def frame(self, index: int) -> Frame:
        raise UsageError(f"{self.name}: is live, frame {index} cannot be sought", "video_not_seekable")

    def _made(self, index: int, picture: Source) -> Frame:
        return opened(self.name, index, picture, None if self.rate is None else index / self.rate, self._opening)
