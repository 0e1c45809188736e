"""Label Studio's tasks there and back."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from gsam.errors import UsageError
from gsam.results.formats import label_studio
from gsam.results.formats.dataset import mask_of, scene, segment
from gsam.results.masks import rle
from tests.results.formats.small import ODD, SIZE, independently_unpacked, masks


def written(folder: Path, *scenes: Any, **settings: Any) -> label_studio.Writer:
    folder.mkdir(exist_ok=True)
    with label_studio.Writer(folder, **settings) as writer:
        for one in scenes:
            writer.add(one)
    return writer


def test_masks_labels_and_scores_come_back(tmp_path: Path) -> None:
    segments = [segment(name, rle.encode(mask), score=0.1 + i / 7) for i, (name, mask) in enumerate(masks().items())]
    segments.append(segment("상자", None, box=[1.25, 2, 7.33, 9.123456], score=None))
    segments.append(segment(ODD, rle.encode(masks()["hole"]), score=1.0))
    writer = written(tmp_path, scene("sub/a.png", SIZE, segments))
    assert not writer.losses
    data = label_studio.read(tmp_path)
    assert data.labels == [*masks(), "상자", ODD]
    (found,) = data
    assert data.problems == []
    assert (found["image"], found["width"], found["height"]) == ("sub/a.png", 16, 12)
    assert found["segments"] == scene("", SIZE, segments)["segments"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.xml", "tasks.json"]


def test_names_that_are_alike_and_many_labels(tmp_path: Path) -> None:
    labels = tuple(f"class {i}" for i in range(300))
    names = ["a.png", "a.jpg", "sub/a.png", 'b"<&>#1 %20?.png']
    scenes = [scene(n, SIZE, [segment(labels[70 * i], rle.encode(masks()["line"]))]) for i, n in enumerate(names)]
    for i, prefix in enumerate(["", "http://there/", "/data/local-files/?d="]):
        written(tmp_path / f"{i}", *scenes, scene("none.png", (3, 4), []), labels=labels, prefix=prefix)
        data = label_studio.read(tmp_path / f"{i}" / "tasks.json")
        assert data.labels == list(labels)
        for _ in range(2):
            found = list(data)
            assert [f["image"] for f in found] == [*names, "none.png"]
            assert [s["label_id"] for f in found for s in f["segments"]] == [0, 70, 140, 210]
        assert (found[-1]["height"], found[-1]["segments"], data.problems) == (3, [], [])


def test_what_the_files_look_like(tmp_path: Path) -> None:
    found = [
        segment("cat", rle.encode(masks()["hole"]), score=0.75),
        segment('dog "<', None, box=[4, 3, 12, 12], score=0.25),
    ]
    written(tmp_path, scene("a b.jpg", SIZE, found), scene("c.jpg", SIZE, []), prefix="s3://bucket/", model_version="m")
    lines = (tmp_path / "tasks.json").read_text().splitlines()
    assert len(lines) == 4
    first, second = json.loads("\n".join(lines))
    assert json.loads(lines[1].rstrip(",")) == first
    assert (first["data"], second["data"]) == ({"image": "s3://bucket/a b.jpg"}, {"image": "s3://bucket/c.jpg"})
    (prediction,) = first["predictions"]
    assert (prediction["model_version"], prediction["score"]) == ("m", 0.5)
    assert second["predictions"] == [{"model_version": "m", "result": []}]
    mask, box = prediction["result"]
    shown = {"to_name": "image", "original_width": 16, "original_height": 12, "image_rotation": 0}
    packed = mask["value"].pop("rle")
    assert mask == shown | {
        "id": "s0", "type": "brushlabels", "from_name": "brush", "score": 0.75,
        "value": {"format": "rle", "brushlabels": ["cat"]},
    }  # fmt: skip
    assert independently_unpacked(bytes(packed)) == (np.repeat(masks()["hole"].ravel(), 4) * 255).tolist()
    assert box == shown | {
        "id": "s1", "type": "rectanglelabels", "from_name": "box", "score": 0.25,
        "value": {"x": 25.0, "y": 25.0, "width": 50.0, "height": 75.0, "rotation": 0, "rectanglelabels": ['dog "<']},
    }  # fmt: skip
    view = ElementTree.parse(tmp_path / "config.xml").getroot()
    assert (view.tag, view[0].tag, view[0].attrib) == ("View", "Image", {"name": "image", "value": "$image"})
    controls = [(c.tag, c.get("name"), c.get("toName")) for c in view[1:]]
    assert controls == [("BrushLabels", "brush", "image"), ("RectangleLabels", "box", "image")]
    assert all([label.get("value") for label in c] == ["cat", 'dog "<'] for c in view[1:])


def test_polygons(tmp_path: Path) -> None:
    segments = [segment(name, rle.encode(mask), score=0.5) for name, mask in masks().items() if name != "noise"]
    segments.append(segment("box", None, box=[0, 0, 4, 3]))
    writer = written(tmp_path, scene("a.png", SIZE, segments), polygons=True)
    assert writer.losses == {"masks of several parts, which become objects": 1, "empty masks": 1}
    (task,) = json.loads((tmp_path / "tasks.json").read_text())
    results = task["predictions"][0]["result"]
    assert [r["id"] for r in results] == ["s0", "s1", "s1-1", "s2", "s3", "s5", "s6"]
    assert [r["type"] for r in results] == ["polygonlabels"] * 6 + ["rectanglelabels"]
    assert results[0]["value"]["closed"] is True
    controls = {e.tag: e.get("name") for e in ElementTree.parse(tmp_path / "config.xml").getroot()}
    assert controls["PolygonLabels"] == "polygon"
    data = label_studio.read(tmp_path)
    (found,) = data
    assert data.problems == []
    areas = {name: [mask_of(s) for s in found["segments"] if s["label"] == name] for name in masks()}
    for name in ("hole", "pixel", "line", "full"):
        np.testing.assert_array_equal(areas[name], masks()[name][None])
    assert len(areas["parts"]) == 2
    np.testing.assert_array_equal(areas["parts"][0] | areas["parts"][1], masks()["parts"])


def test_losses_are_counted(tmp_path: Path) -> None:
    mask = rle.encode(masks()["line"])
    found = [
        segment("a\0b", mask, box=[0, 0, 16, 12], score=float("nan"), track=3),
        {**segment("c", None, box=[0, 0, 1, 1]), "box": [0, float("nan"), 1, 1]},
    ]
    writer = written(tmp_path, scene("a.png", SIZE, found))
    assert writer.losses == {
        "boxes other than the bounds of their masks": 1,
        "scores that are no numbers": 1,
        "track of a segment": 1,
        "boxes whose numbers are none": 1,
        "characters of names that XML cannot hold": 2,  # the result and the list of labels
    }
    data = label_studio.read(tmp_path)
    assert [s["label"] for f in data for s in f["segments"]] == ["a\ufffdb"]
    assert data.labels == ["a\ufffdb", "c"]


def test_a_file_that_ends_early(tmp_path: Path) -> None:
    written(tmp_path, *(scene(f"{i}.png", SIZE, [segment("a", rle.encode(masks()["noise"]))]) for i in range(300)))
    path = tmp_path / "tasks.json"
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    data = label_studio.read(path)
    found = list(data)
    assert 100 < len(found) < 201
    assert len(data.problems) == 1
    assert "broken" in data.problems[0]


def test_missing_files_are_refused_and_empty_ones_are_not(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"tasks\.json") as error:
        label_studio.read(tmp_path)
    assert error.value.code == "format_unreadable"
    writer = written(tmp_path / "none")
    writer.close()
    assert list(label_studio.read(tmp_path / "none")) == []


def test_memory_does_not_grow_with_images(tmp_path: Path) -> None:
    mask = np.random.default_rng(0).random((30, 40)) < 0.5
    written(tmp_path, *(scene(f"{i}.png", (30, 40), [segment("a", rle.encode(mask))]) for i in range(80)))
    tracemalloc.start()
    try:
        held = [tracemalloc.get_traced_memory()[0] for _ in label_studio.read(tmp_path)]
    finally:
        tracemalloc.stop()
    assert max(held[45:]) - max(held[10:45]) < 50_000
