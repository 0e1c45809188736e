"""Rows 56: data sets of others, of which `gsam convert` leaves out what is wrong and says so."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gsam.dataset.convert import Converted, convert, parse_split
from tests.bad.table import Row, Run, error

GOOD = {"id": 1, "image_id": 1, "category_id": 0, "bbox": [0, 0, 2, 2], "segmentation": [[0, 0, 2, 0, 2, 2, 0, 2]]}


def coco(*annotations: dict[str, Any], **change: Any) -> Callable[[Path], Run]:
    """Convert a set of one image, of class 0, and these annotations beside a good one."""

    def make(folder: Path) -> Run:
        content: dict[str, Any] = {
            "images": [{"id": 1, "file_name": "a.png", "width": 4, "height": 3}],
            "categories": [{"id": 0, "name": "cat"}],
            "annotations": [GOOD, *(GOOD | {"id": i} | a for i, a in enumerate(annotations, 2))],
        }
        (folder / "coco.json").write_text(json.dumps(content | change))
        return lambda: convert(folder / "coco.json", folder / "out", "jsonl")

    return make


def file(name: str, content: bytes, to: str = "coco") -> Callable[[Path], Run]:
    def make(folder: Path) -> Run:
        (folder / name).write_bytes(content)
        return lambda: convert(folder / name, folder / "out", to)

    return make


def existing(folder: Path) -> Run:
    (folder / "out").mkdir()
    return coco()(folder)


def left_out(count: int) -> Callable[[Converted], None]:
    def check(found: Converted) -> None:
        assert (found.segments, len(found.problems)) == (1, count)

    return check


def whole(found: Converted) -> None:
    assert (found.images, found.segments, found.problems) == (1, 2, [])


ROWS: list[Row] = [
    Row("56a", "COCO with category 0, and a crowd", coco({"iscrowd": 1}), check=whole, http=None),
    Row("56b", "a polygon of two points: left out and told", coco({"segmentation": [[0, 0, 1, 1]]}), check=left_out(1),
        exit=3, http=None),
    Row("56c", "run lengths of another size: the same", coco({"segmentation": {"size": [9, 9], "counts": [81]}}),
        check=left_out(1), exit=3, http=None),
    Row("56d", "run lengths that are none, which crash pycocotools: the same",
        coco({"segmentation": {"size": [3, 4], "counts": "~~~~~~"}}), check=left_out(1), exit=3, http=None),
    Row("56e", "an annotation of an image, or of a class, that is not listed: the same",
        coco({"image_id": 9}, {"category_id": 9}), check=left_out(2), exit=3, http=None),
    Row("56f", "an annotation whose area is 0", coco({"segmentation": {"size": [3, 4], "counts": [12]}}), check=whole,
        http=None),
    Row("56g", "an image id that is there twice: the first counts",
        coco(images=[{"id": 1, "file_name": n, "width": 4, "height": 3} for n in ("a", "b")]), check=left_out(1),
        exit=3, http=None),
    error("56h", "COCO that was cut short", file("coco.json", b'{"images": [], "categories": [{"id"'),
          "UsageError format_unreadable", "no COCO file", 2, None),
    error("56i", "a file of no known format", file("a.json", b'{"hello": 1}'), "UsageError format_unknown",
          "say what it is with --from", 2, None),
    error("56j", "a format that does not exist", file("coco.json", b"{}", "coca"), "UsageError format_unknown",
          "did you mean 'coco'", 2, None),
    error("56k", "convert where something is", existing, "UsageError output_exists", "exists already", 2, None),
    error("56l", "shares of a split that do not make 1", lambda _: lambda: parse_split("0.9/0.2"),
          "UsageError split_invalid", "shares that make 1", 2, None),
]  # fmt: skip
