"""`gsam.training.data.check`: every kind of fault is found, and nothing else is said."""

from __future__ import annotations

import json
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gsam.errors import UsageError
from gsam.training.data import Report, check, read, read_checked
from gsam.training.data.faults import EXAMPLES, KINDS, Fault
from tests.training.data.sets import SIZE, good, picture, write

RLE = {"size": list(SIZE), "counts": [5, 100, SIZE[0] * SIZE[1] - 105]}


def annotated(**change: Any) -> Callable[[Path], Path]:
    """A set whose third image has a second annotation, changed."""
    return lambda folder: write(folder, 3, [*(good(i, i) for i in (1, 2, 3)), good(9, 3, **change)])


def content(**change: Any) -> Callable[[Path], Path]:
    return lambda folder: write(folder, **change)


def images(*entries: dict[str, Any]) -> Callable[[Path], Path]:
    """A set with further images."""
    some = [{"id": i, "file_name": f"{i}.png", "width": SIZE[1], "height": SIZE[0]} for i in (1, 2, 3)]
    return content(images=[*some, *entries])


def file(name: str, make: Callable[[Path], None], **entry: Any) -> Callable[[Path], Path]:
    """A set with a fourth image whose file is odd."""

    def build(folder: Path) -> Path:
        make(folder / "images" / name)
        return images({"id": 4, "file_name": name, "width": SIZE[1], "height": SIZE[0]} | entry)(folder)

    def ordered(folder: Path) -> Path:
        (folder / "images").mkdir()
        return build(folder)

    return ordered


def cut(path: Path) -> None:
    picture(path, 4)
    path.write_bytes(path.read_bytes()[:1000])


def turned(orientation: int, size: tuple[int, int] = SIZE) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        exif = Image.Exif()
        exif[274] = orientation
        picture(path, 4, size, exif=exif)

    return make


def same(path: Path) -> None:
    picture(path.with_name("1.png"), 1)
    shutil.copy(path.with_name("1.png"), path)


def deep(path: Path) -> None:
    Image.fromarray(np.full(SIZE, 40000, np.uint16)).save(path)


