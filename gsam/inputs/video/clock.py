"""When each frame of a file is shown, also where its time stamps are not what they should be."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

JOIN = Fraction(1)
"""Time that goes back by more seconds than this begins another recording, not a late frame."""


class Clock:
    """Time in seconds from the first frame, which never goes back.

    A frame that is earlier than the one before is shown with it. After a join of two recordings
    time goes on where it was.

    Args:
        time_base: Seconds a unit of a time stamp.
        rate: Frames a second, for frames without a time stamp; None if unknown.
        stamps: Time stamps in the order of the frames, in place of those that the decoder gives.
    """

    def __init__(self, time_base: Fraction, rate: Fraction | None, stamps: Sequence[int] = ()) -> None:
        self.time_base, self.rate, self.stamps = time_base, rate, stamps
        self._count = 0
        self._begin: int | None = None
        self._shift = Fraction(0)
        self._last: Fraction | None = None

    def time(self, decoded: Any) -> Fraction | None:
        """Return the time of the next frame, as PyAV has it; None where nothing says it."""
        index, pts = self._count, decoded.pts
        self._count += 1
        if self.stamps:
            pts = self.stamps[index] if index < len(self.stamps) else None
        self._begin = pts if self._begin is None else self._begin
        if pts is not None and self._begin is not None:
            time = (pts - self._begin) * self.time_base + self._shift
        elif self.rate is not None:
            time = index / self.rate
        else:
            return None
        last = self._last
        if last is not None and time < last:
            if pts is not None and last - time > JOIN:
                step = 1 / self.rate if self.rate else self.time_base
                self._shift += last + step - time
                time = last + step
            else:
                time = last
        self._last = time
        return time
