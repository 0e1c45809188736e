"""Videos that tests make: each frame is grey, brighter by the frame, with a red corner at the upper
left.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

MS = Fraction(1, 1000)


def picture(i: int, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    """Frame ``i``, [H, W, 3]."""
    rgb = np.full((*size, 3), 40 + 5 * i, np.uint8)
    rgb[: size[0] // 2, : size[1] // 2] = 220, 20, 20
    return rgb


def level(rgb: np.ndarray) -> int:
    """Which frame it is, by its brightness (each `picture` is 5 brighter than the last); codecs are
    off by one or two.
    """
    return round((float(np.median(rgb[..., 1])) - 40) / 5)


def until_error(frames: Iterable[Any]) -> tuple[list[Any], Any]:
    """What comes before the error, and the error."""
    seen: list[Any] = []
    try:
        for frame in frames:
            seen.append(frame)
    except Exception as error:
        return seen, error
    pytest.fail(f"no error after {len(seen)} frames")


def corner(rgb: np.ndarray) -> str:
    """Where the red is."""
    h, w = rgb.shape[:2]
    red = {
        f"{'upper' if y < h // 2 else 'lower'} {'left' if x < w // 2 else 'right'}": float(
            rgb[y, x, 0].astype(int) - rgb[y, x, 1]
        )
        for y in (h // 8, h - h // 8)
        for x in (w // 8, w - w // 8)
    }
    return max(red, key=lambda place: red[place])


def video(
    count: int = 10,
    *,
    size: tuple[int, int] = (48, 64),
    kind: str = "mp4",
    codec: str = "libx264",
    times: Sequence[int] | None = None,
    turn: float | None = None,
    matrix: Sequence[int] | None = None,
    group: int = 12,
    sound: bool = False,
    shape: Fraction | None = None,
    transfer: int | None = None,
    **options: str,
) -> bytes:
    """A file of ``count`` frames, 10 a second or shown at ``times`` (milliseconds), a key frame
    every ``group``.
    """
    av = pytest.importorskip("av", reason="making a video needs PyAV")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "made"  # a file, because FFmpeg reopens it to move the index to its beginning
        write(av, place, count, size, kind, codec, times, turn, matrix, group, sound, options, shape, transfer)
        return place.read_bytes()


def write(
    av: Any,
    place: Path,
    count: int,
    size: tuple[int, int],
    kind: str,
    codec: str,
    times: Sequence[int] | None,
    turn: float | None,
    matrix: Sequence[int] | None,
    group: int,
    sound: bool,
    options: dict[str, str],
    shape: Fraction | None = None,
    transfer: int | None = None,
) -> None:
    with av.open(str(place), "w", format=kind, options=options) as container:
        stream = container.add_stream(codec, rate=10, options={"g": str(group)})
        if codec != "libx264":
            stream.bit_rate = 4_000_000
        stream.width, stream.height, stream.pix_fmt = size[1], size[0], "yuv420p"
        base = Fraction(1, 10) if kind == "avi" else MS  # AVI knows one rate, and no time stamps
        stream.codec_context.time_base = base
        if shape is not None:
            stream.codec_context.sample_aspect_ratio = shape
        if transfer is not None:
            stream.codec_context.color_trc = transfer
        if turn is not None:
            stream.set_display_rotation(turn)
        if matrix is not None:
            stream.set_display_matrix(matrix)
        heard = container.add_stream("aac", rate=8000, layout="mono") if sound else None
        for i in range(count):
            frame = av.VideoFrame.from_ndarray(picture(i, size), format="rgb24")
            frame.pts, frame.time_base = round((times[i] if times else 100 * i) * MS / base), base
            container.mux(stream.encode(frame))
        if not count:
            container.start_encoding()
        container.mux(stream.encode(None))
        if heard is not None:
            container.mux(heard.encode(silence(av, 8000)))
            container.mux(heard.encode(None))


def sound_only() -> bytes:
    """A second of silence."""
    av = pytest.importorskip("av", reason="making a video needs PyAV")
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="wav") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        container.mux(stream.encode(silence(av, 8000, "s16")))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def silence(av: Any, count: int, kind: str = "fltp") -> Any:
    values = np.zeros((1, count), np.int16 if kind == "s16" else np.float32)
    frame = av.AudioFrame.from_ndarray(values, format=kind, layout="mono")
    frame.sample_rate = 8000
    return frame
