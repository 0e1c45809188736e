"""Files of everything in a picture, there and back: SA-1B's JSON, the folder of masks, the
picture.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gsam.results.draw import instance_overlay
from gsam.results.formats import mask_folder, sa1b
from gsam.results.masks import rle


def mask(x: int, y: int, side: int) -> np.ndarray:
    found = np.zeros((30, 40), bool)
    found[y : y + side, x : x + side] = True
    return found


def record(found: np.ndarray, **more: Any) -> dict[str, Any]:
    x0, y0, x1, y1 = rle.bounds(rle.encode(found))
    return {
        "segmentation": rle.encode(found), "area": int(found.sum()), "bbox": [x0, y0, x1 - x0 - 1, y1 - y0 - 1],
        "predicted_iou": 0.93, "point_coords": [[x0 + 0.5, y0 + 0.25]], "stability_score": 0.97,
        "crop_box": [0, 0, 40, 30], **more,
    }  # fmt: skip


RECORDS = [record(mask(3, 4, 9)), record(mask(20, 10, 5))]


def test_sa1b_there_and_back(tmp_path: Path) -> None:
    scene = sa1b.sa1b_dict(RECORDS, "b/가.jpg", (30, 40), 7, gsam={"model": "m"})
    sa1b.write(scene, tmp_path / "a.json")
    found = sa1b.read(tmp_path / "a.json")
    assert found == scene == json.loads(sa1b.dumps(scene))
    assert found["image"] == {"image_id": 7, "width": 40, "height": 30, "file_name": "b/가.jpg"}
    keys = ["id", "segmentation", "bbox", "area", "predicted_iou", "stability_score", "point_coords", "crop_box"]
    assert [list(a) for a in found["annotations"]] == [keys, keys]
    assert [a["id"] for a in found["annotations"]] == [0, 1]
    np.testing.assert_array_equal(rle.decode(found["annotations"][1]["segmentation"]), mask(20, 10, 5))
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_sa1b_of_nothing_and_of_no_number(tmp_path: Path) -> None:
    sa1b.write(sa1b.sa1b_dict([], "a", (3, 4)), tmp_path / "a.json")
    assert sa1b.read(tmp_path / "a.json")["annotations"] == []
    odd = sa1b.sa1b_dict([record(mask(0, 0, 1), stability_score=float("nan"), label="dog")], "a", (30, 40))
    assert odd["annotations"][0]["stability_score"] is None
    assert odd["annotations"][0]["label"] == "dog"
    (tmp_path / "b.json").write_text("[]")
    with pytest.raises(ValueError, match="SA-1B"):
        sa1b.read(tmp_path / "b.json")


def test_a_folder_of_masks(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    mask_folder.write([*RECORDS, RECORDS[0]], folder)
    (folder / "mine.png").write_bytes(b"")
    mask_folder.write(RECORDS, folder)
    assert sorted(p.name for p in folder.iterdir()) == ["0.png", "1.png", "2.png", "metadata.csv", "mine.png"]
    with Image.open(folder / "1.png") as file:
        np.testing.assert_array_equal(np.asarray(file), mask(20, 10, 5) * 255)
    rows = list(csv.reader((folder / "metadata.csv").open()))
    assert ",".join(rows[0]) == (
        "id,area,bbox_x0,bbox_y0,bbox_w,bbox_h,point_input_x,point_input_y,predicted_iou,stability_score,"
        "crop_box_x0,crop_box_y0,crop_box_w,crop_box_h"
    )
    assert rows[2] == ["1", "25", "20", "10", "4", "4", "20.5", "10.25", "0.93", "0.97", "0", "0", "40", "30"]
    mask_folder.write([record(mask(0, 0, 2), label="=cmd()")], folder)
    assert list(csv.reader((folder / "metadata.csv").open()))[1][-1] == "'=cmd()"


def test_the_picture_shows_every_mask_alike_each_time() -> None:
    pixels = np.full((30, 40, 3), 90, np.uint8)
    drawn = np.asarray(instance_overlay.draw(pixels, RECORDS))
    changed = (drawn != pixels).any(-1)
    assert changed[mask(3, 4, 9) | mask(20, 10, 5)].all()
    assert not changed[:2].any()
    assert tuple(drawn[8, 7]) != tuple(drawn[12, 22])
    np.testing.assert_array_equal(drawn, np.asarray(instance_overlay.draw(pixels, RECORDS)))


def test_numbers_become_text() -> None:
    found = np.random.default_rng(0).random((7, 5)) > 0.5
    flat = found.T.reshape(-1)
    turns = np.flatnonzero(np.diff(np.concatenate([[False], flat, [not flat[-1]]])))
    counts = np.diff(np.concatenate([[0], turns])).tolist()
    assert rle.compress({"size": [7, 5], "counts": counts}) == rle.encode(found)
