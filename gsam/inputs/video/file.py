"""Video files, decoded by FFmpeg through PyAV (the extra ``video``)."""

from __future__ import annotations

import itertools
import os
import threading
import warnings
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gsam.errors import VideoError
from gsam.inputs.video.clock import Clock
from gsam.inputs.video.container import Container
from gsam.inputs.video.seeking import Index, Seeker
from gsam.inputs.video.source import Frame, Frames

Damaged = Literal["raise", "warn"]
PEEK = 64
"""Packets that are looked at before a file is opened."""
HDR = {16: "PQ", 18: "HLG"}
"""Transfer characteristics of ITU-T H.273 that a screen without HDR cannot show as they are."""


class Video(Frames):
    """The images of a file, or of the bytes of one.

    Every frame that is decoded is given once, whatever the rate does, with the time stamp it has.
    The display matrix (how a phone was held) is obeyed; pixels that are not square stay as they are
    stored.  A file that is damaged gives all that can be decoded and then says so: see ``damaged``.
    Where it has holes, an iteration counts what is decoded, ``frames[i]`` what is stored.
    """

    time_base: Fraction

    def __init__(
        self, source: Path | bytes, *, damaged: Damaged = "raise", look_ahead: int = 4, max_pixels: int | None = None
    ) -> None:
        """``damaged``: whether what could not be read is, at the end, a `VideoError` or a warning.
        ``max_pixels``: of a frame, by default 100 million.

        The first frame is decoded at once.  Raises `VideoError` for what has no frames,
        `UsageError` without PyAV.
        """
        self.source, self.damaged, self.look_ahead = source, damaged, look_ahead
        told = "these bytes" if isinstance(source, bytes) else os.fsdecode(source)
        self.name = told if isinstance(source, bytes) else source.name
        self._lock = threading.Lock()
        self._index: Index | None = None
        self._seeker: Seeker | None = None
        self._known: int | None = None
        self._max_pixels = max_pixels
        with Container(source, told, max_pixels) as container:
            first = next(iter(container), None)
            if first is None:
                said = f": {container.error}" if container.error else ""
                raise VideoError(f"{told}: no frame of it can be decoded{said}", "video_empty")
            self._begin, self.time_base = first.pts, container.time_base
            self.rate = container.rate
            self.declared = container.declared
            self.still = container.still
            self.has_sound = container.has_sound
            shape, suspect = container.pixel_shape, container.reorders and not container.still
        upright = pixels(first, told)
        self.size = (upright.shape[0], upright.shape[1])
        self.pixel_shape = 1 / shape if is_turned(first) else shape
        if not self.still:
            self._tell(first)
        self._stamps: Sequence[int] = self._scan().stamps if suspect and self._is_in_order() else ()

    def _tell(self, first: Any) -> None:
        """Warn of what frames do not show as a player does."""
        if self.pixel_shape != 1:
            shape = f"{self.pixel_shape.numerator}:{self.pixel_shape.denominator}"
            told = "frames and masks are as stored, a player shows them wider or narrower"
            warnings.warn(f"{self.name}: its pixels are {shape}, not square: {told}", stacklevel=5)
        if (kind := HDR.get(int(first.color_trc or 0))) is not None:
            told = "its colours are taken as they are stored, and look pale"
            warnings.warn(f"{self.name}: is HDR ({kind}): {told}; tone-map it first for better masks", stacklevel=5)

    def _is_in_order(self) -> bool:
        """Whether the first packets' stamps ascend, of a codec that may store out of order."""
        with self._open() as container:
            some = [p.pts for p in itertools.islice(container.packets(), PEEK) if p is not None and p.pts is not None]
        return all(before < after for before, after in itertools.pairwise(some))

    def _open(self) -> Container:
        return Container(self.source, self.name, self._max_pixels)

    @property
    def count(self) -> int:
        """Number of frames, counted at the first use without decoding.

        Decoding has the last word.
        """
        if self._known is None:
            with self._lock:
                self._known = len(self._scan()) or 1
        return self._known

    def sequence(self, start: int, stop: int | None, step: int) -> Iterator[Frame]:
        if step < 0 or start:
            yield from self._sought(start, stop, step)
            return
        at = 0
        with self._open() as container:
            clock = Clock(self.time_base, self.rate, self._stamps)
            for at, decoded in enumerate(container, 1):
                time = clock.time(decoded)
                if stop is not None and at > stop:
                    if stop < self.count or not (container.error or container.corrupt):
                        return
                    at = stop  # what comes after the last whole frame is no frame, and tells of damage
                    break
                if (at - 1) % step == 0:
                    yield self._made(at - 1, decoded, time)
            self._known = at
            self._judge(container, at)

    def frame(self, index: int) -> Frame:
        with self._lock:
            if self._seeker is None:
                self._seeker = Seeker(self._open, self.name, self._scan())
            return self._made(index, *self._seeker.decoded(index))

    def close(self) -> None:
        with self._lock:
            if self._seeker is not None:
                self._seeker.close()
                self._seeker = None

    def _sought(self, start: int, stop: int | None, step: int) -> Iterator[Frame]:
        """Like `frame` of each, with a decoder of its own."""
        with self._lock:
            index = self._scan()
        end = stop if stop is not None else self.count if step > 0 else -1
        seeker = Seeker(self._open, self.name, index)
        try:
            for i in range(start, end, step):
                yield self._made(i, *seeker.decoded(i))
        finally:
            seeker.close()

    def _scan(self) -> Index:
        if self._index is None:
            with self._open() as container:
                self._index = Index.of(container)
        return self._index

    def _made(self, index: int, decoded: Any, time: Fraction | None = None) -> Frame:
        if time is None:
            time = None if self.rate is None else index / self.rate
            if decoded.pts is not None and self._begin is not None:
                time = (decoded.pts - self._begin) * self.time_base
        return self.checked(Frame(index, pixels(decoded, self.name), time))

    def _judge(self, container: Container, read: int) -> None:
        """Say what is missing, after ``read`` frames."""
        if container.error is None and not container.corrupt:
            lasts, shown = container.lasts, container.shown
            if (
                not container.jumped
                and lasts is not None
                and shown is not None
                and lasts - shown > max(Fraction(1, 2), lasts / 50)
            ):
                told = f"{self.name}: is said to last {float(lasts):.1f} s, but its {read} frames end after {float(shown):.1f} s"
                warnings.warn(f"{told}: it may have been cut off", stacklevel=2)
            return
        of = f" of {self.declared}" if self.declared > read else ""
        found = f"{container.corrupt} of them with faults" if container.corrupt else "the rest is lost"
        told = f"{self.name}: is damaged or cut off: {read}{of} frames could be read, {found}"
        told += f" ({container.error})" if container.error else ""
        if self.damaged == "raise":
            raise VideoError(told, "video_truncated")
        warnings.warn(told, stacklevel=2)


