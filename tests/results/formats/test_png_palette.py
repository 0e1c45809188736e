"""Palette PNGs of classes: the values that tools read, and what a map of classes cannot hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gsam.errors import UsageError
from gsam.results.formats import known, png_palette, voc_reading
from gsam.results.formats.dataset import mask_of, scene, segment
from gsam.results.masks import rle
from tests.results.formats.scenes import KOREAN, ODD, SIZE, hard, masks


def written(folder: Path, *scenes: Any, labels: tuple[str, ...] = ()) -> png_palette.Writer:
    folder.mkdir(exist_ok=True)
    with png_palette.Writer(folder, labels) as writer:
        for one in scenes:
            writer.add(one)
    return writer


def of(label: str, kind: str, score: float | None = None) -> dict[str, Any]:
    return segment(label, rle.encode(masks()[kind]), score=score)


def test_classes_come_back(tmp_path: Path) -> None:
    names = ["a.png", "a.jpg", "sub/a.tif", 'b"<&>.png']
    writer = written(
        tmp_path, *(scene(n, SIZE, [of(KOREAN, "parts"), of(ODD, "pixel")]) for n in names), labels=("person",)
    )
    assert not writer.losses
    assert known.recognised(tmp_path) == "png_palette"
    data = known.read(tmp_path)
    found = list(data)
    assert data.labels == ["person", KOREAN, ODD]
    assert sorted(s["image"] for s in found) == sorted(names)
    for one in found:
        assert [s["label"] for s in one["segments"]] == [KOREAN, ODD]
        assert (mask_of(one["segments"][0]) == masks()["parts"]).all()
        assert (mask_of(one["segments"][1]) == masks()["pixel"]).all()
    assert not data.problems


def test_what_tools_see(tmp_path: Path) -> None:
    found = [of("cat", "hole", 0.5), of("cat", "line", 0.5), of("dog", "parts", 0.75), of("none", "empty")]
    writer = written(tmp_path, scene("a.jpg", SIZE, [*found, segment("box", None, box=[0, 20, 3, 24])]))
    assert writer.losses == {
        "scores": 3,
        "objects are one mask with others of their class": 1,
        "empty masks": 1,
        "boxes without a mask are not judged (255)": 1,
        "masks lose pixels that lie under another class with a higher score": 1,  # of the hole, the line is its class
    }
    with Image.open(tmp_path / "a.png") as image:
        assert image.mode == "P"
        values = np.array(image)
        colours = np.array(image.getpalette()).reshape(-1, 3)
    wanted = np.where(masks()["hole"] | masks()["line"], 1, 0)
    wanted[masks()["parts"]] = 2
    wanted[20:, :3] = 255
    np.testing.assert_array_equal(values, wanted)
    for number in (0, 1, 2, 255):
        assert tuple(colours[number]) == voc_reading.colour(number)
    assert json.loads((tmp_path / "id2label.json").read_text(encoding="utf-8")) == {
        "0": "background", "1": "cat", "2": "dog", "3": "none", "4": "box",
    }  # fmt: skip


@pytest.mark.parametrize("kind", list(masks()))
def test_each_mask_alone(kind: str, tmp_path: Path) -> None:
    written(tmp_path, scene("a.png", SIZE, [of("x", kind)]))
    (found,) = png_palette.read(tmp_path)
    assert [rle.decode(s["mask"]).tolist() for s in found["segments"]] == [masks()[kind].tolist()] * (kind != "empty")


def test_more_classes_than_there_are_numbers(tmp_path: Path) -> None:
    labels = tuple(f"class {i}" for i in range(300))
    scenes = [scene("a.png", SIZE, [of("class 253", "pixel"), of("class 254", "line")]), scene("none.png", SIZE, [])]
    writer = written(tmp_path, *scenes, labels=labels)
    assert writer.losses == {"masks of classes after 254 are not judged (255)": 1, "names of classes after 254": 46}
    data = png_palette.read(tmp_path)
    found = {s["image"]: s["segments"] for s in data}
    assert data.labels == list(labels[:254])
    assert [s["label"] for s in found["a.png"]] == ["class 253"]
    assert found["none.png"] == []
    with Image.open(tmp_path / "a.png") as image:
        assert sorted(set(np.array(image).ravel().tolist())) == [0, 254, 255]


def test_hard_scenes_are_written(tmp_path: Path) -> None:
    writer = written(tmp_path, hard())
    assert writer.losses["empty masks"] == 1
    assert [s["image"] for s in png_palette.read(tmp_path / "id2label.json")] == ["sub/b.png"]


def test_what_is_wrong_is_left_out_and_told(tmp_path: Path) -> None:
    (tmp_path / "id2label.json").write_text('{"0": "background", "1": "cat", "255": "void"}')
    Image.fromarray(np.array([[0, 1, 7, 255]], np.uint8)).save(tmp_path / "grey.png")
    Image.new("RGB", (4, 4)).save(tmp_path / "colours.png")
    (tmp_path / "broken.png").write_bytes(b"none")
    data = png_palette.read(tmp_path)
    (found,) = data
    assert (found["image"], data.labels) == ("grey.png", ["cat"])
    assert [(s["label"], s["box"]) for s in found["segments"]] == [("cat", [1, 0, 2, 1])]
    assert len(data.problems) == 3
    assert any("no class has the number 7" in problem for problem in data.problems)
    assert any("have colours (RGB)" in problem for problem in data.problems)


@pytest.mark.parametrize("content", [None, "", "[]", '{"a": "b"}', "\x00"])
def test_no_names_are_refused(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "id2label.json").write_text(content)
    with pytest.raises(UsageError, match="has no names of classes") as caught:
        png_palette.read(tmp_path)
    assert caught.value.code == "format_unreadable"
