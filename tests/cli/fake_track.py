"""A scripted pipeline that tracks, clips for it, and what a run of it left."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gsam.dataset.manifest import OWN
from gsam.errors import VideoError
from gsam.results.tracks import TrackedFrame
from gsam.text.queries import parse_queries
from gsam.tracking.state import TrackingState


class Tracked:
    """Frames, and the number of the last one for a state."""

    def __init__(self, frames: Iterator[TrackedFrame]) -> None:
        self.frames, self.last = frames, -1

    def __iter__(self) -> Iterator[TrackedFrame]:
        for frame in self.frames:
            self.last = frame.index
            yield frame

    def state(self) -> TrackingState:
        return TrackingState(self.last, {}, {})


class Fake:
    """Follows a square of 8 pixels that moves by one a frame, and another from frame 2 on."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.fails_at, self.asked = fails_at, list[dict[str, Any]]()

    def track(self, frames: Any, query: Any, *, start: TrackingState | None = None, **settings: Any) -> Tracked:
        start_frame = None if start is None else start.frame
        self.asked.append({"query": parse_queries(query).names, "start": start_frame, **settings})
        return Tracked(self.frames(frames, 0 if start is None else start.frame + 1))

    def frames(self, frames: Any, first: int) -> Iterator[TrackedFrame]:
        for frame in frames.walk(first):
            if frame.index == self.fails_at:
                raise VideoError("the rest cannot be decoded", "video_damaged")
            masks = np.zeros((2, *frame.pixels.shape[:2]), bool)
            masks[0, 2:10, frame.index : frame.index + 8] = True
            masks[1, 12:18, 3:9] = frame.index >= 2
            ids = [1, 2] if frame.index >= 2 else [1]
            labels = ["dog", "red car"][: len(ids)]
            time = None if frame.time is None else float(frame.time)
            yield TrackedFrame.of(frame.index, masks[: len(ids)], ids, labels, [0.9] * len(ids), time)


def folder(path: Path, count: int = 5) -> Path:
    path.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(count):
        Image.fromarray(rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(path / f"{i:05d}.png")
    return path


def results(place: Path) -> dict[str, bytes]:
    found = (p for p in place.rglob("*") if p.is_file() and not p.name.startswith(OWN))
    return {p.relative_to(place).as_posix(): p.read_bytes() for p in found}
