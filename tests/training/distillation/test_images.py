from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from gsam.errors import UsageError
from gsam.training.distillation.images import TeacherEmbeddings, fingerprint, listed, split
from tests.training.distillation import tiny

pytest.importorskip("optax")


def test_a_folder_is_listed_with_those_in_it_each_content_once(tmp_path: Path) -> None:
    tiny.images(tmp_path / "photos", 3)
    tiny.images(tmp_path / "photos" / "more", 4)
    found = listed(tmp_path / "photos")
    assert [image.name for image in found] == ["0.png", "1.png", "2.png", "more/3.png"]


@pytest.mark.parametrize(("count", "code"), [(0, "distil_no_images"), (1, "distil_one_image")])
def test_too_few_images_are_refused(tmp_path: Path, count: int, code: str) -> None:
    with pytest.raises(UsageError) as caught:
        listed(tiny.images(tmp_path / "photos", count))
    assert caught.value.code == code


def test_the_split_goes_by_content_and_leaves_neither_side_empty(tmp_path: Path) -> None:
    every = listed(tiny.images(tmp_path / "photos", 7))
    for share, count in ((0.01, 1), (0.3, 2), (0.99, 6)):
        learnt, held = split(every, share, 0)
        assert len(held) == count
        assert sorted([*learnt, *held], key=every.index) == every
    shutil.move(tmp_path / "photos", tmp_path / "moved")
    again = split(listed(tmp_path / "moved"), 0.3, 0)[1]
    assert [i.sha256 for i in again] == [i.sha256 for i in split(every, 0.3, 0)[1]]
    assert any(split(every, 0.3, seed)[1] != split(every, 0.3, 0)[1] for seed in range(1, 5))


def test_the_fingerprint_changes_with_a_content(tmp_path: Path) -> None:
    folder = tiny.images(tmp_path / "photos", 3)
    before = fingerprint(listed(folder))
    assert before == fingerprint(listed(folder))
    (folder / "1.png").write_bytes((folder / "1.png").read_bytes() + b"\0")
    assert before != fingerprint(listed(folder))


def test_embeddings_are_computed_once_and_a_broken_image_is_left_out(tmp_path: Path) -> None:
    folder = tiny.images(tmp_path / "photos", 2)
    (folder / "x.png").write_bytes(b"no image")
    every, told, done = listed(folder), [], []
    store = TeacherEmbeddings(tiny.stage("sam"), "0" * 64, tmp_path / "features", "float32")
    readable = list(store.compute(every, told.append, lambda: done.append(1)))
    assert readable == every[:2]
    assert len(told) == 1
    assert "x.png" in told[0]
    assert len(done) == 3
    written = sorted(file.stat().st_mtime_ns for file in tmp_path.glob("features/*/*"))
    assert list(store.compute(every, told.append, lambda: None)) == readable
    assert written == sorted(file.stat().st_mtime_ns for file in tmp_path.glob("features/*/*"))
    assert len(written) == 2
    assert store.get(every[0]).shape == (8, 8, 16)
    assert str(store.get(every[0]).dtype) == "bfloat16"
    assert not np.array_equal(store.get(every[0]), store.get(every[1]))
    (tmp_path / "features").rename(tmp_path / "other")
    shutil.copytree(tmp_path / "other", tmp_path / "features")
    other = TeacherEmbeddings(tiny.stage("sam"), "1" * 64, tmp_path / "features", "float32")
    assert other.store.folder != store.store.folder  # of another model's weights
