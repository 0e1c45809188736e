"""Images of 60,000 x 40,000 pixels: their boxes are read; masks that would be filled are told."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path

import pytest

from gsam.results.formats import known
from gsam.results.formats.dataset import scene, segment

WIDTH, HEIGHT = 60_000, 40_000
BOX = [100.0, 200.0, 59_000.0, 39_000.0]


def huge_png(path: Path) -> None:
    """The head of a PNG, which is all that its size needs."""
    head = b"IHDR" + struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 0, 0, 0, 0)
    parts = (head, b"IDAT" + zlib.compress(b""), b"IEND")
    chunks = [struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in parts]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))


@pytest.mark.parametrize("name", ["labelme", "cvat", "cvat_video", "label_studio", "yolo", "coco"])
def test_boxes_need_no_pixels(name: str, tmp_path: Path) -> None:
    with known.writer_of(name)(tmp_path) as writer:
        writer.add(scene("a.png", (HEIGHT, WIDTH), [segment("ship", None, box=BOX)]))
    huge_png(tmp_path / "images" / "a.png")
    data = known.read(tmp_path, name)
    (one,) = data
    assert (one["width"], one["height"]) == (WIDTH, HEIGHT)
    assert one["segments"][0]["box"] == pytest.approx(BOX, abs=1e-3)
    assert not data.problems


VOC = """<annotation><filename>a.png</filename><size><width>60000</width><height>40000</height></size><object>
<name>ship</name><bndbox><xmin>101</xmin><ymin>201</ymin><xmax>59000</xmax><ymax>39000</ymax></bndbox></object>
</annotation>"""
CVAT = """<annotations><version>1.1</version><image id="0" name="a.png" width="60000" height="40000">
<box label="ship" xtl="100" ytl="200" xbr="59000" ybr="39000"/><polygon label="ship" points="1,1;9,1;9,9"/>
<mask label="ship" rle="0, 4" left="1" top="1" width="2" height="2"/>
<ellipse label="ship" cx="9" cy="9" rx="3" ry="4"/></image></annotations>"""
SHAPES = [
    {"label": "ship", "shape_type": "rectangle", "points": [BOX[:2], BOX[2:]]},
    {"label": "ship", "shape_type": "polygon", "points": [[1, 1], [9, 1], [9, 9]]},
    {"label": "ship", "shape_type": "circle", "points": [[9, 9], [12, 9]]},
    {"label": "two", "group_id": 1, "shape_type": "rectangle", "points": [BOX[:2], BOX[2:]]},
    {"label": "two", "group_id": 1, "shape_type": "rectangle", "points": [BOX[:2], BOX[2:]]},
]
LABELME = json.dumps({"imagePath": "a.png", "imageWidth": WIDTH, "imageHeight": HEIGHT, "shapes": SHAPES})
YOLO = "0 0.4925 0.49 0.981666666666 0.97\n0 0.1 0.1 0.2 0.1 0.2 0.2\n"


@pytest.mark.parametrize(
    ("name", "file", "content", "told"),
    [
        ("voc", "Annotations/a.xml", VOC, 1),
        ("cvat", "annotations.xml", CVAT, 3),
        ("labelme", "a.json", LABELME, 4),
        ("yolo", "labels/a.txt", YOLO, 1),
    ],
)
def test_boxes_survive_masks_that_are_not_filled(name: str, file: str, content: str, told: int, tmp_path: Path) -> None:
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)
    (tmp_path / "data.yaml").write_text("names: [ship]")
    huge_png(tmp_path / "images" / "a.png")
    huge_png(tmp_path / "SegmentationObject" / "a.png")
    data = known.read(tmp_path, name)
    (one,) = data
    (box,) = one["segments"]
    assert box["box"] == pytest.approx(BOX, abs=1e-3)
    assert len(data.problems) == told
    for problem in data.problems:
        assert "too large" in problem or "exceeds limit" in problem


def test_an_image_that_is_damaged_is_told(tmp_path: Path) -> None:
    for stem in ("a", "b", "c"):
        huge_png(tmp_path / "images" / f"{stem}.png")
        (tmp_path / "labels").mkdir(exist_ok=True)
        (tmp_path / "labels" / f"{stem}.txt").write_text("")
    (tmp_path / "data.yaml").write_text("names: [ship]")
    (tmp_path / "images" / "a.png").write_bytes(b"no image")
    (tmp_path / "images" / "b.png").write_bytes((tmp_path / "images" / "b.png").read_bytes()[:20])
    data = known.read(tmp_path)
    assert [one["image"] for one in data] == ["c.png"]
    assert len(data.problems) == 2