def pixels(decoded: Any, name: str) -> NDArray[np.uint8]:
    """A decoded frame as [H, W, 3] RGB, upright.  Raises `VideoError` for what has no colours."""
    try:
        rgb: NDArray[np.uint8] = decoded.to_ndarray(format="rgb24")
    except Exception as error:
        told = f"its pixels ({decoded.format.name if decoded.format else 'unknown'}) cannot be made RGB"
        raise VideoError(f"{name}: {told} ({error})", "video_unreadable") from None
    matrix = display_matrix(decoded)
    return rgb if matrix is None else upright(rgb, matrix)


def display_matrix(decoded: Any) -> NDArray[np.int32] | None:
    """Return the directions [2, 2] of the stored x and y axes on the screen; None if not given."""
    data = decoded.side_data.get("DISPLAYMATRIX")
    return None if data is None else np.frombuffer(bytes(data), np.int32).reshape(3, 3)[:2, :2]


def is_turned(decoded: Any) -> bool:
    """Whether a decoded frame is shown on its side."""
    matrix = display_matrix(decoded)
    if matrix is None:
        return False
    (a, b), (c, d) = np.abs(matrix.astype(np.int64)).tolist()
    return bool(a + d < b + c)


def upright(rgb: NDArray[np.uint8], matrix: NDArray[np.int32]) -> NDArray[np.uint8]:
    """Apply the quarter turns and mirrorings of a display matrix, or the nearest ones to it.

    A stored pixel (x, y) is shown at (a x + c y, b x + d y), for ``matrix`` [[a, b], [c, d]], and
    the axes point right and down.
    """
    (a, b), (c, d) = matrix.astype(np.int64).tolist()
    if abs(a) + abs(d) >= abs(b) + abs(c):
        across, down = a, d
    else:
        rgb, across, down = rgb.swapaxes(0, 1), c, b
    rgb = rgb[:, ::-1] if across < 0 else rgb
    return np.ascontiguousarray(rgb[::-1] if down < 0 else rgb)
