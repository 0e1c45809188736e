"""Label Studio's tasks, read one by one; see `gsam.results.formats.label_studio`."""

from __future__ import annotations

import collections
import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree
from xml.parsers import expat

import numpy as np

from gsam.errors import UsageError
from gsam.results.formats import shapes
from gsam.results.formats.dataset import DataSet, scene, segment
from gsam.results.masks import brush, rle
from gsam.types import Json, JsonMapping

FILE, CONFIG = "tasks.json", "config.xml"


def read(path: Path) -> DataSet:
    """Read tasks: brushes, polygons, rectangles and ellipses.

    What a person annotated counts, unless it was cancelled; otherwise what was predicted.

    Args:
        path: The JSON, or a folder with ``tasks.json`` or no other JSON.  Labels are in the order
            of a ``config.xml`` beside it.

    Returns:
        The data set.  Rectangles and ellipses that are turned come as masks.

    Raises:
        UsageError: It is no such file (``format_unreadable``).
    """
    if path.is_dir():
        others = sorted(p for p in path.glob("*.json") if not p.name.startswith("."))
        path = others[0] if len(others) == 1 else path / FILE
    problems: list[str] = []
    try:
        first = next(_tasks(path, problems), None)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}", "format_unreadable") from None
    if problems or not (first is None or (isinstance(first, dict) and isinstance(first.get("data"), dict))):
        why = problems[0] if problems else f"{path}: its first entry has no data"
        raise UsageError(f"{why}; these are no tasks of Label Studio", "format_unreadable")
    labels = _labels(path.with_name(CONFIG), problems)
    return DataSet(labels, lambda data: _scenes(path, data), problems)


def _scenes(path: Path, data: DataSet) -> Iterator[Json]:
    for number, task in enumerate(_tasks(path, data.problems), 1):
        try:
            yield _scene(task, f"{path}: task {number}", data)
        except shapes.BAD as error:
            data.problems.append(f"{path}: task {number}: {shapes.reason(error)}")


def _scene(task: JsonMapping, place: str, data: DataSet) -> Json:
    name = _name(task["data"])
    place = f"{place} ({name})"
    annotations, predictions = (_objects(task.get(kind)) for kind in ("annotations", "predictions"))
    given = [a for a in annotations if not a.get("was_cancelled")] or predictions
    if len(given) > 1:
        data.problems.append(f"{place}: there are {len(given)} versions of its objects, of which one is taken")
    chosen = min(given, key=lambda version: not version.get("ground_truth"), default={})
    results = _objects(chosen.get("result"))
    size = _size(
        results or [r for a in (*annotations, *predictions) for r in _objects(a.get("result"))], task.get("meta")
    )
    labelled = {str(one.get("id")) for one in results if _labels_of(one)}
    found = []
    for i, one in enumerate(results, 1):
        if not _labels_of(one) and str(one.get("id")) in labelled:
            continue  # another result has the same region and its label
        here = f"{place}, result {i} ({one.get('type')})"
        try:
            found.append(_segment(one, size, here, data))
        except shapes.BAD as error:
            data.problems.append(f"{here}: {shapes.reason(error)}")
    return scene(name, size, found, data.labels)


def _segment(result: JsonMapping, size: tuple[int, int], place: str, data: DataSet) -> Json:
    labels = _labels_of(result)
    mask, box = _area(result["value"], size)
    if not labels:
        raise ValueError("it has no label")
    if shapes.sides(result.get("original_height", size[0]), result.get("original_width", size[1])) != size:
        raise ValueError("it is of an image of another size")
    if result.get("image_rotation"):
        raise ValueError("its image was turned in Label Studio")
    if len(labels) > 1:
        data.problems.append(f"{place}: it has {len(labels)} labels, of which the first is taken")
    if labels[0] not in data.labels:
        data.labels.append(labels[0])
    return segment(labels[0], mask, box=box, score=shapes.score_of(result.get("score"), place, data))