CASES: list[tuple[str, Callable[[Path], Path], str, str]] = [
    ("no_images", content(images=[], annotations=[]), "stops", "--images"),
    ("no_objects", content(annotations=[]), "stops", "no object"),
    ("no_masks", content(annotations=[good(1, 1, segmentation=None)]), "stops", "has a mask"),
    ("one_image", content(count=1), "used", "held out"),
    ("image_entry", images({"id": 4, "file_name": "4.png", "width": 0, "height": 3}), "left out", "image 4"),
    ("image_entry", images({"id": 4, "width": 4, "height": 3}), "left out", "no name"),
    ("image_entry", images("what"), "left out", "image 4"),  # type: ignore[arg-type]
    ("image_id_repeated", images({"id": 1, "file_name": "x.png", "width": 4, "height": 3}), "left out", "id 1"),
    ("image_repeated", images({"id": 4, "file_name": "1.png", "width": 40, "height": 30}), "left out", "before"),
    ("image_same", file("4.png", same), "used", "content of 1.png"),
    ("image_missing", images({"id": 4, "file_name": "x.png", "width": 4, "height": 3}), "left out", "no such file"),
    ("image_truncated", file("4.png", cut), "left out", "truncated"),
    ("image_unreadable", file("4.jpg", lambda path: path.write_bytes(b"<html>") and None), "left out", "4.jpg"),
    ("image_not_a_file", file("4.png", lambda path: path.mkdir()), "left out", "4.png"),
    ("image_size", file("4.png", lambda path: picture(path, 4, (30, 41))), "left out", "41 x 30"),
    ("image_turned", file("4.jpg", turned(6)), "left out", "orientation 6"),
    ("image_mirrored", file("4.jpg", turned(3)), "note", "orientation 3"),
    ("image_converted", file("4.png", deep), "note", "16 bits"),
    ("category_entry", content(categories=[{"id": 1, "name": "cat"}, {"id": 2}]), "left out", "category 2"),
    ("category_entry", content(categories=[{"id": 1, "name": "cat"}, {"name": "a"}]), "left out", "no id"),
    ("category_id_repeated", content(categories=[{"id": 1, "name": n} for n in ("cat", "dog")]), "left out", "'dog'"),
    ("category_repeated", content(categories=[{"id": i, "name": "cat"} for i in (1, 2)]), "used", "twice"),
    ("category_case", content(categories=[{"id": 1, "name": "cat"}, {"id": 2, "name": " Cat"}]), "used", "two classes"),
    ("category_unknown", annotated(category_id=7), "left out", "category 7"),
    ("category_unused", content(categories=[{"id": 1, "name": "cat"}, {"id": 2, "name": "고양이"}]), "note", "고양이"),
    (
        "category_zero",
        content(categories=[{"id": 0, "name": "cat"}], annotations=[good(1, 1, 0), good(2, 2, 0)]),
        "note",
        "the id 0",
    ),
    ("annotation_entry", annotated(image_id=None), "left out", "annotation 4"),
    ("annotation_id_repeated", annotated(id=3, bbox=None, segmentation=RLE), "used", "2 annotations"),
    ("annotation_image", annotated(image_id=8), "left out", "image 8"),
    ("annotation_repeated", annotated(), "used", "'cat'"),
    ("number_invalid", annotated(bbox=[float("nan"), 1, 2, 3], segmentation=None), "left out", "four numbers"),
    ("number_invalid", annotated(bbox="box", segmentation=None), "left out", "'box'"),
    ("number_invalid", annotated(segmentation=[[0, 0, 9, float("inf"), 9, 9]]), "left out", "numbers that are none"),
    ("number_invalid", annotated(segmentation=[[0, 0, 9, 1e9, 9, 9]]), "left out", "far outside"),
    ("number_invalid", annotated(bbox=[float("nan")] * 4, segmentation=RLE), "used", "its mask counts"),
    ("polygon_points", annotated(segmentation=[[0, 0, 9, 9]]), "left out", "4 numbers"),
    ("polygon_points", annotated(segmentation=[[0, 0, 9, 9, 9, 0, 1]]), "left out", "7 numbers"),
    ("polygon_points", annotated(segmentation=[0, 0, 9, 9, 9, 0]), "left out", "not of polygons"),
    ("polygon_outside", annotated(segmentation=[[1, 1, 50, 1, 50, 9]], bbox=[1, 1, 39, 8]), "used", "leaves the image"),
    ("mask_empty", annotated(segmentation=[[50, 1, 60, 1, 60, 9]]), "left out", "no pixel"),
    ("mask_empty", annotated(segmentation={"size": list(SIZE), "counts": [1200]}), "left out", "no pixel"),
    ("mask_invalid", annotated(segmentation={"size": list(SIZE), "counts": "~~~~"}), "left out", "run lengths"),
    ("mask_invalid", annotated(segmentation={"counts": [1]}), "left out", "size or counts"),
    ("mask_invalid", annotated(segmentation="polygon"), "left out", "neither polygons"),
    ("mask_size", annotated(segmentation={"size": [40, 30], "counts": [1200]}), "left out", "30 x 40, the image 40"),
    ("mask_size", annotated(segmentation={"size": [99, 99], "counts": [9801]}), "left out", "(larger)"),
    ("mask_missing", annotated(segmentation=[]), "left out", "a box and no mask"),
    ("box_missing", annotated(segmentation=None, bbox=None), "left out", "neither"),
    ("box_inverted", annotated(segmentation=None, bbox=[9, 9, -3, 4]), "left out", "negative side"),
    ("box_empty", annotated(bbox=[9, 9, 0, 4], segmentation=RLE), "used", "its mask counts"),
    ("box_differs", annotated(segmentation=[[0, 0, 9, 0, 9, 9, 0, 9]], bbox=[9, 9, 9, 9]), "used", "IoU of 0.00"),
    ("area_zero", annotated(segmentation=RLE, bbox=None, area=0), "used", "100 pixels"),
    ("crowd", annotated(iscrowd=1, segmentation=RLE), "note", "crowd"),
]


@pytest.mark.parametrize(("kind", "make", "weight", "says"), CASES, ids=[f"{i}-{c[0]}" for i, c in enumerate(CASES)])
def test_each_fault_is_found(tmp_path: Path, kind: str, make: Any, weight: str, says: str) -> None:
    report = check(make(tmp_path))
    (fault,) = report.examples[kind]
    assert fault.weight == weight
    assert says in fault.text
    assert fault in (report.notes if weight == "note" else report.faults)
    assert (fault in report.fatal) == (weight in ("stops", "left out"))
    others = {"no_objects", "mask_missing", "one_image", "no_images", "tiny_objects", "category_unused"} - {kind}
    assert set(report.counts) - others == {kind}


def test_boxes_without_masks(tmp_path: Path) -> None:
    boxes = ([-9, 5, 20, 20], [50, 5, 9, 9], [5, 5, 0, 9], [5, 5, 9, 9], [0, 0, 40.4, 30])
    path = write(tmp_path, 2, [good(i, 1, bbox=box, segmentation=None) for i, box in enumerate(boxes)])
    report = check(path, masks=False)
    assert report.counts == {"box_empty": 1, "box_outside": 2}
    assert {f.annotation: f.weight for f in report.faults} == {"0": "used", "1": "left out", "2": "left out"}
    data = read(path, masks=False)
    assert [one.box for one in data.images[0].objects] == [(0, 5, 11, 25), (5, 5, 14, 14), (0, 0, 40, 30)]
    with pytest.raises(ValueError, match="a box and no mask"):
        data.images[0].masks()


