"""LabelMe: masks and polygons come back as they were; files that LabelMe wrote are read."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gsam.errors import UsageError
from gsam.results.formats import labelme
from gsam.results.formats.dataset import mask_of, scene, segment
from gsam.results.masks import rle
from tests.results.formats.scenes import KOREAN, ODD, SIZE, hard, masks, read_back


def written(folder: Path, scenes: list[dict[str, Any]], **options: Any) -> labelme.Writer:
    folder.mkdir(exist_ok=True)
    with labelme.Writer(folder, **options) as writer:
        for one in scenes:
            writer.add(one)
    return writer


def by_hand(folder: Path, shapes: list[Any], name: str = "a", **more: Any) -> Path:
    """A file as LabelMe writes it, of an image 10 wide and 8 high."""
    head = {"version": "5.5.0", "flags": {}, "shapes": shapes, "imagePath": f"{name}.jpg", "imageData": None}
    path = folder / f"{name}.json"
    path.write_text(json.dumps({**head, "imageHeight": 8, "imageWidth": 10, **more}, indent=2))
    return path


def shape(kind: str, points: list[Any], label: Any = "cat", group: int | None = None, **more: Any) -> dict[str, Any]:
    given = {"label": label, "points": points, "group_id": group, "description": "", "shape_type": kind}
    return {**given, "flags": {}, "mask": None, **more}


def png(mask: np.ndarray) -> str:
    with io.BytesIO() as file:
        Image.fromarray(mask.astype(np.uint8)).save(file, "PNG")
        return base64.b64encode(file.getvalue()).decode()


def test_masks_come_back_as_they_were(tmp_path: Path) -> None:
    given = hard()
    writer = written(tmp_path, [given])
    assert not writer.losses
    data = labelme.read(tmp_path)
    found = list(data)
    assert read_back(found) == read_back([given])
    assert data.labels == found[0]["queries"] == given["queries"]
    assert not data.problems


def test_polygons_come_back_as_they_were(tmp_path: Path) -> None:
    given = hard()
    writer = written(tmp_path, [given], polygons=True)
    assert writer.losses == {"empty masks": 1}
    shapes = json.loads((tmp_path / "sub" / "b.json").read_text())["shapes"]
    assert {s["shape_type"] for s in shapes} == {"polygon", "rectangle"}
    assert [s["group_id"] for s in shapes if s["label"] == KOREAN] == [2, 2]
    given["segments"] = [s for s in given["segments"] if s["label"] != "empty"]
    assert read_back(list(labelme.read(tmp_path))) == read_back([given])


def test_large_masks_come_back_as_they_were(tmp_path: Path) -> None:
    coarse = np.random.default_rng(0).random((30, 40)) < 0.5
    mask = rle.encode(np.kron(coarse, np.ones((31, 29))).astype(bool))
    for polygons in (False, True):
        folder = tmp_path / str(polygons)
        written(folder, [scene("a.png", (930, 1160), [segment("x", mask)])], polygons=polygons)
        assert [[f["mask"] for f in s["segments"]] for s in labelme.read(folder)] == [[mask]]


def test_the_file_is_one_of_labelme(tmp_path: Path) -> None:
    hole = segment("hole", rle.encode(masks()["hole"]), score=0.5, track=3)
    written(tmp_path, [scene("sub/b.png", SIZE, [hole, segment("box", None, box=[1.5, 2, 3, 4.25])])])
    value = json.loads((tmp_path / "sub" / "b.json").read_text(encoding="utf-8"))
    mask, box = value.pop("shapes")
    head = {"version": "5.5.0", "flags": {}, "imagePath": "b.png", "imageData": None}
    assert value == {**head, "imageHeight": 24, "imageWidth": 32, "queries": ["hole", "box"]}
    assert (mask["label"], mask["shape_type"], mask["points"]) == ("hole", "mask", [[5, 4], [19, 15]])
    assert (mask["group_id"], mask["flags"], mask["score"], mask["track"]) == (None, {}, 0.5, 3)
    with Image.open(io.BytesIO(base64.b64decode(mask["mask"]))) as image:
        np.testing.assert_array_equal(np.array(image), masks()["hole"][4:16, 5:20])
    assert (box["shape_type"], box["points"], box["mask"]) == ("rectangle", [[1.5, 2], [3, 4.25]], None)
    assert "score" not in box


def test_three_hundred_classes(tmp_path: Path) -> None:
    labels = [f"{ODD} {i}" for i in range(300)]
    writer = written(tmp_path, [scene("a.png", SIZE, [], labels[:299])], labels=labels)
    assert writer.losses == {"classes that no image has": 1}
    data = labelme.read(tmp_path / "a.json")
    assert [s["queries"] for s in data] == [labels[:299]]
    assert data.labels == labels[:299]


def test_names_do_not_collide_nor_lead_outside(tmp_path: Path) -> None:
    names = ["a.png", "a.jpg", "sub/a.png", "../x.png", "/etc/y.png", "\udc80.png"]
    writer = written(tmp_path / "set", [scene(name, SIZE, []) for name in names])
    assert writer.losses == {"images of one name with two suffixes: their files are called by both": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["set"]
    assert (tmp_path / "set" / "a.jpg.json").is_file()
    found = sorted(s["image"] for s in labelme.read(tmp_path / "set"))
    assert found == ["a.jpg", "a.png", "etc/y.png", "sub/a.png", "x.png", "\udc80.png"]


def test_what_is_lost_of_boxes(tmp_path: Path) -> None:
    mask = segment("x", rle.encode(masks()["pixel"]), box=[1, 2, 20, 20])
    none = [{**mask, "mask": None, "box": box} for box in ([3.0, 3.0, 3.0, 5.0], [0.0, 0.0, float("inf"), 1.0])]
    writer = written(tmp_path, [scene("a.png", SIZE, [mask, *none])])
    assert writer.losses == {"boxes that are not the bounds of their masks": 1, "boxes without a pixel": 2}
    ((found,),) = [s["segments"] for s in labelme.read(tmp_path)]
    assert found["box"] == [17, 11, 18, 12]


def test_shapes_as_labelme_draws_them(tmp_path: Path) -> None:
    ell = np.array([[1, 0, 0], [1, 1, 1]], bool)
    shapes = [
        shape("polygon", [[1, 1], [5, 1], [5, 4], [1, 4]]),
        shape("rectangle", [[9, 7.5], [2.5, 3]], "dog"),
        shape("circle", [[5, 4], [5, 6]], "ball"),
        shape("mask", [[6.0, 2.0], [8.0, 3.0]], "ell", mask=png(ell)),
        shape("oriented_rectangle", [[4, 0.2], [7.8, 4], [4, 7.8], [0.2, 4]], "turned"),
        shape("mask", [[-0.6, 5.6], [1.4, 6.6]], "moved", mask=png(ell)),
    ]
    by_hand(tmp_path, shapes)
    data = labelme.read(tmp_path)
    (found,) = list(data)
    assert (found["image"], found["height"], found["width"]) == ("a.jpg", 8, 10)
    polygon, box, ball, mask, turned, moved = found["segments"]
    assert (polygon["label"], polygon["box"], polygon["area"]) == ("cat", [1, 1, 5, 4], 12)
    assert (box["label"], box["box"], box["mask"]) == ("dog", [2.5, 3, 9, 7.5], None)
    rows = ["0110", "1111", "1111", "0110"]
    np.testing.assert_array_equal(mask_of(ball)[2:6, 3:7], np.array([list(r) for r in rows]) == "1")
    assert ball["area"] == 12
    np.testing.assert_array_equal(mask_of(mask)[2:4, 6:9], ell)
    assert mask["area"] == 4
    assert (turned["box"], turned["area"]) == ([1, 1, 7, 7], 24)  # |x - 4| + |y - 4| < 3.8
    assert (moved["box"], moved["area"], moved["score"]) == ([0, 7, 2, 8], 2, None)  # a column is outside
    assert data.labels == ["cat", "dog", "ball", "ell", "turned", "moved"]
    assert not data.problems


def test_shapes_of_a_group_are_one_object(tmp_path: Path) -> None:
    left, right = [[0, 0], [2, 0], [2, 2], [0, 2]], [[6, 0], [8, 0], [8, 2], [6, 2]]
    shapes = [
        shape("polygon", left, group=1, score=0.25),
        shape("polygon", left, "dog", group=1),
        shape("polygon", right, group=1),
        shape("polygon", left),
        shape("polygon", right),
        shape("rectangle", [[0, 4], [3, 6]], group=2),
        shape("circle", [[8, 6], [9, 6]], group=2),
    ]
    by_hand(tmp_path, shapes)
    (found,) = list(labelme.read(tmp_path))
    assert [(s["label"], s["box"], s["area"], s["score"]) for s in found["segments"]] == [
        ("cat", [0, 0, 8, 2], 8, 0.25),
        ("dog", [0, 0, 2, 2], 4, None),
        ("cat", [0, 0, 2, 2], 4, None),
        ("cat", [6, 0, 8, 2], 4, None),
        ("cat", [0, 4, 9, 7], 6 + 4, None),
    ]


def test_files_of_old_versions(tmp_path: Path) -> None:
    old = {"label": "cat", "line_color": None, "fill_color": None, "points": [[0, 0], [4, 0], [4, 4]]}
    by_hand(tmp_path, [old], lineColor=[0, 255, 0, 128])
    ((found,),) = [s["segments"] for s in labelme.read(tmp_path)]
    # The centre (x + .5, y + .5) is inside where x >= y; on the edge itself, pycocotools decides.
    assert np.tril(mask_of(found)[:4, :4], -1).sum() == 0
    assert np.triu(mask_of(found)[:4, :4], 1).sum() == 6


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("b.jpg", "sub/b.jpg"),
        ("..\\images\\b.jpg", "images/b.jpg"),
        ("../../images/b.jpg", "sub/b.jpg"),
        ("C:\\Users\\me\\b.jpg", "sub/b.jpg"),
        ("/home/me/b.jpg", "sub/b.jpg"),
    ],
)
def test_where_the_image_is(given: str, wanted: str, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    by_hand(tmp_path / "sub", [], imagePath=given)
    assert [s["image"] for s in labelme.read(tmp_path)] == [wanted]


WRONG: dict[str, Any] = {
    "fewer than 3 points": shape("polygon", [[0, 0], [1, 1]]),
    "a point is not two numbers": shape("polygon", [[0, 0], [1, float("nan")], [5, 5]]),
    "is not two numbers": shape("polygon", [[0, 0], [1, 1e300], [5, 5]]),
    "outline is too long": shape("polygon", [[0, 0], [9e7, 0], [5, 5]]),
    "no pixel of the image": shape("polygon", [[20, 20], [30, 20], [30, 30]]),
    "a rectangle without a pixel": shape("rectangle", [[1, 1], [1, 5]]),
    "fewer than 2 points": shape("circle", [[1, 1]]),
    "type point has no mask": shape("point", [[1, 1]]),
    "type line has no mask": shape("line", [[1, 1], [2, 2]]),
    "type linestrip has no mask": shape("linestrip", [[1, 1], [2, 2], [3, 3]]),
    "has no label": shape("polygon", [[0, 0], [4, 0], [4, 4]], label=None),
    "shape 1: has no label": "text",
    "mask without its pixels": shape("mask", [[0, 0], [1, 1]]),
    "cannot identify image": shape("mask", [[0, 0], [1, 1]], mask="bm8="),
    "its mask is 3 x 2": shape("mask", [[0, 0], [1, 1]], mask=png(np.ones((2, 3)))),
    "it has no pixel": shape("mask", [[10, 0], [11, 1]], mask=png(np.ones((2, 2)))),
    "its mask has colours": shape("mask", [[0, 0], [1, 1]], mask=png(np.ones((2, 2, 3)))),
}


@pytest.mark.parametrize("why", WRONG)
def test_a_wrong_shape_is_left_out_and_told(why: str, tmp_path: Path) -> None:
    path = by_hand(tmp_path, [WRONG[why], shape("rectangle", [[0, 0], [1, 1]], "dog")])
    data = labelme.read(tmp_path)
    assert [[s["label"] for s in one["segments"]] for one in data] == [["dog"]]
    (problem,) = data.problems
    assert problem.startswith(f"{path}, shape 1: ")
    assert why in problem


def test_a_wrong_file_is_left_out_and_told(tmp_path: Path) -> None:
    by_hand(tmp_path, [], "good")
    for name, height in (("none", None), ("negative", -1), ("huge", 10**400), ("text", "8")):
        by_hand(tmp_path, [], name, imageHeight=height)
    (tmp_path / "coco.json").write_text('{"images": []}')
    (tmp_path / "cut.json").write_text('{"shapes": [')
    (tmp_path / "deep.json").write_text("[" * 100_000)
    data = labelme.read(tmp_path)
    assert [s["image"] for s in data] == ["good.jpg"]
    assert len(data.problems) == 7
    assert f"{tmp_path / 'none.json'}: has no imageHeight and imageWidth" in data.problems


@pytest.mark.parametrize(
    "content", ["", "{}", "[]", "null", '{"shapes": 1}', '{"shapes": [], "imagePath": ""}', "\x00"]
)
def test_what_is_not_labelme_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(content)
    for path in (tmp_path, tmp_path / "a.json", tmp_path / "gone"):
        with pytest.raises(UsageError, match=f"{path.name} has no annotations of LabelMe") as caught:
            labelme.read(path)
        assert caught.value.code == "format_unreadable"
