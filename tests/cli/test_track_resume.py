"""`gsam track` killed at any frame and resumed: as if it had never been killed, or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import gsam
from gsam.dataset import manifest, track_lines
from gsam.dataset.track_lines import Lines
from gsam.errors import CheckpointError
from gsam.pipeline import Pipeline
from gsam.results.tracks import TrackedFrame
from gsam.weights.folders import data_folder
from tests.cli.fake_track import Fake, folder, results
from tests.helpers.command import Gsam, in_process
from tests.inputs.video import made
from tests.tracking.test_text_tracking import pipeline

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


class Killed(BaseException):
    """A run that ends without a word, as by SIGKILL."""


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    """A pipeline with a tracker whose memories matter: random, tiny, real."""
    pipe = pipeline()
    monkeypatch.setattr(gsam, "load", lambda name, **given: pipe, raising=False)
    return pipe


def kill_after(monkeypatch: pytest.MonkeyPatch, number: int, seconds: float) -> None:
    add = Lines.add

    def dying(lines: Lines, frame: TrackedFrame, *arguments: Any) -> None:
        add(lines, frame, *arguments)
        if frame.index == number:
            assert lines._writer is not None
            lines._writer.close()
            monkeypatch.setattr(Lines, "add", add)
            raise Killed

    monkeypatch.setattr(track_lines, "SECONDS", seconds)
    monkeypatch.setattr(track_lines, "SHARE", 0)
    monkeypatch.setattr(Lines, "add", dying)
    monkeypatch.setattr(Lines, "close", lambda _: None)


@pytest.mark.parametrize("seconds", [0.0, 1e6], ids=["with a state", "without"])
@pytest.mark.parametrize("number", [0, 2, 3, 5])
@pytest.mark.long
def test_killed_after_any_frame_and_resumed_is_as_if_never_killed(
    run: Gsam, tiny: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, seconds: float
) -> None:
    folder(tmp_path / "clip", 6)
    command = ("clip", "-q", "dog. red car", "--format", "jsonl,davis,mots,youtube_vis")
    assert run(*command, "-o", "whole") == 0
    with monkeypatch.context() as patch:
        kill_after(patch, number, seconds)
        with pytest.raises(Killed):
            run(*command, "-o", "cut")
    assert (tmp_path / "cut" / ".gsam.clip.state.npz").is_file() == (seconds == 0)
    with (tmp_path / "cut" / "clip.jsonl").open("ab") as file:
        file.write(b'{"frame": 6, "obj')  # a line that was torn off
    assert run(*command, "-o", "cut", "--resume") == 0
    assert results(tmp_path / "cut") == results(tmp_path / "whole")
    assert sorted(p.name for p in (tmp_path / "cut").glob(".*")) == [manifest.NAME]


def test_a_damaged_state_costs_time_only(
    run: Gsam, tiny: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder(tmp_path / "clip", 4)
    assert run("clip", "-q", "dog", "--format", "jsonl", "-o", "whole") == 0
    with monkeypatch.context() as patch:
        kill_after(patch, 2, 0.0)
        with pytest.raises(Killed):
            run("clip", "-q", "dog", "--format", "jsonl", "-o", "cut")
    (tmp_path / "cut" / ".gsam.clip.state.npz").write_bytes(b"PK")
    assert run("clip", "-q", "dog", "--format", "jsonl", "-o", "cut", "--resume") == 0
    assert results(tmp_path / "cut") == results(tmp_path / "whole")


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        (["--every", 3], "tracking.every was not given, is 3"),
        (["--match", 0.25], "tracking.match was not given, is 0.25"),
        (["--patience", 5], "tracking.patience was not given, is 5"),
        (["--renew", 0.5], "tracking.renew was not given, is 0.5"),
        (["--doubt", 2], "tracking.doubt was not given, is 2"),
        (["--no-redraw"], "tracking.redraw was not given, is false"),
        (["--threshold", 0.5], "limits.threshold was 0.1, is 0.5"),
        (["-p", "other.toml"], "recipe.track.patience was not given, is 7"),
    ],
)
def test_other_settings_are_refused(
    run: Gsam, fake: Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str], changed: list[Any], says: str
) -> None:
    folder(tmp_path / "clip")
    recipe = (data_folder("pipelines") / "nano.toml").read_text(encoding="utf-8")
    (tmp_path / "other.toml").write_text(recipe.replace("[track]\n", "[track]\npatience = 7\n"))
    command = ("clip", "-q", "dog. red car", "--format", "jsonl")
    for fails_at in (3, None):  # a part of a video, a whole one
        fake.fails_at = fails_at
        run(*command, *(["--resume"] if fails_at is None else []))
        before = results(tmp_path / "out")
        capsys.readouterr()
        assert run(*command, *changed, "--resume") == 2
        told = capsys.readouterr().err
        assert says in told
        assert "[resume_differs]" in told
        assert results(tmp_path / "out") == before
    assert run(*command, *changed) == 0  # anew


def test_a_changed_video_is_refused(run: Gsam, fake: Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "clip.mp4").write_bytes(made.video(6))
    fake.fails_at = 3
    assert run("clip.mp4", "-q", "dog", "--format", "jsonl") == 3
    (tmp_path / "clip.mp4").write_bytes(made.video(5))
    assert run("clip.mp4", "-q", "dog", "--format", "jsonl", "--resume") == 2
    assert "the video changed" in capsys.readouterr().err


def test_tracks_of_before_are_kept_until_there_is_something_new(
    run: Gsam, fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder(tmp_path / "clip")
    assert run("clip", "-q", "dog", "--format", "jsonl") == 0
    before = results(tmp_path / "out")

    def load(name: str) -> Fake:
        raise CheckpointError("not in the cache", "hub_offline")

    monkeypatch.setattr(gsam, "load", load, raising=False)
    assert run("clip", "-q", "cat", "--format", "jsonl") == 1
    assert results(tmp_path / "out") == before
