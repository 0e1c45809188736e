"""SA-1B's files: masks, scores and labels come back; files of the data set itself are read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from gsam.errors import UsageError
from gsam.results.formats import known, sa1b_files
from gsam.results.formats.dataset import mask_of, scene, segment
from gsam.results.masks import rle
from tests.results.formats.scenes import KOREAN, ODD, hard, read_back


def test_what_is_written_is_read(tmp_path: Path) -> None:
    names = ["a.png", "a.jpg", "sub/a.png"]
    with sa1b_files.Writer(tmp_path) as writer:
        for name in names:
            writer.add(hard(name))
    assert known.recognised(tmp_path) == "sa1b"
    assert writer.losses["boxes without a mask, which are filled"] == 3
    data = known.read(tmp_path)
    found, wanted = read_back(list(data)), read_back([hard(name) for name in names])
    assert found.keys() == wanted.keys()
    for name in names:
        assert found[name][:-1] == wanted[name][:-1]
        box = found[name][-1]
        assert (box[0], box[2], box[3]) == ("box", (3, 4, 10, 12), 0.25)
    assert {KOREAN, ODD} <= {segment[0] for segment in found["a.png"]}
    assert not data.problems


def test_the_data_set_s_own_files_and_what_is_wrong(tmp_path: Path) -> None:
    mask = np.zeros((6, 9), bool)
    mask[1:4, 2:7] = True
    good = {"id": 5, "segmentation": rle.encode(mask), "predicted_iou": 0.93, "bbox": [2, 1, 5, 3], "area": 15}
    wrong = [
        good | {"segmentation": {"size": [5, 9], "counts": [45]}},
        good | {"segmentation": {"size": [6, 9], "counts": "zz"}},
        {"id": 1},
        7,
    ]
    image = {"image_id": 1, "width": 9, "height": 6, "file_name": "sa_1.jpg"}
    (tmp_path / "sa_1.json").write_text(json.dumps({"image": image, "annotations": [*wrong, good]}))
    (tmp_path / "sa_2.json").write_text(json.dumps({"image": {}, "annotations": []}))
    (tmp_path / "sa_3.json").write_text("{")
    data = sa1b_files.read(tmp_path)
    (found,) = list(data)
    (one,) = found["segments"]
    assert (mask_of(one) == mask).all()
    assert (found["image"], one["label"], one["score"], one["box"]) == ("sa_1.jpg", "object", 0.93, [2, 1, 7, 4])
    assert len(data.problems) == 6
    (tmp_path / "nothing").mkdir()
    with pytest.raises(UsageError, match="no JSON of images"):
        sa1b_files.read(tmp_path / "nothing")


def test_others_find_numbers_and_no_score_stays_none(tmp_path: Path) -> None:
    mask = rle.encode(np.eye(4, dtype=bool))
    segments = [segment("a", mask), segment("b", mask, score=0.5), segment("c", mask, score=float("nan"))]
    with sa1b_files.Writer(tmp_path) as writer:
        writer.add(scene("a.png", (4, 4), segments))
    assert writer.losses == {"segments without a score: predicted_iou is 0.0, label_score null": 2}
    found = json.loads((tmp_path / "a.json").read_bytes())["annotations"]
    assert [(a["predicted_iou"], a["stability_score"]) for a in found] == [(0.0, 0.0), (0.5, 0.0), (0.0, 0.0)]
    (one,) = known.read(tmp_path)
    assert [s["score"] for s in one["segments"]] == [None, 0.5, None]
