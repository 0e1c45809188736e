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

import gsam
from gsam.dataset import signals
from gsam.dataset.folder import output_folder
from gsam.dataset.manifest import OWN
from gsam.errors import CheckpointError
from gsam.results.formats import davis, mots, tracks_jsonl, youtube_vis
from gsam.results.tracks import TrackedFrame, Tracks
from tests.bad import videos as bad
from tests.cli.fake_track import Fake, folder, results
from tests.helpers.command import Gsam, in_process
from tests.inputs.video import made

av = pytest.importorskip("av", reason="the extra video is not installed")


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    made = Fake()
    monkeypatch.setattr(gsam, "load", lambda name, **given: made, raising=False)
    return made


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Gsam:
    monkeypatch.chdir(tmp_path)
    return in_process(monkeypatch, "track", "-p", "nano")


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


def finished_tracks(path: Path, size: tuple[int, int], count: int, ids: Callable[[int], int], name: str) -> None:
    """A file that no manifest knows."""
    mask = np.zeros((1, *size), bool)
    mask[0, 2:9, 3:12] = True
    frames = [TrackedFrame.of(i, mask, [ids(i)], ["dog"], [0.9]) for i in range(count)]
    path.parent.mkdir(parents=True, exist_ok=True)
    tracks_jsonl.write(Tracks(frames, size, 5, None, name, ["dog"]), path)


def test_tracks_of_others(run: Gsam, fake: Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder(tmp_path / "clip")
    path = tmp_path / "out" / "clip.jsonl"
    finished_tracks(path, (20, 30), 5, lambda _: 1, "clip")
    before = path.read_bytes()
    assert run("clip", "-q", "dog", "--format", "jsonl") == 2
    assert "[output_exists]" in capsys.readouterr().err
    assert run("clip", "-q", "cat", "--format", "jsonl,mots", "--resume") == 2
    assert "[tracks_of_another]" in capsys.readouterr().err
    assert run("clip", "-q", "dog", "--format", "jsonl,mots", "--resume") == 0  # whole, so they are only read
    assert "nothing says with which settings" in capsys.readouterr().err
    assert path.read_bytes() == before
    assert (tmp_path / "out" / "clip_mots.txt").is_file()
    finished_tracks(path, (20, 30), 3, lambda _: 1, "clip")
    before = path.read_bytes()
    assert run("clip", "-q", "dog", "--format", "jsonl", "--resume") == 2
    assert "[resume_unknown]" in capsys.readouterr().err
    assert path.read_bytes() == before
    assert run("clip", "-q", "dog", "--format", "jsonl", "--resume", "--overwrite") == 0
    assert tracks_jsonl.complete(path) == [0, 1, 2, 3, 4]


def test_ids_without_room_cost_no_format_and_no_video(
    run: Gsam, fake: Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    for name in ("one", "two"):
        folder(tmp_path / name)
        finished_tracks(out / f"{name}.jsonl", (20, 30), 5, lambda i: 1 if i < 3 else 2000, name)
    formats = "mp4,davis,mots,youtube_vis"
    assert run("one", "two", "-q", "dog", "--resume", "--format", formats) == 0
    assert "objects are numbered anew, ids so high do not fit DAVIS: 2000 is 2" in capsys.readouterr().err
    assert davis.read(out / "one").ids == [1, 2]
    assert len(mots.read_txt(out / "two_mots.txt")) == 5
    assert youtube_vis.read(out / "youtube_vis.json")[1].ids == [1, 2000]


def test_a_format_that_cannot_be_written_is_the_video_s_failure_alone(
    run: Gsam, fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write, out = davis.write, tmp_path / "out"

    def failing(tracks: Tracks, place: Path) -> dict[int, int]:
        return [{}][int(tracks.name == "one")] or write(tracks, place)

    monkeypatch.setattr(davis, "write", failing)
    for name in ("one", "two"):
        folder(tmp_path / name)
    assert run("one", "two", "-q", "dog", "--format", "davis,mots,mp4") == 3
    assert {"one.jsonl", "one_mots.txt", "one.mp4", "two.jsonl", "two_mots.txt", "two.mp4", "two"} <= {
        p.name for p in out.iterdir()
    }
    told = capsys.readouterr().err
    assert "one: IndexError: list index out of range [internal]" in told
    assert "1 failed: one" in told


@pytest.mark.parametrize(
    "error", [AttributeError("codec"), RuntimeError("no memory"), OSError(5, "Input/output error")]
)
def test_whatever_is_wrong_with_a_video_costs_no_other(
    run: Gsam, fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    for name in ("one", "two"):
        folder(tmp_path / name)
    frames = fake.frames

    def failing(source: Any, first: int) -> Iterator[TrackedFrame]:
        for frame in frames(source, first):
            if source.name == "one" and frame.index == 2:
                raise error
            yield frame

    monkeypatch.setattr(fake, "frames", failing)
    assert run("one", "two", "-q", "dog", "--format", "jsonl") == 3
    assert tracks_jsonl.complete(tmp_path / "out" / "one.jsonl") == [0, 1]
    assert tracks_jsonl.complete(tmp_path / "out" / "two.jsonl") == [0, 1, 2, 3, 4]


def test_images_of_others_are_not_replaced(
    run: Gsam, fake: Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder(tmp_path / "clip")
    folder(tmp_path / "other")
    mine = tmp_path / "out" / "clip"
    mine.mkdir(parents=True)
    (mine / "99999.png").write_bytes(b"mine")
    (mine / ".gsam-half.png").write_bytes(b"half")
    assert run("clip", "-q", "dog", "--format", "davis") == 0
    assert sorted(p.name for p in mine.iterdir()) == [*(f"{i:05d}.png" for i in range(5)), "99999.png"]
    (mine / "00003.png").write_bytes(b"mine")
    before = results(tmp_path / "out")
    assert run("clip", "other", "-q", "dog", "--format", "davis") == 3
    assert "[output_changed]" in capsys.readouterr().err
    assert {k: v for k, v in results(tmp_path / "out").items() if k in before} == before
    assert (tmp_path / "out" / "other" / "00004.png").is_file()


def test_two_runs_on_one_folder(run: Gsam, fake: Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder(tmp_path / "clip")
    with output_folder(tmp_path / "out"):
        assert run("clip", "-q", "dog") == 2
        assert "[output_locked]" in capsys.readouterr().err
        (tmp_path / "out" / "clip.mp4").write_bytes(b"")
    (tmp_path / "file").touch()
    assert run("clip", "-q", "dog", "-o", "file") == 2


def test_what_a_killed_run_left_is_swept(run: Gsam, fake: Fake, tmp_path: Path) -> None:
    folder(tmp_path / "clip")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".gsam-abc.mp4").write_bytes(b"half")
    assert run("clip", "-q", "dog", "--format", "mp4") == 0
    assert sorted(results(tmp_path / "out")) == ["clip.jsonl", "clip.mp4"]
