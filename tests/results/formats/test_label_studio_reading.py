"""Label Studio's tasks as it writes them itself, and broken ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gsam.errors import UsageError
from gsam.results.formats import label_studio
from gsam.results.formats.dataset import mask_of
from gsam.results.masks import brush
from tests.results.formats.small import SIZE, independently_packed, masks


def result(kind: str, value: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "id": "x1", "type": kind, "from_name": "label", "to_name": "image", "original_width": 16, "original_height": 12,
        "image_rotation": 0, "origin": "manual", "value": {**value, kind: ["cat"]},
    } | more  # fmt: skip


def exported(path: Path, *results: Any, image: str = "/data/upload/1/0a1b2c3d-a.jpg", **more: Any) -> Path:
    annotation = {"id": 1, "completed_by": 1, "was_cancelled": False, "ground_truth": False, "result": list(results)}
    task = {"id": 7, "annotations": [annotation], "data": {"image": image}, "meta": {}, "predictions": []}
    path.write_text(json.dumps([task | more]))
    return path


BOX = {"x": 25.0, "y": 50.0, "width": 12.5, "height": 25.0, "rotation": 0}


def test_an_export_of_label_studio(tmp_path: Path) -> None:
    alpha = np.repeat(masks()["line"].ravel(), 4) * 255
    spelled = [(False, alpha[i : i + 100].tolist()) for i in range(0, len(alpha), 100)]
    path = exported(
        tmp_path / "project-1-at-2026-01-01-00-00-aaaaaaaa.json",
        result("rectanglelabels", BOX),
        result("polygonlabels", {"points": [[12.5, 25], [37.5, 25], [37.5, 75], [12.5, 75]], "closed": True}),
        result("brushlabels", {"format": "rle", "rle": independently_packed(spelled)}, score=0.5),
        result("ellipselabels", {"x": 50, "y": 50, "radiusX": 18.75, "radiusY": 100 / 12, "rotation": 0}),
        result("rectanglelabels", {"x": 50, "y": 25, "width": 25, "height": 25, "rotation": 90}, parentID="x1"),
        result("rectangle", BOX, id="y") | {"value": BOX},
        result("labels", BOX, id="y") | {"value": BOX | {"labels": ["dog"]}},
        result("choices", {}, id="y") | {"value": {"choices": ["good"]}},
    )
    data = label_studio.read(tmp_path)
    (found,) = data
    assert label_studio.read(path).labels == []
    assert (data.problems, data.labels) == ([], ["cat", "dog"])
    assert (found["image"], found["height"], found["width"]) == ("0a1b2c3d-a.jpg", *SIZE)
    box, polygon, line, ellipse, turned, labelled = found["segments"]
    assert (box["box"], box["mask"], labelled["box"], labelled["label"]) == ([4, 6, 6, 9], None, [4, 6, 6, 9], "dog")
    expected = np.zeros((4, *SIZE), bool)
    expected[0, 3:9, 2:6] = True
    expected[1, 5, 2:9] = True
    expected[2, 5:7, 5:11] = True
    expected[3, 3:7, 5:8] = True  # 4 x 3 about (8, 3), turned clockwise by its upper left corner
    for one, area in zip((polygon, line, ellipse, turned), expected, strict=True):
        np.testing.assert_array_equal(mask_of(one), area)
    assert [s["score"] for s in found["segments"]] == [None, None, 0.5, None, None, None]


def test_which_version_counts(tmp_path: Path) -> None:
    path = tmp_path / "a.json"

    def versions(*labels: str, **more: Any) -> list[dict[str, Any]]:
        return [{"result": [result("rectanglelabels", BOX | {"rectanglelabels": [label]}) | {
            "value": BOX | {"rectanglelabels": [label]}}], **more} for label in labels]  # fmt: skip

    def labels(**task: Any) -> tuple[list[str], int]:
        data = label_studio.read(exported(path, **task))
        return [s["label"] for one in data for s in one["segments"]], len(data.problems)

    guess = versions("guess")
    cancelled = versions("cancelled", was_cancelled=True)
    assert labels(annotations=versions("true"), predictions=guess) == (["true"], 0)
    assert labels(annotations=[*cancelled, *versions("true")], predictions=guess) == (["true"], 0)
    assert labels(annotations=cancelled, predictions=guess) == (["guess"], 0)
    assert labels(annotations=[], predictions=guess) == (["guess"], 0)
    assert labels(annotations=[{"result": []}], predictions=guess) == ([], 0)
    assert labels(annotations=[*versions("one"), *versions("two", ground_truth=True)]) == (["two"], 1)
    assert labels(annotations=versions("one", "two"), predictions=[12]) == (["one"], 1)


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("a.jpg", "a.jpg"),
        ("sub/a#1%20.jpg", "sub/a#1%20.jpg"),
        ("/data/upload/12/0a1b2c3d-a.jpg", "0a1b2c3d-a.jpg"),
        ("http://localhost:8080/data/upload/12/0a1b2c3d-a.jpg", "0a1b2c3d-a.jpg"),
        ("/data/local-files/?d=sub%2Fb%20c.jpg", "sub/b c.jpg"),
        ("https://host/x/a%20b.jpg?sign=1#2", "x/a b.jpg"),
        ("s3://bucket/x/a#1%20.jpg", "x/a#1%20.jpg"),
    ],
)
def test_names_of_images(tmp_path: Path, image: str, name: str) -> None:
    (found,) = label_studio.read(exported(tmp_path / "a.json", result("rectanglelabels", BOX), image=image))
    assert found["image"] == name


@pytest.mark.parametrize(
    ("one", "why"),
    [
        (result("polygonlabels", {"points": [[1, 2], [3, 4]]}), "fewer than three"),
        (result("polygonlabels", {"points": [[1, 2], [3, 4], [5]]}), "unpack"),
        (result("polygonlabels", {"points": [[1, 2], [3, 4], [1e300, 5]]}), "far outside"),
        (result("polygonlabels", {"points": 5}), "iterable"),
        (result("brushlabels", {"format": "rle", "rle": list(brush.pack(np.ones((12, 15), bool)))}), "not of 16 x 12"),
        (result("brushlabels", {"format": "rle", "rle": list(brush.pack(masks()["noise"]))[:-3]}), "ends early"),
        (result("brushlabels", {"format": "rle", "rle": []}), "not of 16 x 12"),
        (result("brushlabels", {"format": "rle", "rle": [1, 300]}), "256"),
        (result("brushlabels", {"format": "rle", "rle": 10**12}), "no list"),
        (result("rectanglelabels", BOX | {"width": 0}), "box"),
        (result("rectanglelabels", BOX | {"x": None}), "float"),
        (result("rectanglelabels", BOX | {"x": -1e300, "width": 2e300, "height": 1e300}), "box"),
        (result("rectanglelabels", BOX, original_width=15), "another size"),
        (result("rectanglelabels", BOX, image_rotation=90), "turned"),
        (result("rectanglelabels", BOX, id="z") | {"value": BOX}, "no label"),
        (result("rectanglelabels", BOX, id="z") | {"value": BOX | {"rectanglelabels": "cat"}}, "no label"),
        (result("rectanglelabels", BOX) | {"value": 3}, ""),
        (result("ellipselabels", {"x": 1, "y": 1, "radiusX": 0, "radiusY": 1}), "ellipse"),
        (result("keypointlabels", {"x": 1, "y": 1, "width": 1}), "no area"),
        (result("vectorlabels", {"vertices": []}), "no area"),
        ({"type": "relation", "from_id": "a", "to_id": "b"}, "'value' is missing"),
    ],
)
def test_a_wrong_result_is_told_and_left_out(tmp_path: Path, one: dict[str, Any], why: str) -> None:
    good = result("rectanglelabels", BOX, id="good")
    data = label_studio.read(exported(tmp_path / "a.json", one, good, good))
    (found,) = data
    assert [s["box"] for s in found["segments"]] == [[4, 6, 6, 9]] * 2
    (problem,) = data.problems
    assert "0a1b2c3d-a.jpg), result 1" in problem
    assert why in problem


def test_wrong_tasks_and_scores(tmp_path: Path) -> None:
    good = {"data": {"image": "a.jpg"}, "predictions": [{"result": [result("rectanglelabels", BOX, score=7)]}]}
    wrong: list[Any] = [
        None, 3, [], {"id": 1}, {"data": {}}, {"data": {"image": "data:image/png;base64,AAAA"}},
        {"data": {"image": "b.jpg"}}, {"data": {"image": "b.jpg"}, "annotations": 5, "meta": {"width": 0, "height": 2}},
    ]  # fmt: skip
    path = tmp_path / "a.json"
    path.write_text(json.dumps([good, *wrong, good]))
    data = label_studio.read(path)
    assert [(f["image"], f["segments"][0]["score"]) for f in data] == [("a.jpg", None)] * 2
    assert [f"task {i}" in p for i, p in enumerate(data.problems, 1)] == [True] * 10
    several = result("rectanglelabels", BOX) | {"value": BOX | {"rectanglelabels": ["cat", "dog"]}}
    data = label_studio.read(exported(path, several))
    assert [s["label"] for f in data for s in f["segments"]] == ["cat"]
    assert "2 labels" in data.problems[0]


@pytest.mark.parametrize(
    "content", [b"", b"{}", b'{"item": []}', b'[{"image": "a"}]', b"[3]", b"<a/>", b"\xff\xfe[]", b"[nan]"]
)
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "tasks.json").write_bytes(content)
    with pytest.raises(UsageError, match=r"tasks\.json") as error:
        label_studio.read(tmp_path)
    assert error.value.code == "format_unreadable"


def test_a_config_with_entities_is_not_read(tmp_path: Path) -> None:
    path = exported(tmp_path / "a.json", result("rectanglelabels", BOX))
    (tmp_path / "config.xml").write_text('<!DOCTYPE a [<!ENTITY b "c">]><View><Label value="&b;"/></View>')
    data = label_studio.read(path)
    assert [len(f["segments"]) for f in data] == [1]
    assert (data.labels, len(data.problems)) == (["cat"], 1)
    assert "DOCTYPE" in data.problems[0]
