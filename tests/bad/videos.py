"""Row 54: videos, and what is given for one, read to their end."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

from PIL import Image

from gsam.inputs.video import Frame, open_frames
from tests.bad.table import Row, Run, error
from tests.inputs.video import made


def reads(make: Callable[[], Any], **options: Any) -> Callable[[Path], Run]:
    """All frames of what ``make`` makes."""

    def prepare(_: Path) -> Run:
        source = make()
        return lambda: list(open_frames(source, **options))

    return prepare


def folder(*names: str) -> Callable[[Path], Run]:
    def prepare(place: Path) -> Run:
        for i, name in enumerate(names):
            Image.fromarray(made.picture(i)).save(place / name)
        return lambda: list(open_frames(place, rate=10))

    return prepare


def cut() -> bytes:
    data = made.video(40, group=1, movflags="faststart")
    start = data.find(b"mdat")
    return data[: start + (len(data) - start) // 2]


def shown(*times: int) -> Callable[[list[Frame]], None]:
    """Every frame in order, at these milliseconds."""

    def check(frames: list[Frame]) -> None:
        assert [made.level(f.pixels) for f in frames] == list(range(len(times)))
        assert [f.time for f in frames] == [Fraction(t, 1000) for t in times]

    return check


def lying(frames: list[Frame]) -> None:
    assert {(f.pixels.shape[:2], made.corner(f.pixels)) for f in frames} == {((64, 48), "lower left")}


def two_sizes() -> bytes:
    return made.video(4, kind="h264") + made.video(4, kind="h264", size=(32, 64))


VARYING = (0, 100, 150, 400, 900)


def varying() -> bytes:
    return made.video(5, times=VARYING)


def unknown_codec() -> bytes:
    data = made.video(4)
    at = data.find(b"avc1", data.find(b"stsd"))
    return data[:at] + b"xyz1" + data[at + 4 :]


def joined() -> bytes:
    """Two recordings, each with its time from zero."""
    return made.video(30, kind="mpegts") + made.video(12, kind="mpegts")


def in_order(frames: list[Frame]) -> None:
    times = [f.time for f in frames if f.time is not None]
    assert len(times) == len(frames) == 42
    assert times == sorted(set(times))
    assert [made.level(f.pixels) for f in frames] == [*range(30), *range(12)]


def open_video(_: Path) -> Run:
    return lambda: list(open_frames(io.BytesIO(made.video(3)), name="a.mp4"))


_BAD: list[Row] = [
    error(
        "54a",
        "a video that was cut off: after all its frames",
        reads(cut),
        "VideoError video_truncated",
        "of 40 frames",
    ),
    error("54b", "a video of no frames", reads(lambda: made.video(0)), "VideoError video_empty", "has no pictures"),
    error(
        "54c",
        "frames of mixed size: at the first of another",
        reads(two_sizes),
        "VideoError frames_mixed_sizes",
        "frame 4",
    ),
    error("54d", "sound without pictures", reads(made.sound_only), "VideoError video_no_pictures", "sound"),
    error("54e", "text for a video", reads(lambda: b"hello " * 500), "VideoError video_unreadable", "is not a video"),
    error("54f", "an empty file for a video", reads(lambda: b""), "VideoError video_unreadable", "is empty"),
    error("54g", "a folder without pictures", folder(), "VideoError video_empty", "no pictures in this folder"),
    error(
        "54h", "two pictures of one number", folder("1.png", "01.png"), "VideoError frames_ambiguous", "both frame 1"
    ),
    error("54i", "a live source that gives nothing", reads(lambda: iter([])), "VideoError video_empty", "ended before"),
    error(
        "54j",
        "a frame past the end",
        lambda _: lambda: open_frames([made.picture(0)])[1],
        "VideoError frame_past_end",
        "has no frame 1",
    ),
]
_BAD += [
    error(
        "54p",
        "a codec that is not known here",
        reads(unknown_codec),
        "VideoError video_codec_missing",
        "no decoder for it",
    ),
    error("54q", "a video of an empty path", lambda _: lambda: open_frames(""), "VideoError video_missing", "empty"),
    error(
        "54r",
        "a frame over the limit of pixels",
        reads(lambda: made.video(2), max_pixels=3000),
        "VideoError video_too_large",
        "64 x 48 is more than 3,000",
    ),
]
_ODD: list[Row] = [
    Row(
        "54s",
        "H.264 with B-frames in AVI: in the order they are shown",
        reads(lambda: made.video(5, kind="avi", group=30)),
        check=shown(0, 100, 200, 300, 400),
    ),
    Row("54t", "two recordings in one file: time goes on", reads(joined), check=in_order),
    Row(
        "54u",
        "pixels that are not square: frames as stored",
        reads(lambda: made.video(2, shape=Fraction(2))),
        check=shown(0, 100),
        says="2:1, not square",
        warns=True,
    ),
    Row(
        "54v",
        "HDR: told",
        reads(lambda: made.video(2, transfer=16)),
        check=shown(0, 100),
        says="HDR (PQ)",
        warns=True,
    ),
    Row("54w", "a video as an open file", open_video, check=shown(0, 100, 200)),
    Row("54k", "a rate that varies: every frame, at its own time", reads(varying), check=shown(*VARYING)),
    Row("54l", "a video that lies on its side: upright", reads(lambda: made.video(3, turn=90)), check=lying),
    Row("54m", "a video of one frame", reads(lambda: made.video(1)), check=shown(0)),
    Row(
        "54n",
        "numbers missing in a folder: named, and the hole stays in time",
        folder("1.png", "2.png", "5.png"),
        check=shown(0, 100, 400),
        says="are missing: 3-4",
        warns=True,
    ),
    Row("54o", "one frame in five of a folder", folder("0.png", "5.png", "10.png"), check=shown(0, 100, 200)),
]
_ELSEWHERE = ("54i", "54j", "54q", "54r", "54w")
"""What a command line cannot be given.

``tests/cli/test_track.py`` runs `gsam track` on the others that are files.
"""
ROWS: list[Row] = [
    dataclasses.replace(row, exit=None if row.id in _ELSEWHERE else row.exit, http=None) for row in (*_BAD, *_ODD)
]
