"""``gsam segment --format`` with data sets: whole, in order, resumed to the same bytes, and never
over what somebody else put there.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import gsam
from gsam.dataset import manifest, signals
from gsam.dataset.convert import convert
from gsam.dataset.scene_files import FORMATS
from gsam.results.formats import known
from gsam.results.formats.names import FORMATS as DATA_SETS
from tests.helpers.command import Gsam, in_process
from tests.helpers.fake_gsam import FakePipeline

ALL = [name for name in DATA_SETS if name != "coco"]
SEGMENT = ("segment", "in", "-r", "-p", "nano", "-q", "dog. 고양이")


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> FakePipeline:
    fake = FakePipeline()
    monkeypatch.setattr(gsam, "load", lambda *a, **k: fake, raising=False)
    return fake


@pytest.fixture
def run(pipe: FakePipeline, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Gsam:
    monkeypatch.chdir(tmp_path)
    for i, name in enumerate(("a.png", "a.jpg", "sub/b.png", "z.png")):
        picture(tmp_path / "in" / name, i)
    return in_process(monkeypatch)


def picture(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(path)


def contents(folder: Path) -> dict[str, bytes]:
    found = (p for p in folder.rglob("*") if p.is_file() and p.name != manifest.NAME)
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in found}


def test_the_names_are_those_of_convert() -> None:
    assert FORMATS[:3] == ("json", "png", "coco")
    assert set(FORMATS) == {"json", "png", *DATA_SETS}


@pytest.mark.parametrize("kind", ALL)
def test_a_data_set_is_as_convert_writes_it(
    run: Gsam, tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*SEGMENT, "-o", "out", "--format", f"json,{kind}") == 0
    told = capsys.readouterr().err
    assert f"gsam: out/{kind}\n" in told
    assert not list((tmp_path / "out").glob(".gsam.*.partial"))
    if kind == "coco_results":
        assert len(json.loads((tmp_path / "out" / kind / "results.json").read_text())) == 8
        return
    other = convert(tmp_path / "out", tmp_path / "other", kind)  # of the JSON beside it alone
    assert (other.images, other.problems) == (4, [])
    for what, count in other.losses.items():
        assert f"gsam: {kind} cannot hold: {what} ({count})\n" in told
    mine, theirs = tmp_path / "out" / kind, tmp_path / "other"
    if kind == "lvis":
        mine, theirs = mine / "lvis.json", theirs / "lvis.json"
    images = tmp_path / "in"
    found, wanted = (list(known.read(path, kind, images)) for path in (mine, theirs))
    assert len(found) == 4
    key = {"key": lambda s: s["image"]}
    for one, two in zip(sorted(found, **key), sorted(wanted, **key), strict=True):
        assert [(s["label"], s["mask"], s["box"]) for s in one["segments"]] == [
            (s["label"], s["mask"], s["box"]) for s in two["segments"]
        ]


def test_classes_have_the_numbers_of_the_query(run: Gsam, tmp_path: Path) -> None:
    assert run(*SEGMENT[:-1], "bird. dog. 고양이", "-o", "out", "--format", "yolo,png_palette") == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir() if p.name != manifest.NAME) == ["png_palette", "yolo"]
    assert (
        (tmp_path / "out" / "yolo" / "data.yaml")
        .read_text(encoding="utf-8")
        .endswith('  0: "bird"\n  1: "dog"\n  2: "고양이"\n')
    )
    assert known.read(tmp_path / "out" / "png_palette").labels == ["bird", "dog", "고양이"]


def test_a_resumed_run_equals_a_whole_one(run: Gsam, pipe: FakePipeline, tmp_path: Path) -> None:
    formats = ("--format", ",".join(["json", "coco", *ALL]))
    assert run(*SEGMENT, "-o", "whole", *formats) == 0
    (tmp_path / "in" / "sub").rename(tmp_path / "later")
    assert run(*SEGMENT, "-o", "cut", *formats) == 0
    (tmp_path / "later").rename(tmp_path / "in" / "sub")
    (tmp_path / "cut" / ".gsam.yolo.partial" / "labels").mkdir(parents=True)  # of a run that was killed
    pipe.batches.clear()
    assert run(*SEGMENT, "-o", "cut", "--resume", *formats) == 0
    assert sum(pipe.batches) == 1
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")
    pipe.batches.clear()
    shutil.rmtree(tmp_path / "cut" / "voc")
    assert run(*SEGMENT, "-o", "cut", "--resume", *formats) == 0
    assert sum(pipe.batches) == 0
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")
    assert not [path for path in (tmp_path / "cut").iterdir() if path.name.endswith(".partial")]


def test_without_json_nothing_is_finished(run: Gsam, pipe: FakePipeline, tmp_path: Path) -> None:
    assert run(*SEGMENT, "-o", "out", "--format", "yolo") == 0
    pipe.batches.clear()
    assert run(*SEGMENT, "-o", "out", "--format", "yolo", "--resume") == 0
    assert sum(pipe.batches) == 4


def test_files_that_have_no_successor_go_and_others_stay(run: Gsam, tmp_path: Path) -> None:
    command = (*SEGMENT, "-o", "out", "--format", "json,png_masks")
    assert run(*command) == 0
    out = tmp_path / "out" / "png_masks"
    (out / "mine").mkdir()
    (out / "mine" / "notes.txt").write_text("mine")
    assert (out / "a.png" / "1.png").is_file()
    Image.new("RGB", (30, 20)).save(tmp_path / "in" / "a.png")  # nothing is found in it any more
    assert run(*command, "--resume") == 0
    names = sorted(p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file() and "mine" not in p.parts)
    each = ("0.png", "1.png", "index.json")
    assert names == sorted(
        ["a.png/index.json", *(f"{folder}/{name}" for folder in ("a", "sub/b", "z") for name in each)]
    )
    assert (out / "mine" / "notes.txt").read_text() == "mine"


def test_what_others_put_there_is_not_replaced(
    run: Gsam, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = (*SEGMENT, "-o", "out", "--format", "json,yolo")
    place = tmp_path / "out" / "yolo"
    place.mkdir(parents=True)
    (place / "data.yaml").write_text("mine")

    def refused(code: str) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(gsam, "load", lambda *a, **k: pytest.fail("loaded"), raising=False)
            before = contents(tmp_path / "out")
            assert run(*command) == 2
            assert f"[{code}]" in capsys.readouterr().err
            assert contents(tmp_path / "out") == before

    refused("output_exists")
    assert run(*command, "--overwrite") == 0
    assert (place / "data.yaml").read_text() != "mine"
    (place / "data.yaml").write_text("changed")
    refused("output_changed")
    assert run(*command, "--overwrite") == 0
    (tmp_path / "in" / "z.png").rename(tmp_path / "z.png")
    refused("output_of_another")
    shutil.rmtree(place)
    place.write_text("a file")
    refused("output_exists")


def test_a_file_in_the_way_of_a_new_one_costs_only_this_format(
    run: Gsam, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = (*SEGMENT, "-o", "out", "--format", "json,yolo,png_ids")
    assert run(*command) == 0
    before = contents(tmp_path / "out" / "yolo")
    picture(tmp_path / "in" / "new.png", 9)
    (tmp_path / "out" / "yolo" / "labels" / "new.txt").write_text("mine")
    assert run(*command, "--resume") == 3
    assert "out/yolo/labels/new.txt exists, and is nothing that gsam wrote there" in capsys.readouterr().err
    assert contents(tmp_path / "out" / "yolo") == {**before, "labels/new.txt": b"mine"}
    assert len(list(known.read(tmp_path / "out" / "png_ids"))) == 5


def test_an_image_in_a_folder_called_like_a_format(
    run: Gsam, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture(tmp_path / "in" / "yolo" / "c.png")
    assert run(*SEGMENT, "-o", "out", "--format", "json,yolo") == 2
    assert "[output_taken]" in capsys.readouterr().err
    assert run(*SEGMENT, "-o", "out", "--format", "json,voc") == 0
    assert run(*SEGMENT, "-o", "alone", "--format", "yolo") == 0
    assert "yolo/labels/yolo/c.txt" in contents(tmp_path / "alone")


def test_images_that_fail_are_not_in_it(run: Gsam, tmp_path: Path) -> None:
    (tmp_path / "in" / "bad.png").write_bytes(b"no image")
    assert run(*SEGMENT, "-o", "out", "--format", "jsonl") == 3
    assert [s["image"] for s in known.read(tmp_path / "out" / "jsonl")] == ["a.jpg", "a.png", "sub/b.png", "z.png"]
    shutil.rmtree(tmp_path / "in")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "bad.png").write_bytes(b"no image")
    assert run(*SEGMENT, "-o", "none", "--format", "jsonl") == 3
    assert not (tmp_path / "none" / "jsonl").exists()


def test_a_full_disk_leaves_no_half(run: Gsam, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = (*SEGMENT, "-o", "out", "--format", "json,yolo")
    assert run(*command) == 0
    before = contents(tmp_path / "out")
    monkeypatch.setattr(
        known.writer_of("yolo"), "close", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device"))
    )
    picture(tmp_path / "in" / "z2.png")
    assert run(*command, "--resume") == 1
    assert {name: found for name, found in contents(tmp_path / "out").items() if name != "z2.json"} == before


def test_a_stopped_run_writes_none(run: Gsam, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stops(FakePipeline):
        def answers(self, *arguments: Any, **options: Any) -> Iterator[Any]:
            yield next(iter(super().answers(*arguments, **options)))
            raise signals.Interrupted(2)

    monkeypatch.setattr(gsam, "load", lambda *a, **k: Stops(), raising=False)
    assert run(*SEGMENT, "-o", "out", "--format", "json,coco,yolo") == 130
    assert sorted(contents(tmp_path / "out")) == ["a.jpg.json", "coco.json"]
    monkeypatch.setattr(gsam, "load", lambda *a, **k: FakePipeline(), raising=False)
    assert run(*SEGMENT, "-o", "out", "--format", "json,coco,yolo", "--resume") == 0
    assert len(list(known.read(tmp_path / "out" / "yolo", images=tmp_path / "in"))) == 4


def test_a_missing_package_is_told_before_a_model_is_loaded(
    run: Gsam, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gsam, "load", lambda *a, **k: pytest.fail("loaded"), raising=False)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert run(*SEGMENT, "--format", "json,parquet") == 2
    assert "[extra_missing]" in capsys.readouterr().err


@pytest.mark.long
def test_with_a_real_pipeline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    run = in_process(monkeypatch)
    monkeypatch.chdir(tmp_path)
    source = Path(__file__).parents[2] / "notebooks" / "scene.png"
    (tmp_path / "in").mkdir()
    shutil.copy(source, tmp_path / "in" / "one.png")
    command = ("segment", "in", "-q", "dog. pizza", "-p", "nano", "--format", "json,yolo,coco_results")
    assert run(*command, "-o", "cut") == 0
    with Image.open(source) as image:
        image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "in" / "another.png")
    assert run(*command, "-o", "cut", "--resume") == 0
    assert run(*command, "-o", "whole") == 0
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")
    found = list(known.read(tmp_path / "cut" / "yolo", images=tmp_path / "in"))
    assert [s["image"] for s in found] == ["another.png", "one.png"]
    assert {s["label"] for s in found[1]["segments"]} == {"dog", "pizza"}
