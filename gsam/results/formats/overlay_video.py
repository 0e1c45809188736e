"""A video to look at: each frame with its objects' masks in their own colours, labels and ids.

H.264 in yuv420p, which plays everywhere, by PyAV (the extra ``video``); BT.709 colours, said so in
the file; the pixel shape and the sound of the original, where they are given.
"""

from __future__ import annotations

import contextlib
import math
import os
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gsam.errors import UsageError
from gsam.files import atomic_path
from gsam.inputs.video.container import pyav
from gsam.results.draw.colours import numbered
from gsam.results.draw.outline import paint
from gsam.results.draw.overlay import line_width
from gsam.results.draw.plates import Caption, put
from gsam.results.formats.overlay_sound import Sound
from gsam.results.tracks import TrackedFrame

SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv")
BT709 = 1
LIMITED = 1


def draw(pixels: NDArray[np.uint8], tracked: TrackedFrame | None) -> Image.Image:
    """Draw one frame [H, W, 3] as RGB: masks, small over large, and plates with label and id.

    The colour of an object depends on its id alone.  Raises `ValueError` where frame and masks are
    not of one size.
    """
    image = Image.fromarray(pixels)
    if tracked is None or not len(tracked):
        return image
    if tracked.size != pixels.shape[:2]:
        raise ValueError(f"frame {tracked.index}: masks of {tracked.size} on a frame of {pixels.shape[:2]}")
    line = line_width(*tracked.size)
    areas, boxes = tracked.areas, tracked.xyxy.astype(int)
    seen = [int(i) for i in np.argsort(-areas, kind="stable") if areas[i]]
    painted = paint(image, [tracked.rles[i] for i in seen], [numbered(int(tracked.ids[i])) for i in seen], line)
    shapes = dict(zip(seen, painted, strict=True))
    by_id = sorted(seen, key=lambda i: int(tracked.ids[i]))
    texts = [
        (tracked.labels[i], f"#{tracked.ids[i]}") if tracked.labels[i] else (f"#{tracked.ids[i]}", "") for i in by_id
    ]
    captions = [
        Caption(*text, numbered(int(tracked.ids[i])), tuple(boxes[i].tolist()), shapes[i])
        for text, i in zip(texts, by_id, strict=True)
    ]
    put(image, captions, line, keep_numbers=True)
    return image


class OverlayVideo:
    """Frames go in one by one, and the file is there, whole, when the block ends without an error.

    Use it as ``with OverlayVideo(path, frames.rate, frames.time_base) as out:`` and call
    ``out.add(frame.pixels, tracked, frame.time)`` for each frame.
    """

    def __init__(
        self,
        path: str | Path,
        rate: Fraction | None = None,
        time_base: Fraction | None = None,
        *,
        quality: int = 20,
        pixel_shape: Fraction = Fraction(1),
        sound: Path | bytes | None = None,
    ) -> None:
        """Open the file for writing.

        ``rate``: frames per second (25 if unknown), for the file's head and for frames without a
        time. ``time_base``: the unit of their times, so that they are kept exactly; 1/90000 s, or
        one that fits ``rate``, if it is not given. ``quality`` is x264's ``crf``: 0 is lossless, 51
        the worst. ``pixel_shape``: width of a pixel by its height, which a player obeys.
        ``sound``: a video whose sound is copied, from its first image on; a warning says where the
        new file cannot hold it.

        Raises `UsageError` without PyAV, without an encoder for H.264, or for a file that does not
        end in one of `SUFFIXES`.
        """
        self.path = Path(path)
        if self.path.suffix.lower() not in SUFFIXES:
            raise UsageError(
                f"{os.fsdecode(path)}: the video should end in one of {', '.join(SUFFIXES)}", "video_suffix"
            )
        self.av = pyav()
        if "libx264" not in self.av.codecs_available:
            raise UsageError("this PyAV cannot write H.264: install the one of 'gsam-jax[video]'", "extra_missing")
        self.rate = rate or Fraction(25)
        self.base = time_base or Fraction(1, math.lcm(self.rate.numerator, 90_000))
        self.quality, self.pixel_shape = quality, pixel_shape
        self._sound = None if sound is None else Sound(sound)
        self.count = 0
        self.size = (0, 0)
        self._last = -1
        self._stack = contextlib.ExitStack()
        self._container: Any = None
        self._stream: Any = None

    def add(
        self, pixels: NDArray[np.uint8], tracked: TrackedFrame | None = None, time: Fraction | float | None = None
    ) -> None:
        """The next frame [H, W, 3], ``time`` seconds from the first.

        A time that is not after the one before is moved to just after it, because a file cannot
        hold it.  Raises `ValueError` for a frame of another size than the first.
        """
        if self._container is None:
            self._open(pixels.shape[0], pixels.shape[1])
        if pixels.shape[:2] != self.size:
            raise ValueError(f"frame {self.count} is {pixels.shape[:2]}, the video {self.size}")
        seconds = self.count / self.rate if time is None else Fraction(time)
        at = max(round(seconds / self.base), self._last + 1)
        picture = np.asarray(draw(pixels, tracked))
        h, w = self.size
        even = np.pad(picture, ((0, h % 2), (0, w % 2), (0, 0)), mode="edge")  # a row or column is repeated
        frame = self.av.VideoFrame.from_ndarray(even, format="rgb24").reformat(format="yuv420p", dst_colorspace=BT709)
        frame.pts, frame.time_base = at, self.base
        self._container.mux(self._stream.encode(frame))
        if self._sound is not None:
            self._sound.copy(self._container, at * self.base)
        self._last = at
        self.count += 1

    def _open(self, height: int, width: int) -> None:
        place = self._stack.enter_context(atomic_path(self.path))
        kind = {".mkv": "matroska", ".mov": "mov"}.get(self.path.suffix.lower(), "mp4")
        head = {} if kind == "matroska" else {"movflags": "faststart"}
        self._container = self._stack.enter_context(self.av.open(os.fsdecode(place), "w", format=kind, options=head))
        options = {"crf": str(self.quality), "preset": "veryfast"}
        self._stream = self._container.add_stream("libx264", rate=self.rate, options=options)
        self._stream.width, self._stream.height = width + width % 2, height + height % 2
        self._stream.pix_fmt = "yuv420p"
        codec = self._stream.codec_context
        codec.time_base = self.base
        codec.colorspace = codec.color_primaries = codec.color_trc = BT709
        codec.color_range = LIMITED
        codec.sample_aspect_ratio = self.pixel_shape
        if self._sound is not None:
            self._sound.join(self._container, self.path.name)
            self._stack.callback(self._sound.close)
        self.size = (height, width)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish the file, or leave nothing where there was an error, or no frame."""
        if error is None and self._container is not None:
            try:
                self._container.mux(self._stream.encode(None))
                if self._sound is not None:
                    self._sound.copy(self._container, (self._last + 1) * self.base)
            except BaseException as worse:
                self._stack.__exit__(type(worse), worse, worse.__traceback__)
                raise
        self._stack.__exit__(kind, error, trace)
