"""Folders of PNG masks: ids, classes and objects by their names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from gsam.errors import UsageError
from gsam.training.data import check, read
from tests.training.data.sets import SIZE, picture


def save(path: Path, values: NDArray[np.generic]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


def ids(*values: int, size: tuple[int, int] = SIZE) -> NDArray[np.uint8]:
    """A map with a column of 4 pixels for each value."""
    out = np.zeros(size, np.uint8)
    for i, value in enumerate(values):
        out[:, 4 * i : 4 * i + 4] = value
    return out


def pictures(folder: Path, *names: str) -> Path:
    for i, name in enumerate(names):
        picture(folder / "images" / name, i)
    return folder


def found(folder: Path, images: Path | None = None) -> dict[str, list[tuple[str, float]]]:
    data = read(folder, images)
    assert check(folder, images).fatal == []
    return {e.id: [(data.names[one.label], one.box[0]) for one in e.objects] for e in data.images}


def test_maps_of_objects(tmp_path: Path) -> None:
    pictures(tmp_path, "a.jpg", "b.png", "sub/c.JPG")
    save(tmp_path / "masks" / "a.png", ids(1, 7))
    save(tmp_path / "masks" / "b.png", ids(0, 255, 0, 255))
    save(tmp_path / "masks" / "sub" / "c_mask.png", ids(1, 2, 255))
    expected = {
        "a.jpg": [("object", 0), ("object", 4)],
        "b.png": [("object", 4)],
        "sub/c.JPG": [("object", 0), ("object", 4)],  # 255 beside lower numbers is a border
    }
    assert found(tmp_path) == expected
    assert found(tmp_path / "masks", tmp_path / "images") == expected


def test_a_png_an_object(tmp_path: Path) -> None:
    pictures(tmp_path, "a.jpg")
    for i, name in enumerate(("cat_1.png", "cat_2.png", "0003.png", "3 yellow bus.png")):
        save(tmp_path / "masks" / "a" / name, ids(*[0] * i, 255))
    assert found(tmp_path) == {"a.jpg": [("object", 8), ("yellow bus", 12), ("cat", 0), ("cat", 4)]}


def test_a_folder_a_class(tmp_path: Path) -> None:
    pictures(tmp_path, "a.jpg", "sub/b.jpg")
    save(tmp_path / "masks" / "cat" / "a.png", ids(1, 0, 2))
    save(tmp_path / "masks" / "노란 버스" / "a.png", ids(0, 9))
    save(tmp_path / "masks" / "cat" / "sub" / "b.png", ids(255))
    assert found(tmp_path) == {"a.jpg": [("cat", 0), ("cat", 8), ("노란 버스", 4)], "sub/b.jpg": [("cat", 0)]}


def test_colours_are_ids(tmp_path: Path) -> None:
    pictures(tmp_path, "a.jpg")
    save(tmp_path / "masks" / "a.png", np.stack([ids(255, 10), ids(0, 0), ids(255, 20)], -1))
    assert found(tmp_path) == {"a.jpg": [("object", 4), ("object", 0)]}


def test_masks_beside_their_images(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        picture(tmp_path / name, 0)
        save(tmp_path / f"{name[0]}_mask.png", ids(1))
    assert found(tmp_path) == {"a.png": [("object", 0)], "b.png": [("object", 0)]}


def test_faults_of_masks(tmp_path: Path) -> None:
    pictures(tmp_path, "a.jpg", "b.jpg")
    save(tmp_path / "masks" / "a.png", ids(1))
    save(tmp_path / "masks" / "b" / "1.png", ids(1, size=(99, 99)))
    save(tmp_path / "masks" / "b" / "2.png", ids(0))
    save(tmp_path / "masks" / "nowhere.png", ids(1))
    (tmp_path / "masks" / "b" / "3.png").write_bytes(b"no image")
    save(tmp_path / "masks" / "b" / "4.png", np.zeros((*SIZE, 2), np.uint8))
    report = check(tmp_path)
    assert report.counts == {"image_missing": 1, "mask_invalid": 2, "mask_size": 1, "mask_empty": 1}
    assert "(larger)" in report.examples["mask_size"][0].text
    assert "nowhere" in report.examples["image_missing"][0].text


def test_a_folder_of_images_is_no_data_set(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "a.png", 0)
    with pytest.raises(UsageError) as caught:
        read(tmp_path)
    assert caught.value.code == "format_unknown"
