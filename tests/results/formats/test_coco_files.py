"""COCO, LVIS and results: nothing is lost, pycocotools reads it, and what is wrong is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO

from gsam.errors import UsageError
from gsam.results.formats import coco_files, known
from gsam.results.formats.dataset import mask_of
from tests.results.formats.scenes import KOREAN, ODD, hard, masks, read_back


def written(folder: Path, kind: Any = coco_files.Writer) -> Any:
    with kind(folder, ["person"]) as writer:
        for name in ("a.png", "a.jpg", "sub/a.png"):
            writer.add(hard(name))
    return json.loads((folder / kind.name).read_text(encoding="utf-8"))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    written(tmp_path)
    data = coco_files.read(tmp_path)
    assert data.labels == ["person", "hole", KOREAN, ODD, "line", "empty", "full", "corners", "box"]
    assert read_back(list(data)) == read_back([hard(name) for name in ("a.png", "a.jpg", "sub/a.png")])
    assert read_back(list(data)) == read_back([hard(name) for name in ("a.png", "a.jpg", "sub/a.png")])  # again
    assert not data.problems


def test_pycocotools_reads_it(tmp_path: Path) -> None:
    written(tmp_path)
    found = COCO(str(tmp_path / "coco.json"))
    assert found.loadCats(found.getCatIds())[0]["name"] == "person"
    (image,) = [i for i in found.imgs.values() if i["file_name"] == "a.jpg"]
    entries = found.loadAnns(found.getAnnIds([image["id"]]))
    for entry, mask in zip(entries, masks().values(), strict=False):
        assert (found.annToMask(entry) == mask).all()
        assert entry["area"] == mask.sum()


def test_lvis_says_what_is_not_there(tmp_path: Path) -> None:
    found = written(tmp_path, coco_files.LvisWriter)
    assert found["images"][0]["neg_category_ids"] == []
    assert all("iscrowd" not in a for a in found["annotations"])
    (hole,) = [c for c in found["categories"] if c["name"] == "hole"]
    assert (hole["frequency"], hole["image_count"], hole["instance_count"]) == ("r", 3, 3)


def test_results_are_what_the_evaluation_takes(tmp_path: Path) -> None:
    truth, found = tmp_path / "truth", tmp_path / "found"
    truth.mkdir(), found.mkdir()
    written(truth)
    assert len(written(found, coco_files.ResultsWriter)) == 24
    results = COCO(str(truth / "coco.json")).loadRes(str(found / "results.json"))
    assert {a["score"] for a in results.anns.values()} == {0.5, 0.25}


def data_set(folder: Path, **change: Any) -> Path:
    """A set as people write it by hand: polygons, uncompressed run lengths, a crowd, a box."""
    content: dict[str, Any] = {
        "info": {},
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 18, "segmentation": [[2, 2, 6, 2, 6, 6, 2, 6]], "bbox": [0, 0, 1, 1]},
            {"id": 2, "image_id": 7, "category_id": 1, "iscrowd": 1, "segmentation": {"size": [8, 10], "counts": [3, 2, 75]}},
            {"id": 3, "image_id": 7, "category_id": 1, "bbox": [1.5, 2, 3, 4]},
        ],
        "images": [{"id": 7, "file_name": "x.jpg", "height": 8, "width": 10}],
        "categories": [{"id": 18, "name": "dog"}, {"id": 1, "name": "person"}],
    }  # fmt: skip
    path = folder / "instances.json"
    path.write_text(json.dumps(content | change))
    return path


def test_other_people_s_files_are_read(tmp_path: Path) -> None:
    data = coco_files.read(data_set(tmp_path))
    (found,) = list(data)
    assert data.labels == ["person", "dog"]
    dog, crowd, box = found["segments"]
    expected = np.zeros((8, 10), bool)
    expected[2:6, 2:6] = True
    assert (mask_of(dog) == expected).all()
    assert dog["box"] == [2, 2, 6, 6]  # the mask's, whatever the file says
    assert (crowd["crowd"], crowd["area"], box["mask"], box["box"]) == (True, 2, None, [1.5, 2, 4.5, 6])
    assert dog["label"] == "dog"


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "category": ({"category_id": 5}, "5 is missing or unknown"),
    "points": ({"segmentation": [[1, 1, 2, 2]]}, "fewer than three points"),
    "odd": ({"segmentation": [[1, 1, 2, 2, 3]]}, "reshape"),
    "size": ({"segmentation": {"size": [9, 10], "counts": [90]}}, "10 x 9"),
    "counts": ({"segmentation": {"size": [8, 10], "counts": [70]}}, "run lengths"),
    "text": ({"segmentation": {"size": [8, 10], "counts": "zzzz"}}, "run lengths"),
    "box": ({"segmentation": [], "bbox": [0, 0, -5, 5]}, "no box"),
    "no box": ({"segmentation": [], "bbox": None}, "NoneType"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_annotation_is_left_out_and_told(kind: str, tmp_path: Path) -> None:
    change, why = WRONG[kind]
    good = {"id": 1, "image_id": 7, "category_id": 1, "bbox": [1, 1, 2, 2], "segmentation": []}
    data = coco_files.read(data_set(tmp_path, annotations=[good | {"id": 2} | change, good]))
    (found,) = list(data)
    assert len(found["segments"]) == 1
    assert len(data.problems) == 1
    assert why in data.problems[0]
    assert "annotation 2" in data.problems[0]


def test_wrong_images_and_orphans_are_told(tmp_path: Path) -> None:
    images = [{"id": 7, "file_name": "x.jpg", "height": 8, "width": 10}, {"id": 7}, {"id": 8, "file_name": "y"}]
    orphan = {"id": 9, "image_id": 99, "category_id": 1, "bbox": [0, 0, 1, 1]}
    data = coco_files.read(data_set(tmp_path, images=images, annotations=[orphan]))
    assert len(list(data)) == 1
    assert [p.split(": ", 1)[1] for p in data.problems] == [
        "image id 7 is there twice",
        "image 8 has no name or no size",
        "1 annotations are of no image that is listed",
    ]


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b'{"categories": [{"id": 1'])
def test_what_is_no_json_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "coco.json").write_bytes(content)
    with pytest.raises(UsageError, match="is no COCO file"):
        list(coco_files.read(tmp_path))
    with pytest.raises(UsageError, match="No such file"):
        coco_files.read(tmp_path / "nothing.json")


def test_lvis_and_results_are_known_by_their_folder(tmp_path: Path) -> None:
    for name in ("lvis", "found"):
        (tmp_path / name).mkdir()
    written(tmp_path / "lvis", coco_files.LvisWriter)
    written(tmp_path / "found", coco_files.ResultsWriter)
    assert known.recognised(tmp_path / "lvis") == "lvis"
    found = read_back(list(known.read(tmp_path / "lvis")))
    assert found
    assert found == read_back(list(known.read(tmp_path / "lvis", "lvis")))
    assert known.recognised(tmp_path / "found") == "coco_results"
    with pytest.raises(UsageError, match="tell neither sizes nor names"):
        known.read(tmp_path / "found")
