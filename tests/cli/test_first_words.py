"""The command line of a newcomer: commands and recipes by name, files of names, stdin, models that
are not here.
"""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest
from PIL import Image

import gsam
from tests.helpers.command import Gsam, in_process
from tests.helpers.fake_gsam import FakePipeline


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Gsam:
    """``gsam`` in this process, in an empty folder, without network and weights."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("GSAM_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("GSAM_WEIGHTS", raising=False)
    return in_process(monkeypatch)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakePipeline:
    pipe = FakePipeline()
    monkeypatch.setattr(gsam, "load", lambda *a, **k: pipe, raising=False)
    return pipe


def image(path: Path) -> Path:
    Image.new("RGB", (40, 30), "white").save(path)
    return path


def test_recipes(command: Gsam, capsys: pytest.CaptureFixture[str]) -> None:
    from gsam.build.recipes import recipes

    assert command("recipes") == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == ["NAME", "MODELS", "SIZE", "LICENCE", "HERE"]
    by_name = {row.split()[0]: row for row in rows}
    assert list(by_name) == list(recipes())
    assert by_name["nano"].endswith("yes")
    assert "sam_vit_b" in by_name["grounded_sam"]
    assert "1.07 GB" in by_name["grounded_sam"] or "1.06 GB" in by_name["grounded_sam"]


@pytest.mark.parametrize("option", ["-V", "--version"])
def test_version(command: Gsam, capsys: pytest.CaptureFixture[str], option: str) -> None:
    assert command(option) == 0
    assert capsys.readouterr().out.strip() == f"gsam {gsam.__version__}"


def test_a_command_with_a_typing_mistake(command: Gsam, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("segmnt", "a.png") == 2
    assert "did you mean 'segment'" in capsys.readouterr().err


def test_a_model_in_place_of_a_recipe(command: Gsam, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image(tmp_path / "a.png")
    assert command("segment", "a.png", "-q", "dog", "-p", "sam_vit_b") == 2
    assert "segmenter" in capsys.readouterr().err


def test_models_that_are_not_here_are_all_named(
    command: Gsam, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image(tmp_path / "photo.png")
    assert command("segment", "photo.png", "-q", "cat") == 1
    error = capsys.readouterr().err
    for part in ("grounding_dino_tiny", "sam_vit_b (0.37 GB", "-p nano", str(tmp_path / "cache"), "[hub_offline]"):
        assert part in error, part
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["missing.png", "clip.mp4"])
def test_inputs_are_looked_at_before_anything_is_loaded_or_made(
    command: Gsam, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + bytes(100))
    assert command("segment", name, "-q", "cat") == 3
    error = capsys.readouterr().err
    assert ("gsam track" if name == "clip.mp4" else "no such file") in error
    assert "grounding_dino" not in error
    assert not (tmp_path / "out").exists()


def test_names_from_a_file(command: Gsam, fake: FakePipeline, tmp_path: Path) -> None:
    image(tmp_path / "a.png")
    (tmp_path / "names.txt").write_text("St. Bernard\ndog, sitting\n", encoding="utf-8")
    assert command("segment", "a.png", "--classes", "names.txt", "-q", "cat") == 0
    found = json.loads((tmp_path / "out" / "a.json").read_text(encoding="utf-8"))
    assert found["queries"] == ["St. Bernard", "dog, sitting", "cat"]


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00bad\xff"])
def test_a_file_of_names_that_cannot_be_read(
    command: Gsam, fake: FakePipeline, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None
) -> None:
    image(tmp_path / "a.png")
    if content is not None:
        (tmp_path / "names.txt").write_bytes(content)
    assert command("segment", "a.png", "--classes", "names.txt") == 2
    assert "[classes_unreadable]" in capsys.readouterr().err


def test_an_image_on_stdin(command: Gsam, fake: FakePipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = image(tmp_path / "a.png").read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert command("segment", "-", "-q", "dog", "-o", "out") == 0
    assert [p.suffix for p in sorted((tmp_path / "out").glob("*.json"))] == [".json"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of pycocotools, which Python itself does not show
def test_quiet_says_nothing_but_errors(
    command: Gsam, fake: FakePipeline, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in "ab":
        image(tmp_path / f"{name}.png")
    assert command("segment", "a.png", "b.png", "-q", "dog", "--quiet") == 0
    assert capsys.readouterr() == ("", "")
    (tmp_path / "bad.png").write_bytes(b"no image")
    assert command("segment", "a.png", "bad.png", "-q", "dog", "--quiet", "-o", "other") == 3
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "bad.png" in shown.err
