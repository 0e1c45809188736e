"""Pascal VOC: what it can hold comes back, what not is counted; other people's folders are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from gsam.errors import UsageError
from gsam.results.formats import voc
from gsam.results.formats.dataset import mask_of, scene, segment
from gsam.results.masks import rle
from tests.results.formats.scenes import KOREAN, ODD, SIZE, hard, masks

OBJECT = "<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"


def square(x: int, y: int, width: int, height: int) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[y : y + height, x : x + width] = True
    return mask


def written(folder: Path, scenes: list[dict[str, Any]], labels: tuple[str, ...] = ()) -> voc.Writer:
    with voc.Writer(folder, labels) as writer:
        for one in scenes:
            writer.add(one)
    return writer


def annotation(folder: Path, content: str, name: str = "a", size: str = "<width>6</width><height>4</height>") -> Path:
    path = folder / "Annotations" / f"{name}.xml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"<annotation><filename>{name}.jpg</filename><size>{size}</size>{content}</annotation>")
    return path


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.array(image)


@pytest.mark.parametrize("kind", [k for k in masks() if k != "empty"])
def test_masks_come_back_as_they_were(kind: str, tmp_path: Path) -> None:
    mask = rle.encode(masks()[kind])
    writer = written(tmp_path, [scene("sub/b.png", SIZE, [segment(ODD, mask)])], ("person",))
    assert not writer.losses
    data = voc.read(tmp_path)
    assert data.labels == ["person", ODD]
    ((found,),) = [s["segments"] for s in data]
    assert (found["label"], found["label_id"], found["mask"], found["score"]) == (ODD, 1, mask, None)
    assert found["box"] == list(rle.bounds(mask))
    assert not data.problems


def test_hard_ones_together(tmp_path: Path) -> None:
    writer = written(tmp_path, [hard()])
    assert writer.losses == {"scores": 8, "empty masks": 1, "masks lose pixels that lie under other masks": 5}
    data = voc.read(tmp_path)
    (found,) = list(data)
    assert (found["image"], found["width"], found["height"]) == ("sub/b.png", 32, 24)
    labels = ["hole", KOREAN, ODD, "line", "full", "corners", "box"]
    assert [s["label"] for s in found["segments"]] == labels
    assert found["segments"][-1]["mask"] is None
    assert found["segments"][-1]["box"] == [3, 4, 10, 12]
    free = np.ones(SIZE, bool)
    for one, kind in zip(found["segments"][:6], ["hole", "parts", "pixel", "line", "full", "corners"], strict=True):
        if kind in ("pixel", "corners"):  # all of them lie under others
            assert one["mask"] is None
        else:
            np.testing.assert_array_equal(mask_of(one), masks()[kind] & free)
        free &= ~masks()[kind]
    assert not data.problems


def test_the_files_are_those_of_voc(tmp_path: Path) -> None:
    found = [segment("dog", None, box=[1.4, 2.6, 9, 10.5], score=0.5), segment("cat", rle.encode(square(2, 3, 4, 5)))]
    writer = written(tmp_path, [scene("a.jpg", SIZE, found)], ("cat",))
    assert writer.losses == {"scores": 1, "boxes are rounded to whole pixels inside the image": 1}
    root = ElementTree.parse(tmp_path / "Annotations" / "a.xml").getroot()
    wanted = {"filename": "a.jpg", "size/width": "32", "size/height": "24", "size/depth": "3", "segmented": "1"}
    assert {name: root.findtext(name) for name in wanted} == wanted
    boxes = [[int(v.text or "") for v in element] for element in root.iter("bndbox")]
    assert boxes == [[2, 4, 9, 11], [3, 4, 6, 8]]
    content = (tmp_path / "SegmentationObject" / "a.png").read_bytes()
    assert content[24:26] == b"\x08\x03"  # 8 bits, indexed
    with Image.open(tmp_path / "SegmentationClass" / "a.png") as image:
        assert image.getpalette()[:9] == [0, 0, 0, 128, 0, 0, 0, 128, 0]
    np.testing.assert_array_equal(pixels(tmp_path / "SegmentationObject" / "a.png"), square(2, 3, 4, 5) * 2)
    np.testing.assert_array_equal(pixels(tmp_path / "SegmentationClass" / "a.png"), square(2, 3, 4, 5) * 1)
    lines = "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncat:128,0,0::\ndog:0,128,0::\n"
    assert (tmp_path / "labelmap.txt").read_text() == lines


def test_colours_are_those_of_the_palette() -> None:
    assert [voc.colour(i) for i in (1, 6, 20, 255)] == [(128, 0, 0), (0, 128, 128), (0, 64, 128), (224, 224, 192)]
    assert len({voc.colour(i) for i in range(2000)}) == 2000


def test_three_hundred_classes_and_objects(tmp_path: Path) -> None:
    found = [segment(f"class: {i}", rle.encode(square(i % 30, i // 30, 1, 1))) for i in range(300)]
    writer = written(tmp_path, [scene("a.png", SIZE, found), scene("b.png", SIZE, found[298:])])
    assert writer.losses == {
        "masks after object 254 of an image": 46,
        "classes after 254 are not judged in SegmentationClass": 2,
    }
    assert pixels(tmp_path / "SegmentationClass" / "b.png")[9, 28] == 255
    data = voc.read(tmp_path)
    first, second = list(data)
    assert data.labels == [f"class: {i}" for i in range(300)]
    assert [s["label"] for s in first["segments"]] == data.labels
    assert [s["mask"] for s in first["segments"]] == [s["mask"] for s in found[:254]] + [None] * 46
    assert [(s["label"], s["mask"]) for s in second["segments"]] == [(s["label"], s["mask"]) for s in found[298:]]
    assert not data.problems


def test_names_do_not_collide_nor_lead_outside(tmp_path: Path) -> None:
    names = ["a.png", "a.jpg", "sub/a.png", "../../x.png", "/etc/y.png", "a.jpg"]
    folder = tmp_path / "set"
    writer = written(folder, [scene(name, SIZE, []) for name in names])
    assert writer.losses == {"images of one name with two suffixes: their files are called by both": 2}
    xml = folder / "Annotations"
    assert sorted(p.relative_to(xml).as_posix() for p in xml.rglob("*.xml")) == [
        "a.jpg-2.xml", "a.jpg.xml", "a.xml", "etc/y.xml", "sub/a.xml", "x.xml",
    ]  # fmt: skip
    assert [p.name for p in tmp_path.iterdir()] == ["set"]
    found = sorted(s["image"] for s in voc.read(folder))
    assert found == ["a.jpg", "a.jpg", "a.png", "etc/y.png", "sub/a.png", "x.png"]


def test_what_is_lost_of_boxes_labels_and_crowds(tmp_path: Path) -> None:
    boxes = [[-5, -5, 3.2, 3], [40, 1, 50, 5], [3.1, 4.1, 3.2, 4.2], [float("nan"), 0, 1, 1]]
    found = [segment("x", None, box=[float(v) if v == v else 0.0 for v in box]) | {"box": box} for box in boxes]
    found.append(segment("a\nb\x01 ", rle.encode(square(0, 0, 1, 1)), crowd=True))
    writer = written(tmp_path, [scene("a.png", SIZE, found)])
    assert writer.losses == {
        "boxes are rounded to whole pixels inside the image": 2,
        "boxes without a pixel": 2,
        "crowds are objects: VOC has none": 1,
        "characters of names that XML cannot hold": 2,
    }
    ((first, second, third),) = [s["segments"] for s in voc.read(tmp_path)]
    assert (first["box"], second["box"], third["label"]) == ([0, 0, 3, 3], [3, 4, 4, 5], "a b\ufffd")


def test_a_folder_of_voc_2012(tmp_path: Path) -> None:
    part = "<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>1</xmax><ymax>1</ymax></bndbox></part>"
    dog = OBJECT.format("dog", 1, 1, 3.6, 2).replace("</object>", f"{part}</object>")
    annotation(tmp_path, "<folder>VOC2012</folder><segmented>1</segmented>" + dog + OBJECT.format("cat", 4, 2, 6, 4))
    ids = np.array([[1, 1, 255, 0, 0, 0], [1, 0, 255, 0, 2, 2], [0, 0, 0, 255, 2, 2], [0, 0, 0, 0, 0, 0]], np.uint8)
    (tmp_path / "SegmentationObject").mkdir()
    Image.fromarray(ids).save(tmp_path / "SegmentationObject" / "a.png")
    annotation(tmp_path, OBJECT.format("dog", 0, 0, 99, 4), "b")
    data = voc.read(tmp_path)
    first, second = list(data)
    assert (first["image"], first["height"], first["width"], data.labels) == ("a.jpg", 4, 6, ["dog", "cat"])
    one, two = first["segments"]
    assert (one["label"], one["box"], one["area"]) == ("dog", [0, 0, 3.6, 2], 3)
    np.testing.assert_array_equal(mask_of(one), ids == 1)
    np.testing.assert_array_equal(mask_of(two), ids == 2)
    assert two["box"] == [3, 1, 6, 4]
    assert [(s["label"], s["box"], s["mask"]) for s in second["segments"]] == [("dog", [0, 0, 6, 4], None)]


def test_colours_as_cvat_writes_them(tmp_path: Path) -> None:
    """CVAT has classes in colours of its own, and masks that are no objects of the XML."""
    (tmp_path / "labelmap.txt").write_text(
        "# label:color_rgb:parts:actions\r\nbackground:0,0,0::\r\ncat:10,20,30::\r\nred dog:250,50,83:a,b:run\r\n"
    )
    annotation(tmp_path, OBJECT.format("cat", 1, 1, 2, 2) + OBJECT.format("cat", 5, 4, 6, 4))
    kinds, ids = np.zeros((4, 6, 3), np.uint8), np.zeros((4, 6, 3), np.uint8)
    kinds[0, :2], kinds[1, 3:] = (250, 50, 83), (10, 20, 30)
    ids[0, :2], ids[1, 3:] = (128, 0, 0), (0, 128, 0)
    for name, image in (("SegmentationClass", kinds), ("SegmentationObject", ids)):
        (tmp_path / name).mkdir()
        for stem in ("a", "only"):
            Image.fromarray(image).save(tmp_path / name / f"{stem}.png")
    data = voc.read(tmp_path)
    first, second = list(data)
    assert data.labels == ["cat", "red dog"]
    assert [(s["label"], s["box"], s["mask"] is None) for s in first["segments"]] == [
        ("cat", [0, 0, 2, 2], True),  # the mask there is of another class
        ("cat", [4, 3, 6, 4], True),  # the mask of this class is elsewhere
        ("red dog", [0, 0, 2, 1], False),
        ("cat", [3, 1, 6, 2], False),
    ]
    assert (second["image"], second["height"], second["width"], len(second["segments"])) == ("only.jpg", 4, 6, 2)
    (tmp_path / "SegmentationObject" / "only.png").unlink()
    assert [s["label"] for s in list(data)[1]["segments"]] == ["cat", "red dog"]


def test_xml_files_beside_their_images(tmp_path: Path) -> None:
    annotation(tmp_path, OBJECT.format(" cat ", 1, 1, 2, 2)).rename(tmp_path / "a.xml")
    (tmp_path / "Annotations").rmdir()
    (found,) = list(voc.read(tmp_path))
    assert [(s["label"], s["box"]) for s in found["segments"]] == [("cat", [0, 0, 2, 2])]


def test_what_is_wrong_is_left_out_and_told(tmp_path: Path) -> None:
    bad = [OBJECT.format("x", "nan", 1, 2, 2), OBJECT.format("x", 5, 1, 2, 2), "<object><name>x</name></object>"]
    annotation(tmp_path, "".join([*bad, OBJECT.format("cat", 1, 1, 2, 2)]))
    annotation(tmp_path, "", "size", size="")
    (tmp_path / "Annotations" / "cut.xml").write_text("<annotation><size>")
    (tmp_path / "Annotations" / "other.xml").write_text("<annotations/>")
    (tmp_path / "labelmap.txt").write_text("cat:1,2,3::\nnonsense\n")
    for name in ("SegmentationClass", "SegmentationObject"):
        (tmp_path / name).mkdir()
    Image.new("L", (5, 5), 1).save(tmp_path / "SegmentationObject" / "a.png")
    (tmp_path / "SegmentationClass" / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    data = voc.read(tmp_path)
    assert [[(s["label"], s["mask"]) for s in one["segments"]] for one in data] == [[("cat", None)]]
    wanted = [
        "line 2: no label", "SegmentationClass/a.png", "SegmentationObject/a.png: has another size",
        "object 1: xmin is no number", "object 2: its box has no pixel", "object 3: has no name or no bndbox",
        "cut.xml: no XML", "other.xml: begins with annotations", "size.xml: says nothing of the image's size",
    ]  # fmt: skip
    assert len(data.problems) == len(wanted)
    assert all(any(text in problem for problem in data.problems) for text in wanted), "\n".join(data.problems)


def test_a_mask_of_nothing_is_told(tmp_path: Path) -> None:
    annotation(tmp_path, OBJECT.format("cat", 1, 1, 2, 2))
    (tmp_path / "SegmentationObject").mkdir()
    Image.new("L", (6, 4), 7).save(tmp_path / "SegmentationObject" / "a.png")
    data = voc.read(tmp_path)
    assert [len(s["segments"]) for s in data] == [1]
    assert "the mask with number 7 has no object" in data.problems[0]


def test_entities_are_refused(tmp_path: Path) -> None:
    path = annotation(tmp_path, OBJECT.format("&a;", 1, 1, 2, 2))
    path.write_text('<!DOCTYPE annotation [<!ENTITY a "aaaa">]>' + path.read_text())
    with pytest.raises(UsageError, match=r"a\.xml declares a document type") as caught:
        list(voc.read(tmp_path))
    assert caught.value.code == "format_unreadable"


def test_what_is_not_voc_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text("<annotations/>")
    for path in (tmp_path, tmp_path / "a.xml", tmp_path / "gone"):
        with pytest.raises(UsageError, match=f"{path.name} has no annotations of Pascal VOC") as caught:
            voc.read(path)
        assert caught.value.code == "format_unreadable"
    written(tmp_path / "empty", [])
    assert not list(voc.read(tmp_path / "empty"))


def test_lists_of_images(tmp_path: Path) -> None:
    mask = segment("x", rle.encode(square(1, 1, 2, 2)))
    boxed = segment("x", None, box=[0.0, 0.0, 2.0, 2.0])
    names = ["z.png", "a b.png", "sub/c.png"]
    size = square(1, 1, 2, 2).shape
    written(tmp_path, [scene(name, size, [found]) for name, found in zip(names, (mask, boxed, mask), strict=True)])
    lists = tmp_path / "ImageSets"
    assert (lists / "Main" / "default.txt").read_text() == "z\na b\nsub/c\n"
    assert (lists / "Segmentation" / "default.txt").read_text() == "z\nsub/c\n"
    assert [one["image"] for one in voc.read(tmp_path)] == names
    (lists / "Main" / "default.txt").write_text("sub/c\r\nnone\n")
    data = voc.read(tmp_path)
    assert [one["image"] for one in data] == ["sub/c.png", "z.png"]
    assert data.problems == [f"{tmp_path}: none is listed and has no annotation"]
    for path in lists.rglob("*.txt"):
        path.unlink()
    assert [one["image"] for one in voc.read(tmp_path)] == ["a b.png", "sub/c.png", "z.png"]
