"""`gsam.training.data.read`: entries of every format, their masks, and what is held out."""

from __future__ import annotations

import io
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gsam.errors import ImageError, UsageError
from gsam.results.formats import known
from gsam.training.data import DataSet, check, json_items, read, read_checked
from tests.training.data.sets import SIZE, good, picture, write

KOREAN = "노란 버스"


def square(size: tuple[int, int] = SIZE) -> np.ndarray:
    mask = np.zeros(size, bool)
    mask[5:25, 5:15] = True
    return mask


def many(folder: Path, count: int) -> DataSet:
    return read(write(folder, count))


def test_entries_have_what_the_file_says(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        2,
        [
            good(1, 1, 5),
            good(2, 1, 2, segmentation={"size": list(SIZE), "counts": [0, 30, 1170]}),
            good(3, 1, 2, iscrowd=1),
        ],
        categories=[{"id": 5, "name": KOREAN}, {"id": 2, "name": "cat"}],
    )
    data = read(path)
    assert data.names == ("cat", KOREAN)
    first, second = data.images
    assert (first.id, first.path, first.width, first.height) == ("1.png", tmp_path / "images" / "1.png", 40, 30)
    assert [(one.label, one.crowd, one.box) for one in first.objects] == [
        (1, False, (5, 5, 15, 25)),
        (0, False, (0, 0, 1, 30)),
        (0, True, (5, 5, 15, 25)),
    ]
    assert (first.masks()[0] == square()).all()
    assert first.masks([1, 0]).sum((1, 2)).tolist() == [30, 200]
    assert first.masks([]).shape == (0, *SIZE)
    assert first.open().shape == (*SIZE, 3)
    assert (first.labels.tolist(), first.boxes.shape) == ([1, 0, 0], (3, 4))
    assert (second.objects, second.boxes.shape) == ((), (0, 4))
    assert data.counts.tolist() == [2, 0]
    assert data.class_counts() == {"cat": 1, KOREAN: 1}
    assert [entry.id for entry in data.labelled().images] == ["1.png"]


@pytest.mark.parametrize("name", [n for n in known.FORMATS if n not in ("coco_results", "parquet", "cvat_video")])
def test_every_format_is_read(tmp_path: Path, name: str) -> None:
    write(tmp_path)
    scenes = list(known.read(tmp_path / "train.json"))
    folder = tmp_path / "images" if name == "sa1b" else tmp_path / name
    folder.mkdir(exist_ok=True)
    with known.writer_of(name)(folder, [KOREAN, "cat"]) as writer:
        for scene in scenes:
            writer.add({**scene, "queries": [KOREAN, "cat"]})
    data = read(folder, tmp_path / "images")
    assert [entry.id for entry in data.images] == ["1.png", "2.png", "3.png"]
    assert "cat" in data.names or name == "sa1b"
    assert all((entry.masks() == square()).all() for entry in data.images)
    assert check(folder, tmp_path / "images").faults == []


