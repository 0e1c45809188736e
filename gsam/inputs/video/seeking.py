"""Any frame of a video by its number."""

from __future__ import annotations

import bisect
import collections
import dataclasses
import itertools
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any, Self

from gsam.errors import VideoError
from gsam.inputs.video.clock import Clock
from gsam.inputs.video.container import Container

KEPT = 100_000_000
"""Bytes of decoded frames that are kept, for going backwards.

Each stretch between key frames is decoded once for every so many bytes.
"""


@dataclasses.dataclass(frozen=True)
class Index:
    """The time stamps of all frames, in the order they are shown."""

    pts: list[int]
    """Ascending; empty where they say nothing of the order: then frames are only counted.

    The file has none, or one twice, recordings are joined, or stamps are in the order of storing.
    """
    keys: list[int]
    """Numbers of the frames from which decoding can start, ascending."""
    count: int
    stamps: list[int] = dataclasses.field(default_factory=list)
    """Time stamps of all frames as they are shown, where those of the decoder are wrong."""

    @classmethod
    def of(cls, container: Container) -> Self:
        """Index a file without decoding.

        Packets that are cut off or not to be shown do not count.
        """
        packets = [p for p in container.packets() if p is not None and _counts(p)]
        shown = [(p.pts, p.is_keyframe) for p in packets]
        stamps = sorted(pts for pts, _ in shown if pts is not None)
        decoded = [p.dts for p in packets if p.dts is not None]
        joined = any(after < before for before, after in itertools.pairwise(decoded))
        if joined or len(set(stamps)) != len(shown):
            return cls([], [], len(shown))
        if container.reorders and len(shown) > 1 and stamps == [pts for pts, _ in shown]:
            return cls([], [], len(shown), stamps)  # AVI: stamps in the order of storing, not of showing
        keys = [bisect.bisect_left(stamps, pts) for pts, key in shown if key]
        return cls(stamps, sorted(keys), len(shown))

    def __len__(self) -> int:
        return self.count

    def number(self, pts: int | None) -> int | None:
        """Which frame has this time stamp."""
        if pts is None:
            return None
        i = bisect.bisect_left(self.pts, pts)
        return i if i < len(self.pts) and self.pts[i] == pts else None


class Seeker:
    """One decoder that jumps to where it is asked to, and keeps what it passed on the way."""

    def __init__(self, opened: Callable[[], Container], name: str, index: Index) -> None:
        self.opened, self.name, self.index = opened, name, index
        self._kept: collections.OrderedDict[int, tuple[Any, Fraction | None]] = collections.OrderedDict()
        self._container: Container | None = None
        self._coming: Iterator[tuple[int, tuple[Any, Fraction | None]]] = iter(())
        self._next = -1
        """The number of the frame that the decoder gives next, -1 if it does not run."""

    def decoded(self, i: int) -> tuple[Any, Fraction | None]:
        """Frame ``i`` as PyAV has it, and its time where frames are only counted.

        Raises `VideoError` where it cannot be decoded.
        """
        if i in self._kept:
            return self._kept[i]
        keys = self.index.keys
        k = bisect.bisect_right(keys, i) - 1
        starts = iter((k - 1, -1) if k > 0 else (-1,) if k == 0 else ())  # where to try from when a start was none
        if not 0 <= self._next <= i or (k >= 0 and keys[k] > self._next):
            self._start(k)
        while i not in self._kept:
            found = next(self._coming, None)
            if found is not None and found[0] <= i:
                self._keep(*found)
                self._next = found[0] + 1
                continue
            again = next(starts, None)
            if again is None:
                self._next = -1
                raise VideoError(f"{self.name}: frame {i} cannot be decoded", "video_truncated")
            self._start(again)
        return self._kept[i]

    def close(self) -> None:
        if self._container is not None:
            self._container.close()
            self._container = None
        self._coming, self._next = iter(()), -1
        self._kept.clear()

    def _start(self, k: int) -> None:
        """Decode from key frame ``k`` of the index on, or, for -1, from the beginning."""
        if self._container is None or k < 0:
            if self._container is not None:
                self._container.close()
            self._container = self.opened()
        self._next = first = self.index.keys[k] if k >= 0 else 0
        if k >= 0:
            self._container.seek(self.index.pts[first])
        if not self.index.pts:
            clock = Clock(self._container.time_base, self._container.rate, self.index.stamps)
            self._coming = enumerate((f, clock.time(f)) for f in self._container)
            return
        numbered = ((self.index.number(f.pts), f) for f in self._container)
        # What is shown before the key frame refers to frames that were not decoded.
        self._coming = ((n, (f, None)) for n, f in numbered if n is not None and n >= first)

    def _keep(self, i: int, frame: tuple[Any, Fraction | None]) -> None:
        self._kept[i] = frame
        size = sum(plane.buffer_size for plane in frame[0].planes)
        while len(self._kept) > 1 and len(self._kept) * size > KEPT:
            self._kept.popitem(last=False)


def _counts(packet: Any) -> bool:
    return packet.size > 0 and not packet.is_corrupt and not packet.is_discard
