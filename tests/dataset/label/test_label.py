"""`gsam label` as processes, with a stand-in for the pipeline: parts, kills, several at once."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gsam.dataset.label import engine, part_writer, parts
from gsam.errors import UsageError
from gsam.results.formats import known
from gsam.results.formats.label_parts import read_parts
from tests.helpers.fake_gsam import FakePipeline

ROOT = Path(__file__).parents[3]
FAKE = [sys.executable, str(ROOT / "tests" / "helpers" / "fake_gsam.py"), "label"]
COUNT = 23


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Images of two sizes in two folders, one of them no image."""
    folder = tmp_path / "in"
    rng = np.random.default_rng(0)
    for i in range(COUNT):
        path = folder / ("a" if i % 3 else "b") / f"{i:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (9 + i % 4, 12, 3), np.uint8)).save(path)
    (folder / "a" / "bad.jpg").write_bytes(b"no image")
    return folder


def command(images: Path, out: Path, *more: object) -> list[str]:
    form = [] if "--parts" in more else ["--parts", "jsonl"]
    return [*FAKE, str(images), "-q", "dog", "-p", "nano", "-o", str(out), "--part-size", "3", *form, *map(str, more)]


def run(images: Path, out: Path, *more: object, **environment: str) -> subprocess.CompletedProcess[str]:
    ours = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(command(images, out, *more), capture_output=True, text=True, env=ours, check=False)


