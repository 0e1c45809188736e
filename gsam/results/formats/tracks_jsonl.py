"""Tracks as JSON lines, one per frame, valid whenever the writing stops.

The first line is about the video, ``{"format": "gsam tracks 1", "video", "width", "height", "rate",
"count", "queries"}``; every other one is a finished frame, ``{"frame", "time", "objects": [{"id",
"label", "score", "box": [x0, y0, x1, y1], "mask": RLE}]}``. A frame that comes twice counts as it
came last.  A last line that was torn off is no line.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import IO, Self

import numpy as np

from gsam.errors import UsageError
from gsam.files import Closing
from gsam.results.tracks import TrackedFrame, Tracks
from gsam.types import Json

FORMAT = "gsam tracks 1"


@dataclasses.dataclass(frozen=True)
class Head:
    """The content of the first line."""

    size: tuple[int, int]
    """Height and width."""
    video: str = "video"
    rate: Fraction | None = None
    count: int | None = None
    """Number of frames of the video, if known."""
    queries: tuple[str, ...] = ()

    def fits(self, other: Head) -> bool:
        """Tell whether two heads are of one video and its queries."""
        return dataclasses.replace(self, count=other.count) == other

    def to_dict(self) -> Json:
        """The line."""
        return {
            "format": FORMAT,
            "video": self.video,
            "width": self.size[1],
            "height": self.size[0],
            "rate": None if self.rate is None else str(self.rate),
            "count": self.count,
            "queries": list(self.queries),
        }

    @classmethod
    def of(cls, line: Json) -> Self:
        """From the line."""
        rate = None if line["rate"] is None else Fraction(line["rate"])
        return cls((line["height"], line["width"]), line["video"], rate, line["count"], tuple(line["queries"]))


def frame_dict(frame: TrackedFrame) -> Json:
    """The line of a frame."""
    rows = zip(frame.ids.tolist(), frame.labels, frame.scores.tolist(), frame.xyxy.tolist(), frame.rles, strict=True)
    objects = [
        {"id": i, "label": label, "score": round(score, 5), "box": box, "mask": mask}
        for i, label, score, box, mask in rows
    ]
    time = None if frame.time is None else round(frame.time, 6)
    return {"frame": frame.index, "time": time, "objects": objects}


def frame_of(line: Json, size: tuple[int, int]) -> TrackedFrame:
    """The inverse of `frame_dict`; boxes are those of the masks."""
    objects = line["objects"]
    return TrackedFrame(
        line["frame"],
        size,
        np.array([o["id"] for o in objects], np.int64),
        [o["label"] for o in objects],
        np.array([o["score"] for o in objects], np.float32),
        [o["mask"] for o in objects],
        line["time"],
    )


class TracksWriter(Closing):
    """A file that frames are added to, each on the disk before `add` returns.

    A file that is there already is gone on with: `complete` says which frames it has, and a torn
    last line is cut off.
    """

    def __init__(self, path: Path, head: Head, *, last: int | None = None) -> None:
        """Open the file, new or to be continued.

        ``last``: what lies behind this frame is cut off; by default nothing.

        Raises `UsageError` where the file there is about another video, other queries, or no tracks
        at all.
        """
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self.complete: set[int] = set()
        self._file: IO[bytes] = path.open("ab")
        try:
            self._go_on(head, last)
        except BaseException:
            self._file.close()
            raise

    def _go_on(self, head: Head, last: int | None) -> None:
        good, lines = 0, _lines(self.path)
        for end, line in lines:
            if not good and not Head.of(_head(self.path, line)).fits(head):
                raise UsageError(
                    f"{os.fsdecode(self.path)}: holds tracks of another video or other queries; remove it to start anew",
                    "tracks_of_another",
                )
            if good:
                if last is not None and line["frame"] > last:
                    break
                self.complete.add(line["frame"])
            good = end
        self._file.truncate(good)
        if not good:
            self._write(head.to_dict())

    def add(self, frame: TrackedFrame) -> None:
        """Write a frame, or replace it."""
        self._write(frame_dict(frame))
        self.complete.add(frame.index)

    def _write(self, line: Json) -> None:
        self._file.write(_encoded(line))
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def first_line(head: Head) -> bytes:
    """The line about a video, as it is written."""
    return _encoded(head.to_dict())


def head_of(path: Path) -> Head:
    """The first line of a file, which is about its video.

    Raises `UsageError` for what is no file of tracks.
    """
    _, line = next(_lines(path), (0, {}))
    return Head.of(_head(path, line))


def complete(path: Path) -> list[int]:
    """Which frames a file has, ascending; none if there is no file.

    Raises `UsageError` for what is no file of tracks.
    """
    if not path.is_file():
        return []
    lines = [line for _, line in _lines(path)]
    if lines:
        _head(path, lines[0])
    return sorted({line["frame"] for line in lines[1:]})


def frames(path: Path) -> Iterator[TrackedFrame]:
    """Yield a file's frames in the order they were written, for files larger than the memory."""
    size: tuple[int, int] | None = None
    for _, line in _lines(path):
        if size is None:
            size = Head.of(_head(path, line)).size
        else:
            yield frame_of(line, size)


def read(path: Path) -> Tracks:
    """Everything a file has.

    Raises `UsageError` for what is no file of tracks, or has a broken line before its last.
    """
    lines = [line for _, line in _lines(path)]
    head = Head.of(_head(path, lines[0] if lines else {}))
    by_index = {line["frame"]: frame_of(line, head.size) for line in lines[1:]}
    found = [by_index[i] for i in sorted(by_index)]
    count = max(head.count or 0, found[-1].index + 1 if found else 0)
    return Tracks(found, head.size, count, head.rate, head.video, list(head.queries))


def write(tracks: Tracks, path: Path) -> None:
    """All at once: the file, whole or not at all."""
    from gsam.files import atomic_file

    head = Head(tracks.size, tracks.name, tracks.rate, tracks.count, tuple(tracks.queries))
    with atomic_file(path) as file:
        for line in (head.to_dict(), *map(frame_dict, tracks)):
            file.write(json.dumps(line, ensure_ascii=False, allow_nan=False).encode() + b"\n")


def _lines(path: Path) -> Iterator[tuple[int, Json]]:
    """The good lines, each with where it ends in the file; what is torn at the end is left out."""
    end = 0
    with path.open("rb") as file:
        broken = None
        for number, raw in enumerate(file, 1):
            if broken is not None:
                raise UsageError(f"{os.fsdecode(path)}: line {broken} is broken, and others follow it", "tracks_broken")
            line = _parsed(raw)
            if line is None:
                broken = number
                continue
            end += len(raw)
            yield end, line


def _encoded(line: Json) -> bytes:
    return json.dumps(line, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def _parsed(raw: bytes) -> Json | None:
    if not raw.endswith(b"\n"):
        return None
    try:
        line = json.loads(raw)
    except ValueError:
        return None
    return line if isinstance(line, dict) else None


def _head(path: Path, line: Json) -> Json:
    if line.get("format") != FORMAT:
        raise UsageError(
            f"{os.fsdecode(path)}: is no file of tracks (its first line is not {FORMAT!r})", "tracks_unreadable"
        )
    return line
