"""The command line, with a stand-in for the pipeline (tests/helpers/fake_gsam.py): files, exit
codes, signals, streams.
"""

from __future__ import annotations

import json
import os
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import gsam
from gsam.dataset import manifest
from gsam.results.masks.rle import decode
from tests.bad import images
from tests.bad.table import Row
from tests.helpers.command import Gsam, in_process
from tests.helpers.fake_gsam import FakePipeline

ROOT = Path(__file__).parents[2]
RNG = np.random.default_rng(0)


def picture(path: Path, h: int = 30, w: int = 40) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RNG.integers(0, 256, (h, w, 3), dtype=np.uint8)).save(path)
    return path


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakePipeline:
    fake = FakePipeline()
    monkeypatch.setattr(gsam, "load", lambda *a, **k: fake, raising=False)
    monkeypatch.chdir(tmp_path)
    return fake


@pytest.fixture
def run(pipe: FakePipeline, monkeypatch: pytest.MonkeyPatch) -> Gsam:
    """``gsam`` in this process: arguments -> exit code."""
    return in_process(monkeypatch)


def files(folder: Path) -> list[str]:
    found = (p for p in folder.rglob("*") if p.is_file() and p.name != manifest.NAME)
    return sorted(p.relative_to(folder).as_posix() for p in found)


