"""CVAT's tracks: masks of several frames as polygons, ends of tracks, what a video cannot hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from gsam.results.formats import cvat, cvat_video, known
from gsam.results.formats.dataset import mask_of, scene, segment
from gsam.results.masks import rle
from tests.results.formats.scenes import KOREAN, ODD, SIZE, hard, masks


def written(folder: Path, *scenes: Any, labels: tuple[str, ...] = ()) -> cvat_video.Writer:
    folder.mkdir(exist_ok=True)
    with cvat_video.Writer(folder, labels) as writer:
        for one in scenes:
            writer.add(one)
    return writer


def tracked(label: str, kind: str, track: int | None, score: float = 0.5) -> dict[str, Any]:
    return segment(label, rle.encode(masks()[kind]), score=score, track=track)


def frame(number: int, *found: Any) -> dict[str, Any]:
    return scene(f"frame_{number:06d}", SIZE, found)


def test_tracks_come_back(tmp_path: Path) -> None:
    kinds = ["hole", "parts", "pixel", "line", "full", "corners"]
    noise = segment("n", rle.encode(np.random.default_rng(0).random(SIZE) < 0.5), score=1.0, track=9)
    scenes = [
        frame(i, tracked(KOREAN, kind, 2, 0.1 + i / 7), tracked(ODD, kind, 5), noise) for i, kind in enumerate(kinds)
    ]
    box = segment("box", None, box=[3.0, 4.25, 10.0, 12.123456], score=None, track=7)
    scenes[3]["segments"].append(box | {"label_id": 3})
    writer = written(tmp_path, *scenes)
    assert not writer.losses
    assert known.recognised(tmp_path) == "cvat"
    data = known.read(tmp_path, "cvat_video")
    found = list(data)
    assert not data.problems
    assert [s["image"] for s in found] == [s["image"] for s in scenes]
    for one, wanted in zip(found, scenes, strict=True):
        assert sorted(({**s, "label_id": 0} for s in one["segments"]), key=str) == sorted(
            ({**s, "label_id": 0} for s in wanted["segments"]), key=str
        )
    assert data.labels == [KOREAN, ODD, "n", "box"]


def test_what_the_file_looks_like(tmp_path: Path) -> None:
    line = tracked("cat", "line", 4)
    box = segment("dog", None, box=[1, 2, 3.5, 4], track=6)
    scenes = [frame(0, line, box), frame(1, line), frame(2), frame(3, line), frame(4, tracked("cat", "hole", 8))]
    writer = written(tmp_path, *scenes, labels=("bird",))
    assert writer.losses == {"images without a shape, which are not read": 1}
    root = ElementTree.parse(tmp_path / "annotations.xml").getroot()
    assert [child.tag for child in root] == ["version", "meta", "track", "track", "track"]
    task = root.find("meta/task")
    assert task is not None
    assert [task.findtext(p) for p in ("size", "mode", "original_size/width", "original_size/height")] == [
        "5", "interpolation", "32", "24",
    ]  # fmt: skip
    assert [e.text for e in root.iterfind("meta/task/labels/label/name")] == ["bird", "cat", "dog"]
    told = {
        (t.get("id"), t.get("label")): [(e.tag, e.get("frame"), e.get("outside"), e.get("keyframe")) for e in t]
        for t in root.iterfind("track")
    }
    assert told == {
        ("4", "cat"): [
            ("polygon", "0", "0", "1"), ("polygon", "1", "0", "1"), ("polygon", "2", "1", "1"),
            ("polygon", "3", "0", "1"), ("polygon", "4", "1", "1"),
        ],
        ("6", "dog"): [("box", "0", "0", "1"), ("box", "1", "1", "1")],
        ("8", "cat"): [("mask", "4", "0", "1")],
    }  # fmt: skip


def test_segments_without_a_track(tmp_path: Path) -> None:
    labels = tuple(f"class {i}" for i in range(300))
    scenes = [hard("a.png"), hard("a.jpg"), hard("sub/a.png")]
    writer = written(tmp_path, *scenes, labels=labels)
    assert writer.losses == {
        "segments without a track are tracks of one frame": 24,
        "names of images: frames have numbers": 3,
    }
    data = cvat.read(tmp_path)
    assert data.labels[:300] == list(labels)
    found = list(data)
    assert [s["image"] for s in found] == ["frame_000000", "frame_000001", "frame_000002"]
    assert [s["track"] for one in found for s in one["segments"]] == list(range(24))
    for one, wanted in zip(found, scenes, strict=True):
        for s, w in zip(one["segments"], wanted["segments"], strict=True):
            assert [s[key] for key in ("label", "mask", "box", "score")] == [
                w[k] for k in ("label", "mask", "box", "score")
            ]


def test_losses_are_counted(tmp_path: Path) -> None:
    twice = [tracked("cat", "line", 1), tracked("cat", "hole", 1)]
    other = [tracked("dog", "line", 1), {**segment("x", None, box=[0, 0, 1, 1]), "box": [0, float("nan"), 1, 1]}]
    scenes = [
        frame(3, *twice),
        frame(3, *other, tracked("cat", "empty", 1)),
        scene("frame_000009.png", (50, 20), []),
        frame(12, tracked("a", "line", -1), tracked("\0", "line", 3)),
    ]
    writer = written(tmp_path, *scenes)
    assert writer.losses == {
        "segments of a track that is in the frame already are tracks of one frame": 1,
        "tracks with several labels, or with boxes and masks, are parted": 1,
        "boxes whose numbers are none": 1,
        "empty masks of tracks": 1,
        "names of images: frames have numbers": 2,
        "images without a shape, which are not read": 1,
        "sizes of images: a video has one, the largest": 2,
        "tracks whose numbers are none": 1,
        "characters of names that XML cannot hold": 2,
    }
    data = cvat.read(tmp_path)
    found = {s["image"]: s for s in data}
    assert not data.problems
    assert list(found) == ["frame_000003", "frame_000004", "frame_000012"]
    assert (found["frame_000012"]["height"], found["frame_000012"]["width"]) == (50, 32)
    assert (mask_of(found["frame_000012"]["segments"][0])[:24] == masks()["line"]).all()
    numbers = [s["track"] for one in found.values() for s in one["segments"]]
    assert sorted(numbers) == [1, 3, 4, 5, 6]


def test_nothing_appears_before_the_end(tmp_path: Path) -> None:
    writer = cvat_video.Writer(tmp_path)
    writer.add(frame(0, tracked("cat", "line", 1)))
    assert not list(tmp_path.iterdir())
    writer.close()
    writer.close()
    assert [p.name for p in tmp_path.iterdir()] == ["annotations.xml"]
    written(tmp_path / "none")
    assert list(cvat.read(tmp_path / "none")) == []


@pytest.mark.parametrize("kind", list(masks()))
def test_each_mask_in_two_frames(kind: str, tmp_path: Path) -> None:
    written(tmp_path, *(frame(i, tracked("x", kind, 1)) for i in range(2)))
    found = [mask_of(s) for one in cvat.read(tmp_path) for s in one["segments"]]
    assert len(found) == (0 if kind == "empty" else 2)
    assert all((mask == masks()[kind]).all() for mask in found)
