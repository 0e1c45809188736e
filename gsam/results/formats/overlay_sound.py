"""The sound of a video, copied beside new images without decoding it."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

from gsam.files import Closing
from gsam.inputs.video.container import exact, pyav


class Sound(Closing):
    """The first sound stream of a file, packet by packet.

    Args:
        source: The file, or its bytes.
    """

    def __init__(self, source: Path | bytes) -> None:
        self.source = source
        self._file: Any = None
        self._container: Any = None
        self._stream: Any = None
        self._packets: Iterator[Any] = iter(())
        self._next: Any = None
        self._begin = Fraction(0)

    def join(self, container: Any, name: str) -> None:
        """Add a stream to a file that is being written, before its first image; warn if it cannot.

        Args:
            container: PyAV's, open for writing.
            name: The file's name, for the warning.
        """
        av = pyav()
        try:
            self._file = io.BytesIO(self.source) if isinstance(self.source, bytes) else self.source.open("rb")
            self._container = av.open(self._file)
            stream = self._container.streams.audio[0]
            if stream.codec_context is None:
                raise ValueError("its codec is unknown")
            codec = stream.codec_context.codec.canonical_name
            if codec not in container.supported_codecs:
                raise ValueError(f"{codec} does not go into {Path(name).suffix}")
            self._stream = container.add_stream_from_template(stream)
            video = self._container.streams.video[0]
            base = exact(video.time_base) or Fraction(1)
            self._begin = (video.start_time or 0) * base
            self._packets = self._container.demux(stream)
            self._next = next(self._packets, None)
        except Exception as error:  # whatever it is, images matter more
            self._stream = None
            warnings.warn(f"{name}: has no sound, that of the video cannot be copied ({error})", stacklevel=4)

    def copy(self, container: Any, until: Fraction) -> None:
        """Copy what is heard before ``until`` seconds from the first image."""
        while self._stream is not None and self._next is not None:
            packet = self._next
            if packet.dts is not None:
                base = exact(packet.time_base) or Fraction(1)
                shift = round(self._begin / base)
                if (packet.dts - shift) * base > until:
                    return
                if packet.dts >= shift:
                    packet.dts -= shift
                    packet.pts = packet.dts if packet.pts is None else packet.pts - shift
                    packet.stream = self._stream
                    container.mux(packet)
            try:
                self._next = next(self._packets, None)
            except Exception:  # damaged from here on
                self._next = None

    def close(self) -> None:
        """Let go of the file."""
        for held in (self._container, self._file):
            with contextlib.suppress(Exception):
                if held is not None:
                    held.close()
