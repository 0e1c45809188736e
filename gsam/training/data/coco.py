"""COCO instances and LVIS, read annotation by annotation, with all that is wrong with them."""

from __future__ import annotations

import contextlib
import json
import math
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gsam.errors import UsageError
from gsam.results.formats.coco_files import file_in
from gsam.results.formats.dataset import scene, segment
from gsam.results.formats.shapes import MOST_PIXELS, REACH
from gsam.results.masks import rle
from gsam.training.data.faults import Fault, Tell, legible
from gsam.training.data.json_items import items
from gsam.types import Json, JsonMapping

EDGE = 1.5
"""Pixels by which polygons and boxes may leave an image without a word; tools round."""
ALIKE = 0.5
"""IoU of a box and the bounds of its mask below which they have little to do with each other."""


class Bad(Exception):
    """An annotation that is left out: its kind of fault, and why."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def read_names(path: Path, tell: Tell) -> dict[str, str]:
    """Read the categories: id as text -> name, by rising id.

    Args:
        path: The JSON, or a folder with ``coco.json`` or ``lvis.json``.
        tell: Is told every fault.

    Raises:
        UsageError: The file cannot be read, or has no categories (``format_unreadable``).
    """
    path = file_in(path)
    found: dict[str, tuple[Any, str]] = {}
    for i, entry in enumerate(items(path, "categories.item"), 1):
        known = isinstance(entry, dict) and isinstance(entry.get("id"), int | float | str)
        if not known or not str(entry.get("name") or "").strip():
            tell(Fault("category_entry", None, None, f"category {i} has no id or no name"))
            continue
        number, name = key_of(entry["id"]), str(entry["name"])
        if number in found:
            told = f"id {number} is {found[number][1]!r} and {name!r}: the first counts"
            tell(Fault("category_id_repeated", None, None, told))
            continue
        if entry["id"] == 0:
            tell(Fault("category_zero", None, None, f"category {name!r} has the id 0", "note"))
        found[number] = entry["id"], name
    if not found:
        raise UsageError(f"{path} has no categories", "format_unreadable")
    ordered = sorted(found, key=lambda key: (isinstance(found[key][0], str), found[key][0]))
    names = {number: found[number][1] for number in ordered}
    _tell_of_alike(list(names.values()), tell)
    return names


def _tell_of_alike(names: Sequence[str], tell: Tell) -> None:
    first: dict[str, str] = {}
    for name in names:
        other = first.setdefault(" ".join(name.casefold().split()), name)
        if other is not name:
            kind = "category_repeated" if other == name else "category_case"
            told = f"{name!r} is there twice" if other == name else f"{other!r} and {name!r} are two classes"
            tell(Fault(kind, None, None, told, "used"))


def read_scenes(path: Path, names: Mapping[str, str], tell: Tell) -> Iterator[Json]:
    """Give the images with the objects that can be used, in the order of the file.

    Args:
        path: As for `read_names`.
        names: What it gave.
        tell: Is told every fault.

    Yields:
        As `gsam.results.formats.dataset.scene` describes an image; ``place`` is folder and name of
        its file where LVIS tells them.

    Raises:
        UsageError: The file cannot be read to its end (``format_unreadable``).
    """
    path = file_in(path)
    with contextlib.closing(sqlite3.connect("")) as waiting:  # on disk, without a name
        waiting.execute("create table found (image text, id text, content text)")
        waiting.executemany("insert into found values (?, ?, ?)", _annotations(path, tell))
        waiting.execute("create index by_image on found (image)")
        waiting.execute("create index by_id on found (id)")
        twice = "select id, count(*) from found where id != '' group by id having count(*) > 1"
        for number, count in waiting.execute(twice):
            tell(Fault("annotation_id_repeated", None, number, f"{count} annotations have the id", "used"))
        waiting.execute("create table images (id text primary key)")
        for i, image in enumerate(items(path, "images.item"), 1):
            number = key_of(image.get("id")) if isinstance(image, dict) else ""
            try:
                name, place, size = _image(image)
                waiting.execute("insert into images values (?)", (number,))
            except sqlite3.IntegrityError:
                told = f"the id {number} is another image's too: this one is left out"
                tell(Fault("image_id_repeated", name, None, told))
                continue
            except (LookupError, TypeError, ValueError, OverflowError, AttributeError):
                waiting.execute("insert or ignore into images values (?)", (number,))
                tell(Fault("image_entry", None, None, f"image {number or i} has no name, or no size"))
                continue
            rows = waiting.execute("select content from found where image = ? order by rowid", (number,))
            found = [json.loads(content) for (content,) in rows]
            one = scene(name, size, list(_segments(found, name, size, names, tell)))
            yield {**one, "place": place}
        lost = "select id, image from found where image not in (select id from images)"
        for number, image in waiting.execute(lost):
            tell(Fault("annotation_image", None, number, f"its image {image} is not listed"))


def _annotations(path: Path, tell: Tell) -> Iterator[tuple[str, str, str]]:
    for i, entry in enumerate(items(path, "annotations.item"), 1):
        if not isinstance(entry, dict) or entry.get("image_id") is None:
            tell(Fault("annotation_entry", None, str(i), f"annotation {i} of the file has no image_id"))
            continue
        number = "" if entry.get("id") is None else key_of(entry["id"])
        yield key_of(entry["image_id"]), number, json.dumps(entry)


def key_of(value: Any) -> str:
    """An id as text that a table holds, whatever it is."""
    return legible(str(value))


def _image(image: Any) -> tuple[str, str, tuple[int, int]]:
    address = str(image.get("coco_url") or "")
    name = str(image.get("file_name") or address.rpartition("/")[2])
    size = int(image["height"]), int(image["width"])
    if not name or min(size) < 1:
        raise ValueError
    return name, "/".join(address.split("/")[-2:]) if address.count("/") > 2 else name, size


def _segments(
    found: Sequence[JsonMapping], image: str, size: tuple[int, int], names: Mapping[str, str], tell: Tell
) -> Iterator[Json]:
    for i, entry in enumerate(found, 1):
        place = key_of(entry.get("id", f"number {i}"))

        def told(kind: str, message: str, place: str = place) -> None:
            tell(Fault(kind, image, place, message, "used"))

        try:
            if (label := names.get(key_of(entry.get("category_id")))) is None:
                raise Bad("category_unknown", f"category {entry.get('category_id')} is not listed")
            yield {**_segment(entry, label, size, told), "id": place}
        except Bad as bad:
            tell(Fault(bad.kind, image, place, str(bad)))


def _segment(entry: JsonMapping, label: str, size: tuple[int, int], told: Callable[[str, str], None]) -> Json:
    value = entry.get("segmentation")
    given = entry.get("bbox")
    mask = mask_of(value, size, told) if value else None
    if mask is None and not given:
        raise Bad("box_missing", "it has neither a mask nor a box")
    box = None
    if given:
        try:
            box = _box(given)
        except Bad as bad:
            if mask is None:
                raise
            told(bad.kind, f"{bad}; its mask counts")
    if mask is not None and box is not None:
        if min(box[2] - box[0], box[3] - box[1]) <= 0:
            told("box_empty", f"its box {_shown(given)} has no area; its mask counts")
        elif rle.area(mask) and not entry.get("iscrowd") and (share := _overlap(box, rle.bounds(mask))) < ALIKE:
            bounds = _shown(rle.bounds(mask))
            text = f"its box {_shown(box)} and the bounds of its mask {bounds} have an IoU of {share:.2f}"
            told("box_differs", f"{text} (x0 y0 x1 y1); its mask counts")
    if mask is not None and entry.get("area") == 0 and rle.area(mask):
        told("area_zero", f"its area is 0, its mask has {rle.area(mask)} pixels")
    crowd = {"crowd": True} if entry.get("iscrowd") else {}
    return segment(label, mask, box=box if mask is None else None, **crowd)


def _box(given: Any) -> list[float]:
    if not isinstance(given, list) or len(given) != 4 or not all(_is_number(v) for v in given):
        raise Bad("number_invalid", f"its box {_shown(given)} is not four numbers")
    x, y, width, height = (float(v) for v in given)
    if min(width, height) < 0:
        raise Bad("box_inverted", f"its box {_shown(given)} (x y width height) has a negative side")
    return [x, y, x + width, y + height]


def mask_of(value: Any, size: tuple[int, int], told: Callable[[str, str], None]) -> rle.Rle:
    """Give the run lengths of any ``segmentation``, as pycocotools fills polygons.

    Args:
        value: Polygons, or run lengths of either kind.
        size: Height and width of the image.
        told: Is told kind and text of a fault with which the mask can be used.

    Raises:
        Bad: The mask cannot be used.
    """
    if isinstance(value, list):
        return _of_polygons(value, size, told)
    if not isinstance(value, dict):
        raise Bad("mask_invalid", f"its segmentation is {type(value).__name__}, neither polygons nor run lengths")
    try:
        height, width = (int(v) for v in value["size"])
        counts = value["counts"]
    except (LookupError, TypeError, ValueError):
        raise Bad("mask_invalid", "its run lengths lack size or counts") from None
    if (height, width) != size:
        larger = " (larger)" if height * width > size[0] * size[1] else ""
        raise Bad("mask_size", f"its mask is {width} x {height}{larger}, the image {size[1]} x {size[0]}")
    given: rle.Rle = {"size": [height, width], "counts": counts}
    try:
        rle.lengths(given)
    except (ValueError, TypeError, OverflowError) as error:
        raise Bad("mask_invalid", str(error)) from None
    return given if isinstance(counts, str) else rle.compress(given)


def _of_polygons(rings: Sequence[Any], size: tuple[int, int], told: Callable[[str, str], None]) -> rle.Rle:
    from pycocotools import mask as coco

    height, width = size
    if height * width > MOST_PIXELS:
        raise Bad("mask_invalid", f"its mask is not filled: an image of {width} x {height} pixels is too large")
    if not all(isinstance(ring, list) for ring in rings):
        raise Bad("polygon_points", "its segmentation is a list of numbers, not of polygons [[x, y, ...]]")
    outside = False
    for ring in rings:
        if not all(_is_number(v) for v in ring):
            raise Bad("number_invalid", "a polygon has numbers that are none")
        if len(ring) < 6 or len(ring) % 2:
            raise Bad("polygon_points", f"a polygon has {len(ring)} numbers: fewer than three points, or half a point")
        points = np.asarray(ring, np.float64).reshape(-1, 2)
        if np.abs(points).max() > REACH * max(size):
            raise Bad("number_invalid", "a polygon has points far outside the image")
        outside |= bool((points < -EDGE).any() or (points > np.array([width, height]) + EDGE).any())
    whole = coco.merge(coco.frPyObjects(list(rings), height, width))
    mask: rle.Rle = {"size": [height, width], "counts": whole["counts"].decode("ascii")}
    if outside and rle.area(mask):
        told("polygon_outside", f"its polygon leaves the image of {width} x {height}")
    return mask


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _shown(values: Any) -> str:
    if not isinstance(values, list | tuple):
        return repr(values)[:40]
    parts = [f"{v:g}" if isinstance(v, int | float) else "none" if v is None else repr(v)[:10] for v in values]
    return f"[{', '.join(parts[:8])}]"


def _overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """IoU of two boxes x0 y0 x1 y1; those of no area are taken as one pixel wide."""
    sides = [max(0.0, min(a[2], b[2]) - max(a[0], b[0])), max(0.0, min(a[3], b[3]) - max(a[1], b[1]))]
    areas = [max(box[2] - box[0], 1.0) * max(box[3] - box[1], 1.0) for box in (a, b)]
    both = sides[0] * sides[1]
    return both / (areas[0] + areas[1] - both) if both else 0.0