def tree(folder: Path) -> dict[str, bytes]:
    """Every file of a folder but empty folders, with its bytes."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_every_image_is_a_row(form: str, images: Path, tmp_path: Path) -> None:
    if form == "parquet":
        pytest.importorskip("pyarrow")
    ran = run(images, tmp_path / "out", "--parts", form)
    assert ran.returncode == 3, ran.stderr
    rows = list(read_parts(tmp_path / "out"))
    assert [row["id"] for row in rows] == sorted(
        str(p.relative_to(images)) for p in images.rglob("*.*") if p.suffix in (".png", ".jpg")
    )
    (bad,) = [row for row in rows if row["error"] is not None]
    assert (bad["id"], bad["error"]["code"], bad["segments"]) == ("a/bad.jpg", "image_unreadable", [])
    good = [row for row in rows if row["error"] is None]
    assert {row["height"] for row in good} == {9, 10, 11, 12}
    assert all(s["label"] == "dog" and s["mask"]["size"] == [r["height"], 12] for r in good for s in r["segments"])
    assert "a/bad.jpg: " in ran.stderr
    assert f"{COUNT + 1} images in " in ran.stderr
    assert not list((tmp_path / "out" / "claims").iterdir())
    data = known.read(tmp_path / "out")
    assert sum(len(scene["segments"]) for scene in data) == sum(len(row["segments"]) for row in rows)
    assert [p.split(":")[0] for p in data.problems] == ["a/bad.jpg"]
    assert data.labels == ["dog"]
    again = run(images, tmp_path / "out", "--parts", form)
    assert "0 images in " in again.stderr
    assert "8 of 8 parts were there before" in again.stderr


def test_bytes_depend_on_nothing_but_the_plan(images: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    run(images, one)
    run(images, two, "--worker", "1/3")
    assert tree(one) == tree(two)


@pytest.mark.long
def test_several_at_once_share_the_parts(images: Path, tmp_path: Path) -> None:
    run(images, tmp_path / "whole")
    out = tmp_path / "out"
    ours = {**os.environ, "PYTHONPATH": str(ROOT), "FAKE_SECONDS": "0.1"}
    started = [
        subprocess.Popen(command(images, out), env=ours, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        for _ in range(3)
    ]
    told = [process.communicate(timeout=120)[1] for process in started]
    assert tree(out) == tree(tmp_path / "whole")
    done = [int(text.rsplit(" images in ", 1)[0].rsplit("gsam: ", 1)[1]) for text in told]
    assert sum(done) == COUNT + 1  # nothing twice
    assert max(done) < COUNT + 1


@pytest.mark.long
def test_killed_at_any_moment_and_started_again(images: Path, tmp_path: Path) -> None:
    run(images, tmp_path / "whole")
    wanted, rng = tree(tmp_path / "whole"), random.Random(0)
    ours = {**os.environ, "PYTHONPATH": str(ROOT), "FAKE_SECONDS": "0.03"}
    for number in range(6):
        out = tmp_path / str(number)
        for _ in range(3):
            started = [
                subprocess.Popen(command(images, out), env=ours, stderr=subprocess.DEVNULL)
                for _ in range(1 + number % 2)
            ]
            time.sleep(rng.uniform(0.3, 1.6))
            for process in started:
                process.send_signal(signal.SIGKILL)
                process.wait()
        assert run(images, out).returncode == 3
        found = {name: content for name, content in tree(out).items() if ".gsam-" not in name}
        assert found == wanted


def label(images: Path, out: Path, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> engine.Summary:
    monkeypatch.setattr("gsam.build.pipelines.load", lambda *_, **__: FakePipeline())
    return engine.label(images, "dog", out, "nano", **{"part_size": 5, "parts": "jsonl"} | settings)


def test_another_plan_is_refused(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    label(images, tmp_path / "out", monkeypatch)
    before = tree(tmp_path / "out")
    for change, why in (({"part_size": 6}, "part_size was 5, is 6"), ({"threshold": 0.9}, "limits.threshold")):
        with pytest.raises(UsageError, match=why):
            label(images, tmp_path / "out", monkeypatch, **change)
    with pytest.raises(UsageError, match="no image is there"):
        label(tmp_path / "out" / "claims", tmp_path / "none", monkeypatch)
    assert tree(tmp_path / "out") == before


def test_a_manifest_has_ids_and_queries(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        {"image": "in/a/01.png", "id": "first"},
        {"path": "in/b/00.png", "query": "cat"},
        {"file_name": "in/a/02.png", "query": "cat"},
        {"image": "in/gone.png"},
    ]
    (tmp_path / "list.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = label(tmp_path / "list.jsonl", tmp_path / "out", monkeypatch)
    read = list(read_parts(tmp_path / "out"))
    assert [row["id"] for row in read] == ["first", "in/b/00.png", "in/a/02.png", "in/gone.png"]
    assert [row["queries"] for row in read] == [["dog"], ["cat"], ["cat"], []]
    assert read[3]["error"]["code"] == "image_missing"
    assert (found.failed, found.images, found.complete) == (1, 4, True)
    (tmp_path / "list.csv").write_text('id,image,query\n7,in/a/01.png,"a, b"\n')
    label(tmp_path / "list.csv", tmp_path / "csv", monkeypatch)
    ((row,),) = [list(read_parts(tmp_path / "csv"))]
    assert (row["id"], row["queries"]) == ("7", ["a", "b"])


WRONG = {
    "twice": ('{"image": "x", "id": 1}\n{"image": "y", "id": 1}', "two images have the id '1', entries 1 and 2"),
    "no json": ('{"image": "x"}\n{', "line 2 is no JSON"),
    "no object": ("[1]", "line 1 is no object"),
    "no image": ('{"picture": 1}', "row 1 has no image"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_manifest_that_is_wrong(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content, why = WRONG[kind]
    (tmp_path / "list.jsonl").write_text(content)
    with pytest.raises(UsageError, match=why):
        label(tmp_path / "list.jsonl", tmp_path / "out", monkeypatch)
    assert tree(tmp_path / "out") == {}


def test_a_disk_that_is_full_leaves_whole_parts(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, real, count = tmp_path / "out", part_writer.write_part, [0]

    def some(*arguments: Any) -> None:
        count[0] += 1
        if count[0] == 3:
            raise OSError(28, "No space left on device")
        real(*arguments)

    monkeypatch.setattr(part_writer, "write_part", some)
    with pytest.raises(OSError, match="No space"):
        label(images, out, monkeypatch)
    assert len(list((out / "parts").iterdir())) == 2
    assert not list((out / "claims").iterdir())
    label(images, out, monkeypatch)
    label(images, tmp_path / "whole", monkeypatch)
    assert tree(out) == tree(tmp_path / "whole")


def test_without_pyarrow_parts_are_json_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert parts.form_of(None) == parts.form_of("jsonl") == "jsonl"
    with pytest.raises(UsageError, match=r"gsam-jax\[batch\]"):
        parts.form_of("parquet")
    with pytest.raises(UsageError, match="not 'xml'"):
        parts.form_of("xml")


@pytest.mark.parametrize("harm", ["version", "listing", "fields"])
def test_a_damaged_plan_is_told_at_once(
    harm: str, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    label(images, tmp_path / "out", monkeypatch)
    path = tmp_path / "out" / "plan.json"
    plan = json.loads(path.read_text())
    if harm == "listing":
        (tmp_path / "out" / plan["listing"]).write_text("")
    else:
        path.write_text(json.dumps(plan | {"version": 99} if harm == "version" else {"version": 1}))
    began = time.monotonic()
    with pytest.raises(UsageError, match="choose another -o") as error:
        label(images, tmp_path / "out", monkeypatch)
    assert error.value.code == "plan_unreadable"
    assert time.monotonic() - began < 5
