"""Truths in COCO's and LVIS's files, with their own boxes, areas and rules, and results by ids.

`gsam.results.formats.coco_files` reads them as every format is read: the box is that of the mask,
and the lists of LVIS are not kept. Numbers that are compared with published ones need what the
annotations say themselves.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gsam.errors import UsageError
from gsam.evaluation.compared import Truth
from gsam.results.formats.coco_files import LvisWriter, Writer, opened
from gsam.results.formats.dataset import DataSet, scene, segment
from gsam.results.formats.shapes import check_reach
from gsam.results.masks import rle
from gsam.types import Json, JsonMapping

GROUPS = ("r", "c", "f")


def read(path: Path, lvis: bool | None = None) -> Truth:
    """Read a truth of COCO instances or LVIS.

    Args:
        path: The JSON, or a folder with ``coco.json`` or ``lvis.json``.
        lvis: Whether LVIS's lists count; by default where the file has them.

    Returns:
        The truth; a scene also has ``place``, folder and name of its image where LVIS tells them.

    Raises:
        UsageError: It is no such file, or is to be of LVIS and is not (``format_unreadable``).
    """
    if path.is_dir():
        files = [path / Writer.name, path / LvisWriter.name]
        path = next((file for file in files if file.is_file()), files[0])
    categories = list(_items(path, "categories.item"))
    try:
        names = {str(entry["id"]): str(entry["name"]) for entry in categories}
    except (LookupError, TypeError):
        raise UsageError(f"{path} is no COCO file: a category has no id or no name", "format_unreadable") from None
    first: Any = next(_items(path, "images.item"), {})
    federated = bool(categories) and all(c.get("frequency") in GROUPS for c in categories)
    federated = federated and isinstance(first, dict) and "neg_category_ids" in first
    if lvis and not federated:
        text = f"{path} is not of LVIS: it lacks the frequency of categories, or neg_category_ids of images"
        raise UsageError(text, "format_unreadable")
    federated = federated and lvis is not False
    frequencies = {names[str(c["id"])]: str(c["frequency"]) for c in categories} if federated else {}
    labels = [str(c["name"]) for c in sorted(categories, key=lambda c: (str(type(c["id"])), c["id"]))]
    return Truth(
        list(dict.fromkeys(labels)), lambda data: _scenes(path, data), frequencies=frequencies, class_ids=names
    )


def read_results(path: Path, truth: Truth) -> DataSet:
    """Read COCO results, a list of segments with the ids of a truth.

    Args:
        path: The JSON.
        truth: The truth, whose images were read.

    Raises:
        UsageError: The truth has no ids (``format_unreadable``).
    """
    if not truth.image_ids:
        text = f"{path} has ids of images and classes, which only a truth in COCO's format tells the names of"
        raise UsageError(text, "format_unreadable")
    sizes = {one["image"]: (one["height"], one["width"]) for one in truth}
    return DataSet(list(truth.labels), lambda data: _results(path, truth, sizes, data))


def _scenes(path: Path, data: DataSet) -> Iterator[Json]:
    assert isinstance(data, Truth)
    images: dict[str, Json] = {}
    for entry in _items(path, "images.item"):
        number = str(entry.get("id"))
        if number in images:
            data.problems.append(f"{path}: image id {number} is there twice")
            continue
        try:
            address = str(entry.get("coco_url") or "")
            name = str(entry.get("file_name") or address.rpartition("/")[2])
            size = int(entry["height"]), int(entry["width"])
            if not name:
                raise KeyError("file_name")
        except (LookupError, TypeError, ValueError):
            data.problems.append(f"{path}: image {number} has no name or no size")
            continue
        images[number] = scene(name, size, [], data.labels)
        if address.count("/") > 2:
            images[number]["place"] = "/".join(address.split("/")[-2:])
        if data.frequencies:
            for key, field in (("absent", "neg_category_ids"), ("partly", "not_exhaustive_category_ids")):
                images[number][key] = _labels(entry.get(field, ()), data)
    data.image_ids.update({number: one["image"] for number, one in images.items()})
    lost = 0
    for entry in _items(path, "annotations.item"):
        one = images.get(str(entry.get("image_id")))
        if one is None:
            lost += 1
            continue
        try:
            one["segments"].append(_segment(entry, (one["height"], one["width"]), data))
        except (LookupError, TypeError, ValueError) as error:
            data.problems.append(f"{path}: {one['image']}, annotation {entry.get('id')}: {_why(error)}")
    if lost:
        data.problems.append(f"{path}: {lost} annotations are of no image that is listed")
    yield from images.values()


def _labels(ids: Sequence[Any], data: Truth) -> list[str]:
    return [data.class_ids[str(number)] for number in ids if str(number) in data.class_ids]


def _results(path: Path, truth: Truth, sizes: Mapping[str, tuple[int, int]], data: DataSet) -> Iterator[Json]:
    found: dict[str, Json] = {name: scene(name, size, []) for name, size in sizes.items()}
    for i, entry in enumerate(_items(path, "item")):
        try:
            name = truth.image_ids[str(entry["image_id"])]
            if not math.isfinite(float(entry["score"])):
                raise ValueError("its score is no number")
            found[name]["segments"].append(_segment(entry, sizes[name], truth))
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            data.problems.append(f"{path}, result {i}: {_why(error)}")
    yield from found.values()


def _segment(entry: JsonMapping, size: tuple[int, int], truth: Truth) -> Json:
    label = truth.class_ids[str(entry["category_id"])]
    mask = _mask(entry.get("segmentation"), size)
    box = None
    if entry.get("bbox") or mask is None:
        x, y, width, height = (float(v) for v in entry["bbox"])
        if not all(map(math.isfinite, (x, y, width, height))) or min(width, height) < 0:
            raise ValueError("its box is no box")
        box = [x, y, x + width, y + height]
    crowd = {"crowd": True} if entry.get("iscrowd") else {}
    found = segment(label, mask, box=box, score=entry.get("score"), **crowd)
    return found if entry.get("area") is None else {**found, "area": float(entry["area"])}


def _mask(value: Any, size: tuple[int, int]) -> rle.Rle | None:
    """Run lengths of any ``segmentation`` as pycocotools makes them; None of an empty one."""
    from pycocotools import mask as coco

    if not value:
        return None
    if isinstance(value, list):
        if any(len(ring) < 6 or len(ring) % 2 or not all(map(math.isfinite, ring)) for ring in value):
            raise ValueError("a polygon has fewer than three points, or numbers that are none")
        for ring in value:
            check_reach(np.asarray(ring, np.float64), size)
        whole = coco.merge(coco.frPyObjects(value, *size))
        return {"size": list(size), "counts": whole["counts"].decode("ascii")}
    height, width = (int(v) for v in value["size"])
    if (height, width) != size:
        raise ValueError(f"its mask is {width} x {height}, the image {size[1]} x {size[0]}")
    given: rle.Rle = {"size": [height, width], "counts": value["counts"]}
    rle.lengths(given)
    return given if isinstance(given["counts"], str) else rle.compress(given)


def _why(error: Exception) -> str:
    return f"{error} is missing or unknown" if isinstance(error, LookupError) else str(error)


def _items(path: Path, place: str) -> Iterator[Any]:
    import ijson

    with opened(path) as file:
        try:
            yield from ijson.items(file, place, use_float=True)
        except (ijson.JSONError, UnicodeDecodeError) as error:
            why = str(error).split("\n")[0].strip()
            raise UsageError(f"{path} is no COCO file: {why}", "format_unreadable") from None
