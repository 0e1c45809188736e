"""Rows 56: data sets for training, of which `gsam data check` lists all faults."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gsam.dataset.convert import Converted, convert
from gsam.training.data import DataSet, Report, check, read_checked
from tests.bad.table import Row, Run, error
from tests.training.data.sets import good, picture, write


def checked(*annotations: dict[str, Any], **change: Any) -> Callable[[Path], Run]:
    """Check a set of three images with an object each, and these annotations of the third."""

    def make(folder: Path) -> Run:
        some = [good(i, i) for i in (1, 2, 3)]
        path = write(folder, 3, [*some, *(good(9 + i, 3, **one) for i, one in enumerate(annotations))], **change)
        return lambda: check(path)

    return make


def trained(count: int = 3, skip_faults: bool = False, **change: Any) -> Callable[[Path], Run]:
    """Read a set for training."""
    return lambda folder: lambda: read_checked(write(folder, count, **change), skip_faults=skip_faults)


def larger(folder: Path) -> Run:
    write(folder, 1).unlink()
    (folder / "masks").mkdir()
    Image.fromarray(np.ones((99, 99), np.uint8)).save(folder / "masks" / "1.png")
    return lambda: read_checked(folder)


def counts(**expected: int) -> Callable[[Report], None]:
    def check(found: Report) -> None:
        assert found.counts == expected

    return check


FAR = [[0, 0, 9, 1e9, 9, 9]]


def converted(folder: Path) -> Run:
    path = write(folder, 1, [good(1, 1), good(2, 1, segmentation=FAR)])
    return lambda: convert(path, folder / "out", "jsonl")


def yolo(folder: Path) -> Run:
    picture(folder / "images" / "1.png", 1)
    (folder / "labels").mkdir()
    (folder / "labels" / "1.txt").write_text("0 0 0 0.5 1e9 0.5 0.5\n0 0.5 0.5 0.2 0.2\n")
    (folder / "data.yaml").write_text("names: [cat]\n")
    return lambda: convert(folder, folder / "out", "jsonl")


def far(found: Converted) -> None:
    assert (found.segments, len(found.problems)) == (1, 1)
    assert "far outside" in found.problems[0]


def korean(found: DataSet) -> None:
    assert found.names == ("노란 버스",)


def one_left_out(found: DataSet) -> None:
    assert [len(entry.objects) for entry in found.images] == [1, 1, 0]


GONE = [{"id": i, "file_name": f"{i}.png", "width": 40, "height": 30} for i in (1, 2, 3, 4)]
TWO_POINTS = [good(1, 1), good(2, 2), good(3, 3, segmentation=[[0, 0, 9, 9]])]
CROWD = {"iscrowd": 1, "segmentation": {"size": [30, 40], "counts": [5, 100, 1095]}}
ZERO = [{"id": 1, "name": "cat"}, {"id": 0, "name": "dog"}]
ROWS: list[Row] = [
    Row("56m", "data check: polygons of two points, of NaN and far outside, a mask of another size: each is listed",
        checked({"segmentation": [[0, 0, 9, 9]]}, {"segmentation": [[0, 0, 9, float("nan"), 9, 9]]},
                {"segmentation": [[0, 0, 9, 1e9, 9, 9]]}, {"segmentation": {"size": [9, 9], "counts": [81]}}),
        check=counts(number_invalid=2, polygon_points=1, mask_size=1), exit=3, http=None),
    Row("56n", "data check: an image that is not there: the same", checked(images=GONE),
        check=counts(image_missing=1), exit=3, http=None),
    Row("56o", "data check: an object outside the image, and one that is cut at its edge: the same",
        checked({"segmentation": [[60, 1, 70, 1, 70, 9]]}, {"segmentation": [[20, 1, 70, 1, 70, 9, 20, 9]],
                                                            "bbox": [20, 1, 20, 8]}),
        check=counts(mask_empty=1, polygon_outside=1), exit=3, http=None),
    Row("56p", "data check: category 0, a crowd: notes", checked(CROWD, categories=ZERO),
        check=counts(category_unused=1, category_zero=1, crowd=1),
        http=None),
    error("56q", "training with an object that would be left out", trained(annotations=TWO_POINTS),
          "UsageError data_faults", "1 polygon_points", 2, None),
    Row("56r", "the same, with faults skipped as asked", trained(annotations=TWO_POINTS, skip_faults=True),
        check=one_left_out, http=None),
    error("56s", "training with no masks", trained(annotations=[good(1, 1, segmentation=None)]),
          "UsageError data_unusable", "none of its objects has a mask", 2, None),
    error("56t", "training with masks larger than their images", larger, "UsageError data_unusable",
          r"no object that can be used.*the mask is 99 x 99", 2, None),
    error("56u", "training with a data set that is not there", lambda folder: lambda: read_checked(folder / "a.json"),
          "UsageError data_missing", "is not there", 2, None),
    Row("56v", "training with category names in Korean", trained(categories=[{"id": 1, "name": "노란 버스"}]),
        check=korean, http=None),
    Row("56x", "gsam convert: COCO with a polygon far outside, which crashes pycocotools: left out and told", converted,
        check=far, exit=3, http=None),
    Row("56y", "gsam convert: YOLO with the same", yolo, check=far, exit=3, http=None),
    error("56w", "a share of held-out images that is none",
          lambda folder: lambda: read_checked(write(folder)).split(1.5),
          "UsageError held_out_invalid", "from 0 to below 1", 2, None),
]  # fmt: skip