def _area(value: JsonMapping, size: tuple[int, int]) -> tuple[rle.Rle | None, list[float] | None]:
    """The mask of a region; of a rectangle None, and the box."""
    height, width = size
    turn = float(value.get("rotation") or 0)
    if "rle" in value:
        if not isinstance(value["rle"], list):
            raise ValueError("its brush is no list of numbers")
        shapes.check_pixels(size)
        return rle.encode(brush.unpack(bytes(value["rle"]), size)), None
    if "points" in value:
        return shapes.ring_of(
            [[float(x) * width / 100, float(y) * height / 100] for x, y in value["points"]], size
        ), None
    if "radiusX" in value:
        x, y, across, down = (float(value[name]) / 100 for name in ("x", "y", "radiusX", "radiusY"))
        return shapes.ellipse_of((x * width, y * height), (across * width, down * height), turn, size), None
    if not {"x", "y", "width", "height"} <= value.keys():
        raise ValueError("it is no area, and is left out")
    x, y, across, down = (float(value[name]) for name in ("x", "y", "width", "height"))
    ends = np.array([x * width, y * height, (x + across) * width, (y + down) * height]) / 100
    box = shapes.box_of(np.round(ends, 6).tolist())
    if turn % 360 == 0:
        return None, box
    return shapes.ring_of(shapes.turned(shapes.corners(box), box[:2], turn), size), None


def _objects(value: Any) -> list[JsonMapping]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _labels_of(result: JsonMapping) -> list[str]:
    kind, value = str(result.get("type")), result.get("value")
    labels = value.get(kind) if kind.endswith("labels") and isinstance(value, dict) else None
    return [str(label) for label in labels if label] if isinstance(labels, list) else []


def _size(results: Sequence[JsonMapping], meta: Any) -> tuple[int, int]:
    """The size that most results have; without results, that of ``meta``."""
    given = [(one.get("original_height"), one.get("original_width")) for one in results]
    found: collections.Counter[tuple[int, int]] = collections.Counter()
    for height, width in given or [(one.get("height"), one.get("width")) for one in _objects([meta])]:
        with contextlib.suppress(*shapes.BAD):
            found[shapes.sides(height, width)] += 1
    if not found:
        raise ValueError("its size is missing: no result has original_width and original_height")
    return found.most_common(1)[0][0]


def is_quoted(address: str) -> bool:
    """Tell whether names in an address have ``%20`` for a blank."""
    return address.startswith(("http://", "https://")) or "?d=" in address


def _name(data: JsonMapping) -> str:
    """The image's path, without where it is served."""
    texts = [value for value in data.values() if isinstance(value, str)]
    address = data.get("image", texts[0] if len(texts) == 1 else None)
    if not isinstance(address, str) or address.startswith("data:"):
        raise ValueError("its data has no address of an image")
    name = address
    if "?d=" in address:
        name = address.partition("?d=")[2]
    elif "://" in address:
        name = address.partition("://")[2].partition("/")[2]
        name = name.partition("?")[0].partition("#")[0] if is_quoted(address) else name
    name = (unquote(name) if is_quoted(address) else name).lstrip("/")
    name = name.rpartition("/")[2] if name.startswith("data/upload/") else name
    if not name:
        raise ValueError(f"{address!r} names no image")
    return name


def _labels(config: Path, problems: list[str]) -> list[str]:
    """The labels of a labelling config, if there is one."""
    if not config.is_file():
        return []
    try:
        with config.open("rb") as file:
            if shapes.root_of(file) != "View":
                return []
            file.seek(0)
            labels = [e.get("value", "") for _, e in ElementTree.iterparse(file) if e.tag == "Label"]
            return [label for label in dict.fromkeys(labels) if label]
    except (ElementTree.ParseError, expat.ExpatError, ValueError, LookupError) as error:
        problems.append(f"{config}: its labels are not read: {error}")
        return []


def _tasks(path: Path, problems: list[str]) -> Iterator[Any]:
    import ijson

    try:
        with path.open("rb") as file:
            if next(ijson.basic_parse(file), None) != ("start_array", None):
                raise ijson.JSONError("it is no list")
            file.seek(0)
            yield from ijson.items(file, "item", use_float=True)
    except (ijson.JSONError, UnicodeDecodeError) as error:
        problems.append(f"{path}: broken, nothing more is read: {str(error).splitlines()[0]}")