def scene(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def test_one_picture_as_the_design_says(run: Gsam, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture(tmp_path / "a" / "scene.png")
    assert run("segment", "a/scene.png", "-q", "dog. pizza", "-p", "nano", "-o", "out") == 0
    assert files(tmp_path / "out") == ["scene.json", "scene.png"]
    found = scene(tmp_path / "out" / "scene.json")
    assert list(found) == ["image", "width", "height", "pipeline", "queries", "segments"]
    assert [found[k] for k in list(found)[:5]] == ["scene.png", 40, 30, "nano", ["dog", "pizza"]]
    first = found["segments"][0]
    assert list(first) == ["label", "label_id", "score", "mask_score", "box", "area", "mask"]
    assert [s["score"] for s in found["segments"]] == sorted((s["score"] for s in found["segments"]), reverse=True)
    mask = decode(first["mask"])
    assert mask.shape == (30, 40)
    assert first["area"] == mask.sum() > 0
    assert Image.open(tmp_path / "out" / "scene.png").size == (40, 30)
    out = capsys.readouterr().out
    assert "out/scene.png" in out
    assert "dog" in out


def test_a_bad_file_in_a_folder_of_twenty(run: Gsam, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for i in range(20):
        picture(tmp_path / "in" / f"{i:02}.png")
    (tmp_path / "in" / "07.png").write_bytes(b"no picture")
    (tmp_path / "in" / "notes.txt").write_text("not looked at")
    assert run("segment", "in", "-q", "dog", "-o", "out", "--batch-size", 4) == 3
    assert files(tmp_path / "out") == sorted(f"{i:02}.{k}" for i in range(20) if i != 7 for k in ("json", "png"))
    for i in (0, 6, 8, 19):  # each result is its own picture's
        assert scene(tmp_path / "out" / f"{i:02}.json")["image"] == f"{i:02}.png"
    error = capsys.readouterr().err
    assert "in/07.png" in error
    assert "image_unreadable" in error
    assert "20/20" in error
    assert "19 of 20" in error


def test_deep_and_large_images(run: Gsam, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import numpy as np

    Image.fromarray(np.arange(48, dtype=np.int32).reshape(6, 8) * 100_000).save(tmp_path / "deep.tif")
    assert run("segment", "deep.tif", "-q", "dog") == 3
    assert "--stretch" in capsys.readouterr().err
    assert run("segment", "deep.tif", "-q", "dog", "--stretch") == 0
    assert run("segment", "deep.tif", "-q", "dog", "--stretch", "--max-pixels", 40) == 3
    assert "8 x 6 is more than 40 pixels" in capsys.readouterr().err


def test_batches(run: Gsam, pipe: FakePipeline, tmp_path: Path) -> None:
    for i in range(5):
        picture(tmp_path / "in" / f"{i}.png")
    assert run("segment", "in", "-q", "dog", "--batch-size", 2) == 0
    assert pipe.batches == [2, 2, 1]
    assert len(files(tmp_path / "out")) == 10


def test_nothing_found_is_success(run: Gsam, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("RGB", (9, 9)).save(tmp_path / "black.png")
    assert run("segment", "black.png", "-q", "dog") == 0
    assert scene(tmp_path / "out" / "black.json")["segments"] == []
    assert "nothing" in capsys.readouterr().out


def test_json_on_stdout(run: Gsam, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture(tmp_path / "a.png")
    picture(tmp_path / "b.png", 40, 30)
    assert run("segment", "a.png", "b.png", "-q", "dog", "--json") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["image"] for line in lines] == ["a.png", "b.png"]
    assert not (tmp_path / "out").exists()
    assert run("segment", "a.png", "-q", "dog", "--json", "-o", "there") == 0
    assert files(tmp_path / "there") == ["a.json", "a.png"]
    assert json.loads(capsys.readouterr().out) == scene(tmp_path / "there" / "a.json")


def test_coco(run: Gsam, tmp_path: Path) -> None:
    picture(tmp_path / "in" / "a.png")
    picture(tmp_path / "in" / "sub" / "b.png", 40, 30)
    assert run("segment", "in", "-r", "-q", "dog. 고양이", "--format", "coco", "-o", "out") == 0
    assert files(tmp_path / "out") == ["coco.json"]
    coco = scene(tmp_path / "out" / "coco.json")
    assert [i["file_name"] for i in coco["images"]] == ["a.png", "sub/b.png"]
    assert [c["name"] for c in coco["categories"]] == ["dog", "고양이"]
    assert [(a["image_id"], a["category_id"], a["iscrowd"]) for a in coco["annotations"]] == [
        (1, 1, 0),
        (1, 2, 0),
        (2, 1, 0),
    ]


def test_a_picture_called_coco(run: Gsam, tmp_path: Path) -> None:
    picture(tmp_path / "coco.png")
    assert run("segment", "coco.png", "-q", "dog", "--format", "json,coco") == 0
    assert files(tmp_path / "out") == ["coco.json", "coco.png.json"]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["segment", "a.png"], 2, "--query"),
        (["segment", "-q", "dog"], 2, "PATH"),
        (["segment", "a.png", "-q", " . "], 2, "query_empty"),
        (["segment", "a.png", "-q", "do\x1bg"], 2, "query_control_character"),
        (["segment", "a.png", "-q", "dog", "--format", "gif"], 2, "gif"),
        (["segment", "a.png", "-q", "dog", "--format", ","], 2, "format"),
        (["segment", "a.png", "-q", "dog", "--threshold", "2"], 2, "between 0 and 1"),
        (["segment", "a.png", "-q", "dog", "--batch-size", "0"], 2, "batch-size"),
        (["segment", "a.png", "-q", "dog", "-o", "a.png"], 2, "output_not_a_folder"),
        (["segment", "a.png", "-q", "dog", "-o", "result.png"], 2, "output_not_a_folder"),
        (["segment", "a.png", "-q", "dog", "-o", "some/tracks.JSONL"], 2, "output_not_a_folder"),
        (["segment", "a.png", "-q", "dog", "-o", "a.png/out"], 2, "output_not_writable"),
        (["segment", "a.png", "-q", "dog", "-o", "/"], 2, "output_root"),
        (["segment", "a.png", "-q", "dog", "-o", "."], 2, "output_is_input"),
        (["segment", "no.png", "-q", "dog"], 3, "image_missing"),
        (["segment", "*.jpg", "-q", "dog"], 4, "no image matches"),
        (["segment", "empty", "-q", "dog"], 4, "no image matches"),
        (["fly"], 2, "fly"),
    ],
)
def test_exit_codes(
    run: Gsam, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, says: str
) -> None:
    before = picture(tmp_path / "a.png").read_bytes()
    (tmp_path / "empty").mkdir()
    assert run(*arguments) == code
    captured = capsys.readouterr()
    assert says in captured.err
    assert not captured.out
    assert "Traceback" not in captured.err
    assert (tmp_path / "a.png").read_bytes() == before


def test_what_is_refused_is_refused_before_the_model_is_loaded(
    run: Gsam, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gsam, "load", lambda *a, **k: pytest.fail("loaded"), raising=False)
    picture(tmp_path / "a.png")
    for arguments in (["-o", "/"], ["-o", "a.png"], ["-q", ""], ["--format", "x"], ["--threshold", "-1"]):
        assert run("segment", "a.png", *([] if "-q" in arguments else ["-q", "dog"]), *arguments) == 2


def test_errors_of_gsam_and_of_the_disk(
    run: Gsam, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from gsam.errors import CheckpointError, UsageError

    picture(tmp_path / "a.png")
    for error, code in ((CheckpointError("no such model"), 1), (UsageError("no such recipe"), 2)):

        def load(*_: Any, error: Exception = error, **__: Any) -> None:
            raise error

        monkeypatch.setattr(gsam, "load", load, raising=False)
        assert run("segment", "a.png", "-q", "dog") == code
        assert str(error) in capsys.readouterr().err
    monkeypatch.setattr(gsam, "load", lambda *a, **k: FakePipeline(), raising=False)
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    assert run("segment", "a.png", "-q", "dog", "-o", "full") == 1
    assert "No space left on device" in capsys.readouterr().err
    assert files(tmp_path / "full") == []


def test_what_nobody_expected_is_one_line(
    run: Gsam, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def load(*_: Any, **__: Any) -> None:
        warnings.warn("two\nlines", stacklevel=2)
        raise RuntimeError("no more\nmemory")

    picture(tmp_path / "a.png")
    monkeypatch.delenv("GSAM_TRACEBACK", raising=False)
    monkeypatch.setattr(gsam, "load", load, raising=False)
    assert run("segment", "a.png", "-q", "dog") == 1
    assert capsys.readouterr().err.splitlines() == [
        "warning: two lines",
        "gsam: RuntimeError: no more memory [internal]; run with GSAM_TRACEBACK=1 for details",
    ]
    monkeypatch.setenv("GSAM_TRACEBACK", "1")
    assert run("segment", "a.png", "-q", "dog") == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_full_disk_when_coco_is_written_at_the_end(
    run: Gsam, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    picture(tmp_path / "a.png")
    monkeypatch.delenv("GSAM_TRACEBACK", raising=False)
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    assert run("segment", "a.png", "-q", "dog", "--format", "coco") == 1
    error = capsys.readouterr().err
    assert "gsam: No space left on device [system]" in error
    assert "Traceback" not in error
    assert files(tmp_path / "out") == []


def test_thresholds_reach_the_pipeline(run: Gsam, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, ...]] = []
    monkeypatch.setattr(gsam, "load", lambda *a, **k: asked.append((a, k)) or FakePipeline(), raising=False)
    picture(tmp_path / "a.png")
    assert run("segment", "a.png", "-q", "dog") == 0
    (tmp_path / "my").mkdir()
    (tmp_path / "my" / "own.toml").write_text('[detect]\nname = "nano_owl"\n')
    assert run("segment", "a.png", "-q", "dog", "-p", "my/own.toml", "--threshold", "0.25") == 0
    assert asked == [(("grounded_sam",), {}), (("my/own.toml",), {"threshold": 0.25})]


def test_queries_may_be_repeated(run: Gsam, tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    assert run("segment", "a.png", "-q", "dog. Cat", "-q", "cat, red  car") == 0
    assert scene(tmp_path / "out" / "a.json")["queries"] == ["dog", "Cat", "red car"]


def test_resume_skips_only_what_is_finished(run: Gsam, pipe: FakePipeline, tmp_path: Path) -> None:
    for name in "abcd":
        picture(tmp_path / "in" / f"{name}.png")
    command = ["segment", "in", "-q", "dog", "--format", "json,png,coco"]
    assert run(*command) == 0
    whole = {f: (tmp_path / "out" / f).read_bytes() for f in files(tmp_path / "out")}
    (tmp_path / "out" / "a.png").unlink()
    (tmp_path / "out" / "b.json").write_bytes(whole["b.json"][:40])
    (tmp_path / "out" / ".gsam-left.png").write_bytes(b"half")
    pipe.batches.clear()
    assert run(*command, "--resume") == 2  # somebody changed b.json
    assert sum(pipe.batches) == 0
    assert run(*command, "--resume", "--overwrite") == 0
    assert sum(pipe.batches) == 2
    assert {f: (tmp_path / "out" / f).read_bytes() for f in files(tmp_path / "out")} == whole
    pipe.batches.clear()
    assert run("segment", "in", "-q", "cat", "--resume") == 0  # another question
    assert sum(pipe.batches) == 4
    pipe.batches.clear()
    assert run("segment", "in", "-q", "cat") == 0
    assert sum(pipe.batches) == 4


def test_odd_names_of_files(run: Gsam, tmp_path: Path) -> None:
    for name in ("line\nbreak.png", "개와 🐶.png", "x" * 251 + ".png", "[a].png"):
        picture(tmp_path / "in" / name)
    (tmp_path / "in" / os.fsdecode(b"caf\xe9.png")).write_bytes((tmp_path / "in" / "[a].png").read_bytes())
    assert run("segment", "in", "-q", "dog") == 0
    assert len(files(tmp_path / "out")) == 10
    assert run("segment", "in/[a].png", "-q", "dog", "-o", "one") == 0
    assert files(tmp_path / "one") == ["[a].json", "[a].png"]


@pytest.mark.parametrize("row", [r for r in images.ROWS if r.exit == 3], ids=lambda r: r.id)
def test_bad_pictures_of_the_table(row: Row, run: Gsam, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    row.make(folder)
    bad = [p for p in folder.iterdir() if p.suffix in (".png", ".jpg", ".tif", ".eps", ".pdf", ".svg", ".heic")]
    if not bad:
        pytest.skip("no file is needed for this one")
    good = picture(tmp_path / "good.png")
    assert run("segment", *bad, good, "-q", "dog") == 3
    assert files(tmp_path / "out") == ["good.json", "good.png"]
    assert row.expect.split()[-1] in capsys.readouterr().err


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_does_not_hang(run: Gsam, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    assert run("segment", "pipe.png", "-q", "dog") == 3
    assert "image_not_a_file" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["segment", "everything", "track", "doctor", "weights"])
def test_every_command_explains_itself(run: Gsam, capsys: pytest.CaptureFixture[str], command: str) -> None:
    assert run(command, "--help") == 0
    assert re.search(rf"Usage: gsam {command}", capsys.readouterr().out)


def test_version(run: Gsam, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out == f"gsam {gsam.__version__}\n"


def test_doctor(run: Gsam, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GSAM_CACHE", str(tmp_path / "cache"))
    assert run("doctor", "--no-run") == 0
    out = capsys.readouterr().out
    for word in ("python", "jax", "devices", "cache", "free", "Korean", "all is well"):
        assert word in out
    (tmp_path / "file").touch()
    monkeypatch.setattr("gsam.cli.doctor.PACKAGES", "no-such-package")
    assert run("doctor", "--no-run") == 1
    assert "!!  no-such-package" in capsys.readouterr().out
