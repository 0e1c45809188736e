"""`gsam track`, with a scripted pipeline: files, formats, going on, several videos, errors."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import gsam
from gsam.dataset import signals
from gsam.dataset.manifest import OWN
from gsam.errors import CheckpointError, VideoError
from gsam.results.formats import davis, mots, tracks_jsonl, youtube_vis
from gsam.results.tracks import TrackedFrame
from gsam.text.queries import parse_queries
from gsam.tracking.state import TrackingState
from tests.bad import videos as bad
from tests.helpers.command import Gsam, in_process
from tests.inputs.video import made

av = pytest.importorskip("av", reason="the extra video is not installed")


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


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    made = Fake()
    monkeypatch.setattr(gsam, "load", lambda name: made, raising=False)
    return made


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Gsam:
    monkeypatch.chdir(tmp_path)
    return in_process(monkeypatch, "track")


def folder(path: Path, count: int = 5) -> Path:
    path.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(count):
        Image.fromarray(rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(path / f"{i:05d}.png")
    return path


def test_everything_is_written(run: Gsam, fake: Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder(tmp_path / "clip")
    assert run("clip", "-q", "dog. red car", "--every", 3, "--format", "jsonl,mp4,davis,youtube_vis,mots") == 0
    assert fake.asked == [{"query": ["dog", "red car"], "start": None, "every": 3}]
    tracks = tracks_jsonl.read(tmp_path / "out" / "clip.jsonl")
    assert [frame.ids.tolist() for frame in tracks] == [[1], [1], [1, 2], [1, 2], [1, 2]]
    assert tracks.queries == ["dog", "red car"]
    ids = davis.read_frame(tmp_path / "out" / "clip" / "00003.png")
    assert ids[5, 5] == 1
    assert ids[15, 5] == 2
    (video,) = youtube_vis.read(tmp_path / "out" / "youtube_vis.json")
    assert sorted(video.labels.values()) == ["dog", "red car"]
    assert len(mots.read_txt(tmp_path / "out" / "clip_mots.txt")) == 5
    with av.open(str(tmp_path / "out" / "clip.mp4")) as file:
        assert [f.width for f in file.decode(video=0)] == [30] * 5
    told = capsys.readouterr().out
    assert "clip: 1 dog, 1 red car in 5 frames" in told
    assert "frames a second -> out/clip.jsonl" in told


def test_a_run_goes_on_where_it_stopped(run: Gsam, fake: Fake, tmp_path: Path) -> None:
    folder(tmp_path / "clip")
    fake.fails_at = 3
    assert run("clip", "-q", "dog. red car", "--format", "jsonl,davis") == 3
    path = tmp_path / "out" / "clip.jsonl"
    assert tracks_jsonl.complete(path) == [0, 1, 2]  # what was finished stays
    fake.fails_at = None
    assert run("clip", "-q", "dog. red car", "--format", "jsonl,davis", "--resume") == 0
    assert fake.asked[1] == {"query": ["dog", "red car"], "start": 2}
    assert tracks_jsonl.complete(path) == [0, 1, 2, 3, 4]
    assert run("clip", "-q", "dog. red car", "--format", "jsonl,davis", "--resume") == 0
    assert len(fake.asked) == 2  # nothing was left to do
    assert run("clip", "-q", "cat", "--resume") == 2  # other queries
    assert run("clip", "-q", "cat") == 0
    assert tracks_jsonl.read(path).queries == ["cat"]


def test_lines_on_stdout(run: Gsam, fake: Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder(tmp_path / "clip", 3)
    assert run("clip", "-q", "dog. red car", "--json") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["video"], line["frame"], len(line["objects"])) for line in lines] == [
        ("clip", 0, 1),
        ("clip", 1, 1),
        ("clip", 2, 2),
    ]
    assert not (tmp_path / "out").exists()


def test_a_bad_video_does_not_stop_the_others(
    run: Gsam, fake: Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder(tmp_path / "clip", 2)
    (tmp_path / "broken.mp4").write_bytes(b"nothing of the kind")
    (tmp_path / "empty").mkdir()
    assert run("broken.mp4", "empty", "missing.mp4", "clip", "-q", "dog", "--format", "jsonl") == 3
    told = capsys.readouterr()
    assert "broken.mp4" in told.err
    assert "empty" in told.err
    assert "missing.mp4" in told.err
    assert tracks_jsonl.complete(tmp_path / "out" / "clip.jsonl") == [0, 1]
    assert "1 of 4 videos, 1 objects" in told.err
    assert "3 failed: broken.mp4, empty, missing.mp4; results in out" in told.err


def test_a_model_that_cannot_be_had_is_no_fault_of_the_videos(
    run: Gsam, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def load(name: str) -> Fake:
        raise CheckpointError("not in the cache", "hub_offline")

    monkeypatch.setattr(gsam, "load", load, raising=False)
    folder(tmp_path / "a", 1)
    folder(tmp_path / "b", 1)
    assert run("a", "b", "-q", "dog") == 1
    assert capsys.readouterr().err == "gsam: not in the cache [hub_offline]\n"


def test_a_video_is_not_overwritten(run: Gsam, fake: Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "clip.mp4").write_bytes(made.video(1))
    assert run("clip.mp4", "-q", "dog", "-o", ".") == 2
    assert "output_is_input" in capsys.readouterr().err
    assert (tmp_path / "clip.mp4").read_bytes() == made.video(1)


def test_a_signal_ends_after_the_frame(run: Gsam, fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder(tmp_path / "clip")
    assert run("clip", "-q", "dog. red car", "-o", "whole", "--format", "jsonl") == 0
    walk, before = fake.frames, signal.getsignal(signal.SIGTERM)

    def interrupted(*arguments: Any, **options: Any) -> Iterator[TrackedFrame]:
        for frame in walk(*arguments, **options):
            if frame.index == 1:
                os.kill(os.getpid(), signal.SIGTERM)
            yield frame

    monkeypatch.setattr(fake, "frames", interrupted)
    monkeypatch.setattr(signals, "_received", None)
    signals.listen()
    try:
        assert run("clip", "-q", "dog. red car", "-o", "cut", "--format", "jsonl") == 143
    finally:
        signal.signal(signal.SIGTERM, before)
        signal.signal(signal.SIGINT, signal.default_int_handler)
    assert tracks_jsonl.complete(tmp_path / "cut" / "clip.jsonl") == [0, 1]
    assert [p.name for p in (tmp_path / "cut").iterdir() if not p.name.startswith(OWN)] == ["clip.jsonl"]
    monkeypatch.setattr(fake, "frames", walk)
    monkeypatch.setattr(signals, "_received", None)
    assert run("clip", "-q", "dog. red car", "-o", "cut", "--format", "jsonl", "--resume") == 0
    assert (tmp_path / "cut" / "clip.jsonl").read_bytes() == (tmp_path / "whole" / "clip.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["clip", "-q", "dog", "--format", "gif"], "no format 'gif'"),
        (["clip", "-q", "."], "query"),
        (["clip"], "--query"),
        (["a/clip.mp4", "b/clip.mp4", "-q", "dog"], "two videos are called clip"),
    ],
)
def test_usage(
    run: Gsam, fake: Fake, tmp_path: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder(tmp_path / "clip", 1)
    assert run(*arguments) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (bad.cut, "video_truncated"),
        (lambda: made.video(0), "video_empty"),
        (bad.two_sizes, "frames_mixed_sizes"),
        (made.sound_only, "video_no_pictures"),
        (lambda: b"hello " * 500, "video_unreadable"),
        (bytes, "video_unreadable"),
        (bad.varying, ""),
        (lambda: made.video(3, turn=90), ""),
        (lambda: made.video(1), ""),
    ],
    ids=["cut", "no frames", "mixed sizes", "sound", "text", "empty", "rate that varies", "on its side", "one frame"],
)  # fmt: skip
def test_exit_codes_of_odd_videos(
    run: Gsam, fake: Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str], data: Callable[[], bytes], code: str
) -> None:
    (tmp_path / "odd.mp4").write_bytes(data())
    assert run("odd.mp4", "-q", "dog", "--format", "jsonl") == (3 if code else 0)
    assert (f"[{code}]" in capsys.readouterr().err) == bool(code)
