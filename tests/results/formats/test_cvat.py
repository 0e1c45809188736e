"""CVAT's XML there and back."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from gsam.results.formats import cvat
from gsam.results.formats.dataset import scene, segment
from gsam.results.masks import rle
from tests.results.formats.small import ODD, SIZE, masks


def written(folder: Path, *scenes: Any, labels: tuple[str, ...] = ()) -> cvat.Writer:
    folder.mkdir(exist_ok=True)
    with cvat.Writer(folder, labels) as writer:
        for one in scenes:
            writer.add(one)
    return writer


def test_masks_labels_and_scores_come_back(tmp_path: Path) -> None:
    segments = [segment(name, rle.encode(mask), score=0.1 + i / 7) for i, (name, mask) in enumerate(masks().items())]
    segments.append(segment("상자", None, box=[1.25, 2, 7.5, 9.123456], score=None))
    segments.append(segment(ODD, rle.encode(masks()["hole"]), score=1.0))
    writer = written(tmp_path, scene("sub/a.png", SIZE, segments))
    assert not writer.losses
    data = cvat.read(tmp_path)
    assert data.labels == [*masks(), "상자", ODD]
    (found,) = data
    assert data.problems == []
    assert (found["image"], found["width"], found["height"]) == ("sub/a.png", 16, 12)
    assert found["segments"] == scene("", SIZE, segments)["segments"]
    assert [p.name for p in tmp_path.iterdir()] == ["annotations.xml"]


def test_names_that_are_alike_and_many_labels(tmp_path: Path) -> None:
    labels = tuple(f"class {i}" for i in range(300))
    names = ["a.png", "a.jpg", "sub/a.png", 'b"<&>.png']
    scenes = [scene(n, SIZE, [segment(labels[70 * i], rle.encode(masks()["line"]))]) for i, n in enumerate(names)]
    written(tmp_path, *scenes, scene("none.png", (3, 4), []), labels=labels)
    data = cvat.read(tmp_path / "annotations.xml")
    assert data.labels == list(labels)
    for _ in range(2):
        found = list(data)
        assert [f["image"] for f in found] == [*names, "none.png"]
        assert [s["label_id"] for f in found for s in f["segments"]] == [0, 70, 140, 210]
    assert (found[-1]["height"], found[-1]["segments"]) == (3, [])


def test_what_the_file_looks_like(tmp_path: Path) -> None:
    found = [
        segment("cat", rle.encode(masks()["hole"]), score=0.91),
        segment("dog", None, box=[1, 2, 3.5, 4]),
        segment("none", rle.encode(masks()["empty"])),
    ]
    written(tmp_path, scene("a.jpg", SIZE, found))
    root = ElementTree.parse(tmp_path / "annotations.xml").getroot()
    assert [child.tag for child in root] == ["version", "meta", "image"]
    assert (root.findtext("version"), root.findtext("meta/task/size")) == ("1.1", "1")
    assert root.findtext("meta/task/mode") == "annotation"
    assert [e.text for e in root.iterfind("meta/task/labels/label/name")] == ["cat", "dog", "none"]
    assert {e.text for e in root.iterfind("meta/task/labels/label/attributes/attribute/name")} == {"score"}
    mask, box, empty = root.find("image") or ()
    assert mask.attrib == {
        "label": "cat", "source": "auto", "occluded": "0", "z_order": "0",
        "left": "3", "top": "2", "width": "8", "height": "7",
        "rle": "0, 18, 3, 5, 3, 27",
    }  # fmt: skip
    assert [(a.get("name"), a.text) for a in mask] == [("score", "0.91")]
    assert [box.get(k) for k in ("xtl", "ytl", "xbr", "ybr")] == ["1.00", "2.00", "3.50", "4.00"]
    assert [empty.get(k) for k in ("rle", "left", "top", "width", "height")] == ["1", "0", "0", "1", "1"]


def test_a_file_that_ends_early(tmp_path: Path) -> None:
    written(tmp_path, *(scene(f"{i}.png", SIZE, [segment("a", rle.encode(masks()["noise"]))]) for i in range(100)))
    path = tmp_path / "annotations.xml"
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    data = cvat.read(path)
    found = list(data)
    assert 40 < len(found) < 80
    assert len(data.problems) == 1
    assert "broken" in data.problems[0]


def test_losses_are_counted(tmp_path: Path) -> None:
    mask = rle.encode(masks()["line"])
    found = [
        segment("a\0b", mask, box=[0, 0, 16, 12], score=float("nan"), mask_score=0.5),
        {**segment("c", None, box=[0, 0, 1, 1]), "box": [0, float("nan"), 1, 1]},
    ]
    writer = written(tmp_path, scene("a\x07.png", SIZE, found))
    assert writer.losses == {
        "boxes other than the bounds of their masks": 1,
        "scores that are no numbers": 1,
        "mask_score of a segment": 1,
        "boxes whose numbers are none": 1,
        "characters of names that XML cannot hold": 3,  # the image, the shape, the list of labels
    }
    (found,) = cvat.read(tmp_path)
    assert found["image"] == "a\ufffd.png"
    assert [s["label"] for s in found["segments"]] == ["a\ufffdb"]


def test_nothing_appears_before_the_end(tmp_path: Path) -> None:
    writer = cvat.Writer(tmp_path)
    writer.add(scene("a.png", SIZE, []))
    assert not (tmp_path / "annotations.xml").exists()
    writer.close()
    writer.close()
    assert [f["image"] for f in cvat.read(tmp_path)] == ["a.png"]
    written(tmp_path / "none")
    assert list(cvat.read(tmp_path / "none")) == []


def test_memory_does_not_grow_with_images(tmp_path: Path) -> None:
    mask = np.random.default_rng(0).random((60, 80)) < 0.5
    written(tmp_path, *(scene(f"{i}.png", (60, 80), [segment("a", rle.encode(mask))]) for i in range(80)))
    tracemalloc.start()
    try:
        held = [tracemalloc.get_traced_memory()[0] for _ in cvat.read(tmp_path)]
    finally:
        tracemalloc.stop()
    assert max(held[45:]) - max(held[10:45]) < 50_000
