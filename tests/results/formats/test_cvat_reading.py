"""CVAT's XML as it writes it itself, and broken."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gsam.errors import UsageError
from gsam.results.formats import cvat
from gsam.results.formats.dataset import mask_of
from tests.results.formats.small import SIZE


def file_of(tmp_path: Path, body: str, meta: str = "") -> Path:
    path = tmp_path / "given.xml"
    path.write_text(f"<annotations><version>1.1</version><meta>{meta}</meta>{body}</annotations>", encoding="utf-8")
    return path


def image_of(tmp_path: Path, shapes: str) -> tuple[Any, list[str]]:
    path = file_of(tmp_path, f'<image id="0" name="a.jpg" width="16" height="12">{shapes}</image>')
    data = cvat.read(path)
    (found,) = data
    return found, data.problems


def test_a_file_of_cvat(tmp_path: Path) -> None:
    found, problems = image_of(
        tmp_path,
        """
    <box label="cat" source="manual" occluded="0" xtl="1.00" ytl="2.00" xbr="3.00" ybr="4.00" z_order="0">
      <attribute name="colour">red</attribute><attribute name="score">0.25</attribute></box>
    <polygon label="cat" source="manual" occluded="0" points="2.00,3.00;6.00,3.00;6.00,8.00;2.00,8.00" z_order="0"/>
    <mask label="dog" source="auto" rle="1, 2, 2, 1" left="4" top="5" width="3" height="2" z_order="0"/>
    <ellipse label="dog" source="manual" occluded="0" cx="8.00" cy="6.00" rx="3.00" ry="1.00" z_order="0"/>
    <box label="dog" occluded="0" xtl="4.00" ytl="4.00" xbr="10.00" ybr="6.00" rotation="90.00" z_order="0"/>
    <ellipse label="dog" occluded="0" cx="8.00" cy="6.00" rx="3.00" ry="1.00" rotation="90.00" z_order="0"/>
    <box label="dog" occluded="0" xtl="8.00" ytl="4.00" xbr="12.00" ybr="4.80" rotation="45.00" z_order="0"/>
    """,
    )
    assert problems == []
    box, polygon, mask, ellipse, upright, tall, slanted = found["segments"]
    assert (box["box"], box["mask"], box["score"]) == ([1, 2, 3, 4], None, 0.25)
    expected = np.zeros((6, *SIZE), bool)
    expected[0, 3:8, 2:6] = True
    expected[1, 5, 5:7] = expected[1, 6, 6] = True
    expected[2, 5:7, 6:10] = True  # |dx| 2.5 at |dy| 0.5 is outside: 0.694 + 0.25 < 1 is inside
    expected[2, 5:7, 5] = expected[2, 5:7, 10] = True
    expected[3, 2:8, 6:8] = True
    expected[4, 3:9, 7:9] = True
    for one, area in zip((polygon, mask, ellipse, upright, tall), expected, strict=False):
        np.testing.assert_array_equal(mask_of(one), area)
    rows, columns = np.nonzero(mask_of(slanted))  # clockwise, as one sees it: down to the right
    assert len(rows)
    assert (np.abs((columns + 0.5 - 10) - (rows + 0.5 - 4.4)) < 1.2).all()
    assert rows[columns.argmax()] > rows[columns.argmin()]
    assert [s["label"] for s in found["segments"]] == ["cat", "cat", *["dog"] * 5]
    assert polygon["score"] is None


def test_tracks_are_images_of_frames(tmp_path: Path) -> None:
    meta = "<task><id>7</id><original_size><width>16</width><height>12</height></original_size></task>"
    body = """
    <track id="0" label="cat" source="manual">
      <box frame="12" keyframe="1" outside="0" occluded="0" xtl="1.0" ytl="2.0" xbr="3.0" ybr="4.0" z_order="0"/>
      <box frame="13" keyframe="1" outside="1" occluded="0" xtl="1.0" ytl="2.0" xbr="3.0" ybr="4.0" z_order="0"/>
    </track>
    <track id="3" label="dog">
      <mask frame="2" outside="0" rle="0, 2" left="1" top="0" width="2" height="1">
        <attribute name="score">0.5</attribute></mask>
      <polygon frame="12" outside="0" points="2,3;6,3;6,8;2,8"/>
      <polyline frame="14" outside="0" points="2,3;6,3;6,8"/>
      <box outside="0" xtl="1" ytl="2" xbr="3" ybr="4"/>
    </track>"""
    path = file_of(tmp_path, body, meta)
    archive = tmp_path / "given.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.write(path, "annotations.xml")
    data = cvat.read(archive)
    early, late = data
    assert [early["image"], late["image"]] == ["frame_000002", "frame_000012"]
    assert (early["height"], early["width"]) == SIZE
    assert [(s["track"], s["label"], s["score"], s["area"]) for s in early["segments"]] == [(3, "dog", 0.5, 2)]
    assert [(s["track"], s["label"], s["area"]) for s in late["segments"]] == [(0, "cat", 4), (3, "dog", 20)]
    assert len(data.problems) == 2
    assert "track 3, frame 14 (polyline)" in data.problems[0]
    assert "no frame" in data.problems[1]
    unsized = cvat.read(file_of(tmp_path, body))
    assert (list(unsized), len(unsized.problems)) == ([], 2)
    assert "size is missing" in unsized.problems[0]


@pytest.mark.parametrize(
    ("shape", "why"),
    [
        ('<polygon label="a" points="1,2;3,4"/>', "fewer than three"),
        ('<polygon label="a" points="1,2;3,4;5"/>', "two numbers"),
        ('<polygon label="a" points="1,2;3,4;nan,6"/>', "none"),
        ('<polygon label="a" points="1,2;3,4;1e9,6"/>', "far outside"),
        ('<polygon label="a"/>', "'points' is missing"),
        ('<mask label="a" rle="1, 2" left="0" top="0" width="2" height="2"/>', "not of 2 x 2"),
        ('<mask label="a" rle="-1, 5" left="0" top="0" width="2" height="2"/>', "not of 2 x 2"),
        ('<mask label="a" rle="x" left="0" top="0" width="2" height="2"/>', "invalid literal"),
        ('<mask label="a" rle="4" left="15" top="0" width="2" height="2"/>', "leave the image"),
        ('<mask label="a" rle="0" left="0" top="0" width="0" height="0"/>', "leave the image"),
        ('<box label="a" xtl="1" ytl="2" xbr="inf" ybr="3"/>', "box"),
        ('<box label="a" xtl="-1e200" ytl="-1e200" xbr="1e200" ybr="1e200"/>', "box"),
        ('<box label="a" xtl="5" ytl="2" xbr="1" ybr="3"/>', "box"),
        ('<box xtl="1" ytl="2" xbr="2" ybr="3"/>', "no label"),
        ('<ellipse label="a" cx="1" cy="1" rx="0" ry="1"/>', "ellipse"),
        ('<ellipse label="a" cx="1" cy="1" rx="1" ry="1" rotation="inf"/>', "ellipse"),
        ('<polyline label="a" points="1,2;3,4;5,6"/>', "no area"),
        ('<points label="a" points="1,2"/>', "no area"),
        ('<cuboid label="a" xtl1="1"/>', "no area"),
        ('<tag label="a"/>', "no area"),
    ],
)
def test_a_wrong_shape_is_told_and_left_out(tmp_path: Path, shape: str, why: str) -> None:
    found, problems = image_of(tmp_path, shape + '<box label="b" xtl="1" ytl="2" xbr="2" ybr="3"/>')
    assert [s["label"] for s in found["segments"]] == ["b"]
    (problem,) = problems
    assert "a.jpg, shape 1" in problem
    assert why in problem


def test_a_wrong_score_and_a_wrong_image(tmp_path: Path) -> None:
    box = '<box label="b" xtl="1" ytl="2" xbr="2" ybr="3"><attribute name="score">{}</attribute></box>'
    found, problems = image_of(tmp_path, box.format("good") + box.format("") + box.format("nan") + box.format("1"))
    assert [s["score"] for s in found["segments"]] == [None, None, None, 1.0]
    assert len(problems) == 2
    sized = '<image id="{}" name="{}.jpg" width="{}" height="9"/>'
    body = "".join(sized.format(i, i, w) for i, w in enumerate(["", "0", "nan", "9e9", "-4", "8"]))
    data = cvat.read(file_of(tmp_path, body + '<image id="8" width="8" height="9"/><image name="c" width="1"/>'))
    assert [f["image"] for f in data] == ["5.jpg"]
    assert len(data.problems) == 7


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{}", b"\x89PNG\0\0", b"<annotation/>", b"<annotations><meta>",
        b'<?xml version="1.0" encoding="x"?><annotations/>',
        b'<!DOCTYPE annotations [<!ENTITY a "b">]><annotations><image name="&a;" width="1" height="1"/></annotations>',
        '<!DOCTYPE a SYSTEM "b"><annotations/>'.encode("utf-16"),
    ],
)  # fmt: skip
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "annotations.xml"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"annotations\.xml") as error:
        cvat.read(tmp_path)
    assert error.value.code == "format_unreadable"


def test_missing_files_are_refused(tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("other.xml", "<annotations/>")
    for path in (tmp_path, tmp_path / "none.xml", archive):
        with pytest.raises(UsageError, match=str(path)) as error:
            cvat.read(path)
        assert error.value.code == "format_unreadable"