def test_what_label_wrote(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "run" / "parts").mkdir(parents=True)
    (tmp_path / "run" / "plan.json").write_text(json.dumps({"settings": {"queries": {"labels": ["cat", "dog"]}}}))
    rows = [{**s, "id": s.pop("image"), "error": None} for s in known.read(tmp_path / "train.json")]
    rows.append({"id": "4.png", "error": {"code": "image_missing", "message": "no such file"}})
    (tmp_path / "run" / "parts" / "0.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = read(tmp_path / "run", tmp_path / "images")
    assert (len(data), data.names) == (3, ("cat", "dog"))
    report = check(tmp_path / "run", tmp_path / "images")
    assert [f.text for f in report.faults] == ["4.png: no such file"]


def test_lvis_names_images_by_their_addresses(tmp_path: Path) -> None:
    picture(tmp_path / "val2017" / "1.png", 1)
    image = {"id": 1, "coco_url": "http://images.cocodataset.org/val2017/1.png", "width": 40, "height": 30}
    path = write(tmp_path, 0, [good(1, 1)], images=[image])
    assert read(path, tmp_path).images[0].path == tmp_path / "val2017" / "1.png"


def test_numbers_that_are_none_and_names_that_look_like_them(tmp_path: Path) -> None:
    name = 'a, NaN, "Infinity" [NaN]\\'
    path = write(tmp_path, 1, [good(1, 1), good(2, 1, area=float("nan"))], categories=[{"id": 1, "name": name}])
    assert 'NaN, \\"Inf' in path.read_text()
    data = read(path)
    assert data.names == (name,)
    assert data.class_counts() == {name: 2}


@pytest.mark.parametrize("size", [1, 2, 7, 64])
def test_parts_of_a_file_may_end_anywhere(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_items, "CHUNK", size)
    text = '{"a": [NaN, -Infinity, {"NaN": "\\"NaN, \\\\"}, true, Infinity, -1.5]}'
    plain: Any = json_items._Plain(io.BytesIO(text.encode()))
    parts = b"".join(iter(lambda: plain.read(10), b""))
    assert json.loads(parts) == {"a": [None, None, {"NaN": '"NaN, \\'}, True, None, -1.5]}


def test_what_is_held_out(tmp_path: Path) -> None:
    data = many(tmp_path, 20)
    train, held = data.split(0.3, seed=1)
    names = [{entry.id for entry in side.images} for side in (train, held)]
    assert not names[0] & names[1]
    assert len(names[0] | names[1]) == 20
    assert 2 <= len(held) <= 12
    fewer = data.where(np.arange(20) % 2 == 0)
    assert {entry.id for entry in fewer.split(0.3, seed=1)[1].images} <= names[1]
    assert {entry.id for entry in data.split(0.3, seed=2)[1].images} != names[1]
    for fraction in (1e-9, 0.999999):
        assert min(map(len, data.split(fraction))) == 1
    assert list(map(len, data.split(0))) == [20, 0]
    one = data.where(np.arange(20) == 0)
    assert sum(map(len, one.split(0.5))) == 1
    with pytest.raises(UsageError) as caught:
        data.split(1.0)
    assert caught.value.code == "held_out_invalid"


def test_each_side_has_objects(tmp_path: Path) -> None:
    data = read(write(tmp_path, 12, [good(1, 3), good(2, 7)]))
    for seed in range(5):
        for fraction in (0.1, 0.5, 0.95):
            sides = data.split(fraction, seed)
            assert [len(side.labelled()) for side in sides] == [1, 1]


def test_the_fingerprint_is_of_content(tmp_path: Path) -> None:
    first, moved = tmp_path / "a", tmp_path / "b"
    path = write(first)
    shutil.copytree(first, moved)
    print_of = {"first": read(path).fingerprint, "moved": read(moved / "train.json").fingerprint}
    print_of["checked"] = read_checked(path).fingerprint
    assert len(set(print_of.values())) == 1
    assert len(print_of["first"]) == 64
    picture(moved / "images" / "2.png", 77)
    other = read(moved / "train.json").fingerprint
    annotations = read(write(first, annotations=[good(1, 1), good(2, 2), good(3, 2)])).fingerprint
    names = read(write(first, categories=[{"id": 1, "name": "dog"}])).fingerprint
    part = read(write(first)).split(0.4)[0].fingerprint
    assert len({print_of["first"], other, annotations, names, part}) == 5


def test_images_that_change_later(tmp_path: Path) -> None:
    data = many(tmp_path, 2)
    picture(tmp_path / "images" / "1.png", 1, (9, 9))
    with pytest.raises(ImageError, match="is 9 x 9") as caught:
        data.images[0].open()
    assert caught.value.code == "image_size"
    (tmp_path / "images" / "1.png").unlink()
    with pytest.raises(ImageError) as caught:
        _ = data.fingerprint
    assert caught.value.code == "image_missing"


def test_entries_are_a_sequence_that_threads_read(tmp_path: Path) -> None:
    data = many(tmp_path, 8)
    assert [e.id for e in data.images[2:4]] == ["3.png", "4.png"]
    assert data.images[-1].id == "8.png"
    with pytest.raises(IndexError):
        data.images[8]
    with ThreadPoolExecutor(4) as pool:
        read_back = list(pool.map(lambda i: data.images[i % 8].id, range(64)))
    assert read_back == [f"{i % 8 + 1}.png" for i in range(64)]
