"""`gsam data check`: the table, the JSON, the exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image
from typer.testing import CliRunner, Result

from gsam.cli import data
from gsam.errors import UsageError
from tests.training.data.sets import good, write


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(data.app, [str(word) for word in words])


def faulty(folder: Path) -> Path:
    bad = [good(i, 1, segmentation=[[0, 0, 1, 1]]) for i in range(10, 16)]
    names = [{"id": 1, "name": "고양이"}, {"id": 2, "name": "dog"}]
    return write(folder, 3, [*(good(i, i) for i in (1, 2, 3)), *bad, good(20, 2, bbox=[1, 1, 2, 2])], categories=names)


def test_a_clean_set(tmp_path: Path) -> None:
    done = run("check", write(tmp_path))
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [
        f"{tmp_path}/train.json: 3 images and 3 objects can be used",
        "",
        "class  objects",
        "cat          3",
        "",
        "faults: 0, of which 0 leave something out; notes: 0",
    ]


def test_faults_are_counted_and_shown(tmp_path: Path) -> None:
    done = run("check", faulty(tmp_path), "--examples", "2")
    assert done.exit_code == 3
    lines = done.stdout.splitlines()
    assert lines[2:10] == [
        "class   objects",
        "고양이        4",
        "dog           0",
        "",
        "kind                 number  in training",
        "polygon_points            6     left out",
        "annotation_repeated       1         used",
        "box_differs               1         used",
    ]
    at = lines.index("polygon_points: A polygon has fewer than three points, or half a point.")
    assert lines[at + 1].startswith("  1.png, 10: a polygon has 4 numbers")
    assert lines[at + 3] == "  and 4 more"
    assert "category_unused: A category has no object." in lines
    assert lines[-1] == "faults: 8, of which 6 leave something out; notes: 1"
    assert "1.png, 10" not in run("check", faulty(tmp_path), "--examples", "0").stdout


def test_json_has_every_fault(tmp_path: Path) -> None:
    done = run("check", faulty(tmp_path), "--json")
    assert done.exit_code == 3
    found = json.loads(done.stdout)
    assert (found["images"], found["objects"], found["left_out"]) == (3, 4, 6)
    assert found["classes"] == {"고양이": 4, "dog": 0}
    assert found["counts"]["polygon_points"] == sum(f["kind"] == "polygon_points" for f in found["faults"]) == 6
    assert len(found["faults"]) == 9
    assert set(found["faults"][0]) == {"kind", "image", "annotation", "message", "weight"}
    (tmp_path / "clean").mkdir()
    assert json.loads(run("check", write(tmp_path / "clean"), "--json").stdout)["faults"] == []


def test_folders_formats_boxes_and_heads(tmp_path: Path) -> None:
    path = write(tmp_path, annotations=[good(i, i, segmentation=None) for i in (1, 2, 3)])
    (tmp_path / "images").rename(tmp_path / "elsewhere")
    assert run("check", path).exit_code == 3
    assert run("check", path, "--images", tmp_path / "elsewhere").exit_code == 3  # no masks
    assert run("check", path, "--images", tmp_path / "elsewhere", "--boxes", "--from", "coco").exit_code == 0
    file = tmp_path / "elsewhere" / "2.png"
    file.write_bytes(file.read_bytes()[:600])
    given = ("check", path, "--images", tmp_path / "elsewhere", "--boxes")
    assert (run(*given).exit_code, run(*given, "--quick").exit_code) == (3, 0)


def test_notes_are_no_faults(tmp_path: Path) -> None:
    path = write(tmp_path, categories=[{"id": 1, "name": "cat"}, {"id": 0, "name": "dog"}])
    done = run("check", path)
    assert done.exit_code == 0
    assert done.stdout.endswith("notes: 2\n")


def test_masks_larger_than_their_images(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "masks").mkdir()
    Image.fromarray(np.ones((99, 99), np.uint8)).save(tmp_path / "masks" / "1.png")
    (tmp_path / "train.json").unlink()
    done = run("check", tmp_path)
    assert done.exit_code == 3
    assert "the mask is 99 x 99 (larger), the image 40 x 30" in done.stdout


def test_what_is_no_data_set(tmp_path: Path) -> None:
    for path, code in ((tmp_path / "none.json", "data_missing"), (tmp_path, "format_unknown")):
        error = run("check", path).exception
        assert isinstance(error, UsageError)
        assert error.code == code
