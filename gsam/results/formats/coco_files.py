"""COCO instances of any size: written and read image by image.  Masks are lossless run lengths.

`Writer` keeps scores; `LvisWriter` writes LVIS v1, `ResultsWriter` what is compared with a truth.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from gsam.errors import UsageError
from gsam.files import atomic_file
from gsam.results.formats.dataset import DataSet, DataSetWriter, rle_of, scene, segment
from gsam.results.formats.shapes import check_pixels, check_reach
from gsam.results.formats.streamed import StreamedList, write_object
from gsam.results.masks import rle
from gsam.types import Json, JsonMapping

FILE, LVIS = "coco.json", "lvis.json"


class Writer(DataSetWriter):
    """Writes ``coco.json``: ids from 1, boxes as x y width height, ``iscrowd`` 0 with run lengths.

    A segment without a mask has an empty ``segmentation``, as detection sets have it.
    """

    name = FILE

    def __init__(self, folder: Path, labels: Sequence[str] = ()) -> None:
        super().__init__(folder, labels)
        self._images, self._annotations = StreamedList(folder), StreamedList(folder)

    def add(self, scene: JsonMapping) -> None:
        number = self._images.count + 1
        self._images.add(self.image(number, scene))
        for label in scene.get("query_labels") or scene.get("queries", ()):
            if label:
                self.number_of(label)
        for found in scene["segments"]:
            self._annotations.add(self.annotation(self._annotations.count + 1, number, found))

    def image(self, number: int, scene: JsonMapping) -> Json:
        """The entry of an image."""
        name = scene["image"] or f"{number}.png"
        return {"id": number, "file_name": name, "width": scene["width"], "height": scene["height"]}

    def annotation(self, number: int, image: int, found: JsonMapping) -> Json:
        """The entry of a segment."""
        x0, y0, x1, y1 = found["box"]
        score = {} if found.get("score") is None else {"score": found["score"]}
        return {
            "id": number,
            "image_id": image,
            "category_id": self.number_of(found["label"]) + 1,
            "bbox": [x0, y0, round(x1 - x0, 2), round(y1 - y0, 2)],
            "area": found["area"],
            "segmentation": found["mask"] or [],
            "iscrowd": int(found.get("crowd", False)),
            **score,
        }

    def category(self, number: int, label: str) -> Json:
        """The entry of a class."""
        return {"id": number, "name": label, "supercategory": ""}

    def close(self) -> None:
        categories = [self.category(i + 1, label) for label, i in self.labels.items()]
        lists = {"images": self._images, "categories": categories, "annotations": self._annotations}
        write_object(self.folder / self.name, lists)


class LvisWriter(Writer):
    """Writes LVIS v1, ``lvis.json``: every image counts as searched for every class."""

    name = LVIS

    def __init__(self, folder: Path, labels: Sequence[str] = ()) -> None:
        super().__init__(folder, labels)
        self._seen: dict[str, list[int]] = {}

    def add(self, scene: JsonMapping) -> None:
        super().add(scene)
        for label in {s["label"] for s in scene["segments"]}:
            counts = self._seen.setdefault(label, [0, 0])
            counts[0] += 1
            counts[1] += sum(s["label"] == label for s in scene["segments"])

    def image(self, number: int, scene: JsonMapping) -> Json:
        entry = super().image(number, scene)
        asked = scene.get("query_labels") or scene.get("queries", ())
        absent = {label for label in asked if label} - {s["label"] for s in scene["segments"]}
        negative = sorted(self.number_of(label) + 1 for label in absent)
        return entry | {"coco_url": "", "neg_category_ids": negative, "not_exhaustive_category_ids": []}

    def annotation(self, number: int, image: int, found: JsonMapping) -> Json:
        entry = super().annotation(number, image, found)
        if entry.pop("iscrowd"):
            self.losses["crowds are objects: LVIS has none"] += 1
        return entry

    def category(self, number: int, label: str) -> Json:
        images, instances = self._seen.get(label, (0, 0))
        often = "r" if images <= 10 else "c" if images <= 100 else "f"
        known = {"synset": label, "synonyms": [label], "def": "", "frequency": often}
        return {"id": number, "name": label, **known, "image_count": images, "instance_count": instances}


class ResultsWriter(Writer):
    """Writes ``results.json``, the list that COCO's evaluation takes, with the ids of a truth.

    Its images are in the order they came, numbered from 1, as `Writer` numbers them.
    """

    name = "results.json"

    def annotation(self, number: int, image: int, found: JsonMapping) -> Json:
        entry = super().annotation(number, image, found)
        if found.get("score") is None:
            self.losses["segments without a score have 1.0"] += 1
        kept = {key: entry[key] for key in ("image_id", "category_id", "segmentation", "bbox")}
        return kept | {"score": entry.get("score", 1.0)}

    def close(self) -> None:
        with atomic_file(self.folder / self.name) as file:
            self._annotations.pour(file)
            file.write(b"\n")


def read(path: Path) -> DataSet:
    """Read COCO instances or LVIS.

    Args:
        path: The JSON, or a folder with ``coco.json``.

    Returns:
        The data set; its annotations wait in a temporary file that is gone with it.

    Raises:
        UsageError: It is no such file (``format_unreadable``).
    """
    path = file_in(path)
    names: dict[int, str] = {}
    with opened(path) as file:
        for entry in _items(file, "categories", path):
            names[entry["id"]] = str(entry["name"])
    labels = [names[number] for number in sorted(names)]
    return DataSet(labels, lambda data: _scenes(path, names, data))


def file_in(path: Path) -> Path:
    """The file of a folder that `Writer` or `LvisWriter` wrote; any other path as it is."""
    if not path.is_dir():
        return path
    return next((path / name for name in (FILE, LVIS) if (path / name).is_file()), path / FILE)


def _scenes(path: Path, names: dict[int, str], data: DataSet) -> Iterator[Json]:
    with contextlib.closing(sqlite3.connect("")) as waiting:  # on disk, without a name
        waiting.execute("create table found (image, content)")
        with opened(path) as file:
            rows = ((str(a.get("image_id")), json.dumps(a)) for a in _items(file, "annotations", path))
            waiting.executemany("insert into found values (?, ?)", rows)
        waiting.execute("create index by_image on found (image)")
        seen = 0
        ids: set[str] = set()
        with opened(path) as file:
            for image in _items(file, "images", path):
                number = str(image.get("id"))
                if number in ids:
                    data.problems.append(f"{path}: image id {number} is there twice")
                    continue
                ids.add(number)
                rows_of = waiting.execute("select content from found where image = ? order by rowid", (number,))
                found = [json.loads(content) for (content,) in rows_of]
                seen += len(found)
                try:
                    size = int(image["height"]), int(image["width"])
                    name = str(image.get("file_name") or str(image["coco_url"]).rpartition("/")[2])
                except (LookupError, TypeError, ValueError):
                    data.problems.append(f"{path}: image {number} has no name or no size")
                    continue
                yield scene(name, size, list(_segments(found, size, names, f"{path}: {name}", data)), data.labels)
        total = waiting.execute("select count(*) from found").fetchone()[0]
        if total > seen:
            data.problems.append(f"{path}: {total - seen} annotations are of no image that is listed")


def _segments(
    found: Sequence[JsonMapping], size: tuple[int, int], names: dict[int, str], place: str, data: DataSet
) -> Iterator[Json]:
    for entry in found:
        here = f"{place}, annotation {entry.get('id')}"
        try:
            label = names[entry["category_id"]]
            mask = _mask(entry.get("segmentation"), size)
            box = None
            if mask is None:
                x, y, width, height = (float(v) for v in entry["bbox"])
                if not np.isfinite([x, y, width, height]).all() or min(width, height) < 0:
                    raise ValueError("its box is no box")
                box = [x, y, x + width, y + height]
            more: dict[str, Any] = {"crowd": True} if entry.get("iscrowd") else {}
            yield segment(label, mask, box=box, score=entry.get("score"), **more)
        except (LookupError, TypeError, ValueError) as error:
            why = f"{error} is missing or unknown" if isinstance(error, LookupError) else str(error)
            data.problems.append(f"{here}: {why}")


def _mask(value: Any, size: tuple[int, int]) -> rle.Rle | None:
    """Run lengths of any ``segmentation``; None of an empty one."""
    if not value:
        return None
    if isinstance(value, list):
        check_pixels(size)
        rings = [np.asarray(part, np.float64).reshape(-1, 2) for part in value]
        if any(len(ring) < 3 or not np.isfinite(ring).all() for ring in rings):
            raise ValueError("a polygon has fewer than three points, or numbers that are none")
        for ring in rings:
            check_reach(ring, size)
        return rle_of([[ring] for ring in rings], size)
    height, width = (int(v) for v in value["size"])
    if (height, width) != size:
        raise ValueError(f"its mask is {width} x {height}, the image {size[1]} x {size[0]}")
    given: rle.Rle = {"size": [height, width], "counts": value["counts"]}
    rle.lengths(given)
    return given if isinstance(given["counts"], str) else rle.compress(given)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for reading.  Raises `UsageError` where that fails (``format_unreadable``)."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}", "format_unreadable") from None
    with file:
        yield file


def _items(file: IO[bytes], name: str, path: Path) -> Iterator[Json]:
    import ijson

    try:
        yield from ijson.items(file, f"{name}.item", use_float=True)
    except (ijson.JSONError, UnicodeDecodeError) as error:
        why = str(error).split("\n")[0].strip()
        raise UsageError(f"{path} is no COCO file: {why}", "format_unreadable") from None
