"""Small video files, and how tests speak to a server about them."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray


def encoded(frames: Sequence[NDArray[np.uint8]], rate: int = 10) -> bytes:
    """An MP4 of frames [H, W, 3], every fourth of them a key frame, with its index in front."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "clip.mp4"
        _write(place, frames, rate)
        return place.read_bytes()


def _write(place: Path, frames: Sequence[NDArray[np.uint8]], rate: int) -> None:
    with av.open(str(place), "w", options={"movflags": "faststart"}) as file:
        stream = file.add_stream("mpeg4", rate=Fraction(rate))
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt, stream.gop_size, stream.bit_rate = "yuv420p", 4, 1_000_000
        for pixels in frames:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        file.mux(stream.encode())


def plain(count: int, height: int = 48, width: int = 64) -> bytes:
    """A video of frames that are of one grey each, frame i of 10 + 20 i."""
    return encoded([np.full((height, width, 3), 10 + 20 * i % 240, np.uint8) for i in range(count)])


def upload(client: Any, data: bytes, name: str = "clip.mp4") -> Any:
    """The answer to an upload."""
    return client.post("/v1/videos", files={"video": (name, data, "video/mp4")})


def uploaded(client: Any, data: bytes) -> str:
    """Upload a video: the path of its routes."""
    answer = upload(client, data)
    assert answer.status_code == 201, answer.text
    return f"/v1/videos/{answer.json()['video']}"


def events(lines: Iterable[str]) -> Iterator[tuple[str, Any]]:
    """The events of a stream by its lines; comments are skipped."""
    kind = ""
    for line in lines:
        if line.startswith("event: "):
            kind = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield kind, json.loads(line.removeprefix("data: "))


def followed(client: Any, path: str, **fields: Any) -> list[tuple[str, Any]]:
    """All events of a following."""
    answer = client.post(f"{path}/track", json=fields)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/event-stream")
    return list(events(answer.text.split("\n")))