def test_imbalance_and_tiny_objects_are_notes(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "big.png", 0, (300, 300))
    dot = [[5, 5, 8, 5, 8, 8, 5, 8]]
    some = [good(i, 1, segmentation=[[i, 40, i + 50, 40, i + 50, 90]], bbox=None) for i in range(1, 101)]
    path = write(
        tmp_path,
        1,
        [*some, good(200, 1, 2, segmentation=dot, bbox=None)],
        images=[{"id": 1, "file_name": "big.png", "width": 300, "height": 300}],
        categories=[{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    )
    report = check(path)
    assert [n.text for n in report.notes] == [
        "'cat' has 100 objects, 'dog' 1",
        "1 of 101 objects have sides below 1/64 of their image's longer side",
    ]


def test_a_file_that_is_cut_short(tmp_path: Path) -> None:
    path = write(tmp_path)
    path.write_bytes(path.read_bytes()[:-40])
    report = check(path)
    assert report.fatal[0].kind == "data_unreadable"
    with pytest.raises(UsageError, match="no COCO file"):
        read(path)


def test_what_is_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not there") as caught:
        check(tmp_path / "none.json")
    assert caught.value.code == "data_missing"
    (tmp_path / "a.json").write_text('{"hello": 1}')
    with pytest.raises(UsageError) as caught:
        check(tmp_path / "a.json")
    assert caught.value.code == "format_unknown"


def test_all_are_counted_and_some_kept() -> None:
    report = Report()
    for i in range(EXAMPLES + 5):
        report.add(Fault("image_missing", str(i), None, "no such file"))
    report.add(Fault("crowd", "a", "1", "it is a crowd", "note"))
    assert report.counts == {"image_missing": EXAMPLES + 5, "crowd": 1}
    assert (len(report.faults), len(report.notes), len(report.fatal)) == (EXAMPLES, 1, EXAMPLES)
    assert (report.count_of("left out"), report.count_of("left out", "note", kind="crowd")) == (EXAMPLES + 5, 1)


def test_heads_are_read_or_pixels(tmp_path: Path) -> None:
    path = file("4.png", cut)(tmp_path)
    assert check(path, pixels=False).counts == {}
    assert check(path).counts == {"image_truncated": 1}


def test_training_refuses_or_skips(tmp_path: Path) -> None:
    path = annotated(category_id=7)(tmp_path)
    with pytest.raises(UsageError, match=r"1 category_unknown.*3.png, 9: category 7") as caught:
        read_checked(path, tmp_path / "images", masks=False)
    assert caught.value.code == "data_faults"
    assert f"`gsam data check {path} --images {tmp_path}/images --boxes` lists" in str(caught.value)
    seen: list[int] = []
    data = read_checked(path, skip_faults=True, progress=seen.append)
    assert seen == [1, 2, 3]
    assert [len(entry.objects) for entry in data.images] == [1, 1, 1]
    nothing = write(tmp_path, annotations=[])
    with pytest.raises(UsageError, match="no object") as caught:
        read_checked(nothing, skip_faults=True)
    assert caught.value.code == "data_unusable"


def test_faults_are_told_as_they_come(tmp_path: Path) -> None:
    heard: list[Fault] = []
    seen: list[int] = []
    report = check(annotated(category_id=7)(tmp_path), tell=heard.append, progress=seen.append)
    assert heard == report.faults
    assert seen == [1, 2, 3]
    assert json.loads(json.dumps(heard[0].to_dict()))["kind"] in KINDS
    assert report.to_dict() == {
        "images": 3,
        "objects": 3,
        "classes": {"cat": 3},
        "counts": {"category_unknown": 1},
        "left_out": 1,
    }


@pytest.mark.long
def test_memory_does_not_grow_with_images(tmp_path: Path) -> None:
    peaks = []
    for count in (100, 800):
        folder = tmp_path / str(count)
        path = write(folder, 1)
        image = (folder / "images" / "1.png").read_bytes()
        for i in range(1, count + 1):
            (folder / "images" / f"{i}.png").write_bytes(image)
        entries = [{"id": i, "file_name": f"{i}.png", "width": SIZE[1], "height": SIZE[0]} for i in range(1, count + 1)]
        path = write(folder, 0, [good(i, i) for i in range(1, count + 1)], images=entries)
        check(path, pixels=False)
        tracemalloc.start()
        assert check(path, pixels=False).images == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 200_000
