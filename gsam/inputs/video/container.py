"""A video file while it is being read."""

from __future__ import annotations

import io
import stat
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

from gsam.errors import UsageError, VideoError
from gsam.files import Closing
from gsam.inputs.paths import missing
from gsam.inputs.video.clock import JOIN

MAX_PIXELS = 100_000_000
"""Largest number of pixels of a frame, the limit of single images."""


def pyav() -> ModuleType:
    """PyAV.  Raises `UsageError` naming the extra that brings it."""
    try:
        import av
    except ImportError:
        raise UsageError("video files need PyAV: pip install 'gsam-jax[video]'", "extra_missing") from None
    return av


class Container(Closing):
    """Opened, with its images chosen: the best video stream that is not the cover of an album.

    What a playlist points to is not followed: only the bytes of this file are read.  Frames are not
    decoded in several threads at once, because FFmpeg then loses good frames before a bad one, and
    says nothing.  Raises `VideoError` for what is no video.
    """

    def __init__(self, source: Path | bytes, name: str, max_pixels: int | None = None) -> None:
        self.av = pyav()
        self.name = name
        self.error: str | None = None
        """The error that stopped or disturbed the reading, if any."""
        self.jumped = False
        """Whether time has gone back, as where two recordings are joined."""
        self.corrupt = 0
        """Frames that came out with faults."""
        self.shown: Fraction | None = None
        """Seconds to the end of the last decoded frame, from the first or from zero, the larger.

        Files differ in which of the two they mean by their duration.
        """
        self._file = _opened(source, name)
        try:
            # Before version 19, a title that is no UTF-8 stopped everything.
            lenient = {"metadata_errors": "replace"} if int(self.av.__version__.split(".")[0]) < 19 else {}
            self.container = self.av.open(self._file, io_open=_refused, **lenient)
        except (self.av.error.FFmpegError, OSError, ValueError) as error:
            self._file.seek(0)
            start = self._file.read(8)
            self._file.close()
            if start[4:] == b"ftyp":  # an MP4
                raise self._empty() from None
            raise VideoError(f"{name}: " + (f"is not a video ({_said(error)})" if start else "is empty")) from None
        try:
            self.stream = self._chosen()
            if self.stream.codec_context is None:
                told = "this FFmpeg has no decoder for it (a camera's raw, encrypted, or newer): convert it to H.264"
                raise VideoError(f"{name}: {told}", "video_codec_missing")
            w, h, most = self.stream.width, self.stream.height, max_pixels or MAX_PIXELS
            if w * h > most:
                raise VideoError(f"{name}: {w} x {h} is more than {most:,} pixels", "video_too_large")
        except VideoError:
            self.close()
            raise

    def _chosen(self) -> Any:
        if self.container.format.name == "concat":
            raise VideoError(f"{self.name}: is a list of other files, and a video is one file")
        cover = self.av.stream.Disposition.attached_pic
        videos = [s for s in self.container.streams.video if not s.disposition & cover]
        if videos:
            best = self.container.streams.best("video")
            return best if best in videos else videos[0]
        if self.container.streams.audio:
            raise VideoError(f"{self.name}: has sound, but no pictures", "video_no_pictures")
        raise self._empty()

    def _empty(self) -> VideoError:
        told = "has no pictures; where a recording was cut off, its index is missing and nothing can be read"
        return VideoError(f"{self.name}: {told}", "video_empty")

    @property
    def still(self) -> bool:
        """True for a still image, which is no video."""
        name = self.container.format.name
        return name.endswith("_pipe") or name.startswith("image2")

    @property
    def rate(self) -> Fraction | None:
        """Frames a second, on average."""
        return next((r for r in map(exact, (self.stream.average_rate, self.stream.guessed_rate)) if r), None)

    @property
    def reorders(self) -> bool:
        """Whether frames may be stored in another order than they are shown."""
        return bool(self.stream.codec_context.has_b_frames)

    @property
    def pixel_shape(self) -> Fraction:
        """Width of a stored pixel by its height; 1 if the file does not say."""
        found = exact(self.stream.sample_aspect_ratio)
        return found if found else Fraction(1)

    @property
    def has_sound(self) -> bool:
        """Whether the file has sound too."""
        return bool(self.container.streams.audio)

    @property
    def time_base(self) -> Fraction:
        """Seconds a unit of a time stamp."""
        return exact(self.stream.time_base) or Fraction(1)

    @property
    def declared(self) -> int:
        """Number of frames that the file declares; 0 if it does not."""
        return int(self.stream.frames)

    @property
    def lasts(self) -> Fraction | None:
        """Seconds that the file says its images last."""
        if self.stream.duration:
            return self.stream.duration * self.time_base
        if self.container.duration and not self.container.streams.audio:
            return Fraction(self.container.duration, self.av.time_base)
        return None

    def packets(self) -> Iterator[Any]:
        """Yield the stored packets, up to the end or to where the file cannot be read.

        The last one is empty and flushes the decoder.
        """
        try:
            yield from self.container.demux(self.stream)
        except (self.av.error.FFmpegError, OSError) as error:  # the second, where the disk fails
            self.error = _said(error)
            yield None

    def __iter__(self) -> Iterator[Any]:
        """Everything that can be decoded from here on, in the order it is shown."""
        begin = last = None
        for packet in self.packets():
            try:
                frames = self.stream.decode(packet)
            except self.av.error.EOFError:
                return
            except Exception as error:  # a damaged file may trip any line of a decoder
                self.error = self.error or _said(error)
                continue
            for frame in frames:
                self.corrupt += bool(frame.is_corrupt)
                if frame.pts is not None:
                    begin = frame.pts if begin is None else begin
                    self.jumped |= last is not None and (last - frame.pts) * self.time_base > JOIN
                    last = frame.pts
                    self.shown = (frame.pts - min(begin, 0) + (frame.duration or 0)) * self.time_base
                yield frame

    def seek(self, pts: int) -> None:
        """To a key frame not after ``pts``, as near as the file allows."""
        try:
            self.container.seek(pts, stream=self.stream, backward=True)
        except (self.av.error.FFmpegError, OSError) as error:
            raise VideoError(f"{self.name}: cannot be sought ({_said(error)})", "video_truncated") from None

    def close(self) -> None:
        self.container.close()
        self._file.close()


def exact(value: Any) -> Fraction | None:
    """A rational of PyAV's; None if it has none, or 0/0."""
    if value is None or not value.denominator:
        return None
    return Fraction(int(value.numerator), int(value.denominator))


def _opened(source: Path | bytes, name: str) -> Any:
    """A binary file, so that no name is taken for a protocol."""
    if isinstance(source, bytes):
        return io.BytesIO(source)
    try:
        mode = source.stat().st_mode
        if not stat.S_ISREG(mode):
            raise VideoError(f"{name}: is not a regular file", "video_not_a_file")
        return source.open("rb")
    except FileNotFoundError:
        raise missing(source, VideoError) from None
    except PermissionError:
        raise VideoError(f"{name}: permission denied", "video_forbidden") from None
    except VideoError:
        raise
    except (OSError, ValueError) as error:
        raise VideoError(f"{name}: {getattr(error, 'strerror', None) or error}", "video_missing") from None


def _said(error: BaseException) -> str:
    if isinstance(error, EOFError):
        return "it ends before its first picture"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _refused(url: str, flags: int, options: Any) -> Any:
    raise PermissionError(f"{url} is not opened: a video is one file")
