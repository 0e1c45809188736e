"""No command loses what a user has, mixes two runs in one, or minds a reader that left."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import gsam
from gsam.dataset import manifest
from gsam.dataset.folder import new_folder
from gsam.inputs.image import Source, open_image
from gsam.results.masks import rle
from gsam.weights.folders import data_folder
from tests.helpers.command import Gsam, in_process
from tests.helpers.fake_gsam import FakePipeline

ROOT = Path(__file__).parents[2]
ENV = {**os.environ, "PYTHONPATH": str(ROOT)}
FAKE = str(ROOT / "tests" / "helpers" / "fake_gsam.py")


class Masks:
    """Finds the whole picture."""

    def __init__(self, model: str, **options: Any) -> None:
        pass

    def generate(self, image: Source) -> list[dict[str, Any]]:
        mask = np.ones(open_image(image).pixels.shape[:2], bool)
        return [
            {"segmentation": rle.encode(mask), "area": int(mask.sum()), "bbox": [0, 0, *mask.shape[::-1]],
             "predicted_iou": 0.9, "point_coords": [[1.0, 2.0]], "stability_score": 0.95,
             "crop_box": [0, 0, *mask.shape[::-1]]}
        ]  # fmt: skip


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Gsam:
    monkeypatch.setattr(gsam, "load", lambda *a, **k: FakePipeline(), raising=False)
    monkeypatch.setattr(gsam, "MaskGenerator", Masks, raising=False)
    monkeypatch.chdir(tmp_path)
    for i in range(3):
        picture(tmp_path / "in" / f"{i}.png", i)
    return in_process(monkeypatch)


def picture(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(path)


def contents(folder: Path) -> dict[str, bytes]:
    found = (p for p in folder.rglob("*") if p.is_file() and p.name != manifest.NAME)
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in found}


SEGMENT = ("segment", "in", "-p", "nano", "-q", "dog")
EVERYTHING = ("everything", "in", "-m", "nano_sam")


@pytest.mark.parametrize(("first", "second"), [(SEGMENT, EVERYTHING), (EVERYTHING, SEGMENT)])
@pytest.mark.parametrize("resume", [[], ["--resume"]])
def test_one_folder_for_two_commands(
    run: Gsam,
    tmp_path: Path,
    first: tuple[str],
    second: tuple[str],
    resume: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(*first, "-o", "out", "--format", "json,png,coco") == 0
    before = contents(tmp_path / "out")
    assert run(*second, *resume, "-o", "out", "--format", "json,png,coco") == 2
    assert f"is a result of `gsam {first[0]}`" in capsys.readouterr().err
    assert contents(tmp_path / "out") == before
    assert run(*first, "-o", "out", "--resume", "--format", "json,png,coco") == 0
    assert contents(tmp_path / "out") == before
    assert run(*second, *resume, "--overwrite", "-o", "out", "--format", "json,png,coco") == 0


@pytest.mark.parametrize("command", [SEGMENT, EVERYTHING])
@pytest.mark.parametrize("path", ["in/mine.json", "in/0.json"])
def test_beside_the_inputs(run: Gsam, tmp_path: Path, command: tuple[str], path: str) -> None:
    (tmp_path / path).write_text("mine")
    before = contents(tmp_path / "in")
    for extra in ([], ["--overwrite"]):
        assert run(*command, "-o", "in", "--format", "png", *extra) == 2  # would replace the pictures
    assert contents(tmp_path / "in") == before
    assert run(*command, "-o", "in", "--format", "json") == (2 if path == "in/0.json" else 0)
    assert (tmp_path / path).read_text() == "mine"


@pytest.mark.parametrize("command", [SEGMENT, EVERYTHING])
def test_a_resumed_run_equals_a_whole_one(run: Gsam, tmp_path: Path, command: tuple[str]) -> None:
    formats = ("--format", "json,png,coco")
    assert run(*command, "-o", "whole", *formats) == 0
    assert run(command[0], "in/1.png", *command[2:], "-o", "cut", *formats) == 0
    (tmp_path / "cut" / "coco.json").unlink()
    assert run(*command, "-o", "cut", "--resume", *formats) == 0
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")  # numbers of images included


def test_resumed_with_a_changed_recipe_of_the_same_name(
    run: Gsam, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = (data_folder("pipelines") / "nano.toml").read_text(encoding="utf-8")
    (tmp_path / "mine.toml").write_text(recipe)
    command = ("segment", "in", "-q", "dog", "-p", "mine.toml", "--format", "json")
    assert run(*command) == 0
    assert run(*command, "--resume") == 0
    assert "3 were done before" in capsys.readouterr().err
    (tmp_path / "mine.toml").write_text(recipe.replace("nms = 0.3", "nms = 0.4"))
    assert run(*command, "--resume") == 0
    assert "3 of 3 images are done again: limits.nms was 0.3, is 0.4" in capsys.readouterr().err
    assert run(*command[:2], "-q", "dog. cat", *command[4:], "--resume") == 0
    assert "3 of 3 images are done again: queries.prompts was" in capsys.readouterr().err


def test_an_image_that_no_code_expects_costs_no_other(
    run: Gsam, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Fails(FakePipeline):
        def _run(self, due: Any) -> Any:
            if any(item.path.name == "1.png" for item, _, _ in due):
                raise RuntimeError("RESOURCE_EXHAUSTED: out of memory")
            return super()._run(due)

    monkeypatch.setattr(gsam, "load", lambda *a, **k: Fails(), raising=False)
    monkeypatch.setattr(
        Masks, "generate", lambda self, image: [{}["segmentation"]] if np.asarray(image)[0, 0, 0] > 0 else []
    )
    assert run(*SEGMENT, "--format", "json", "--batch-size", 2) == 3
    assert sorted(contents(tmp_path / "out")) == ["0.json", "2.json"]
    told = capsys.readouterr().err
    assert "in/1.png: RuntimeError: RESOURCE_EXHAUSTED: out of memory [internal]" in told
    assert "2 of 3 images" in told
    assert run(*EVERYTHING, "-o", "every", "--format", "json") == 3
    assert "[internal]" in capsys.readouterr().err


@pytest.mark.parametrize("command", [("export", "nano", "-o", "art"), ("weights", "port", "nano_sam", "art")])
def test_a_folder_that_another_run_makes(
    run: Gsam, tmp_path: Path, command: tuple[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with new_folder(tmp_path / "art"):
        assert run(*command) == 2
        assert "[output_locked]" in capsys.readouterr().err
    (tmp_path / "art").write_text("mine")
    assert run(*command) == 2
    assert "[output_exists]" in capsys.readouterr().err
    assert (tmp_path / "art").read_text() == "mine"


@pytest.mark.parametrize(
    "arguments",
    [
        ["segment", "in", "-p", "nano", "-q", "dog", "--json"],
        ["segment", "in", "-p", "nano", "-q", "dog"],
        ["weights", "list"],
        ["doctor", "--no-run"],
        ["segment", "--help"],
        ["--version"],
    ],
    ids=" ".join,
)
@pytest.mark.long
def test_a_reader_that_leaves_is_no_failure(run: Gsam, tmp_path: Path, arguments: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    process = subprocess.run(
        [sys.executable, FAKE, *arguments], cwd=tmp_path, env=ENV, stdout=write, stderr=subprocess.PIPE, timeout=120,
        check=False,
    )  # fmt: skip
    os.close(write)
    assert process.returncode == 0, process.stderr
    assert b"BrokenPipe" not in process.stderr
    assert b"[system]" not in process.stderr


@pytest.mark.long
def test_nobody_reads_either_stream(run: Gsam, tmp_path: Path) -> None:
    picture(tmp_path / "in" / "bad.png")
    (tmp_path / "in" / "bad.png").write_bytes(b"none")
    read, write = os.pipe()
    os.close(read)
    process = subprocess.run(
        [sys.executable, FAKE, *SEGMENT, "-o", "out"], cwd=tmp_path, env=ENV, stdout=write, stderr=write, timeout=120,
        check=False,
    )  # fmt: skip
    os.close(write)
    assert process.returncode == 3  # an image failed, and the others are there
    assert len(contents(tmp_path / "out")) == 6


@pytest.mark.skipif(os.name != "posix", reason="closes streams by a shell")
@pytest.mark.long
def test_streams_that_were_never_open(run: Gsam, tmp_path: Path) -> None:
    command = " ".join([sys.executable, FAKE, *SEGMENT, "-o", "out", ">&-", "2>&-"])
    assert subprocess.run(command, shell=True, cwd=tmp_path, env=ENV, timeout=120, check=False).returncode == 0
    assert len(contents(tmp_path / "out")) == 6
