"""LabelMe: ``<stem>.json`` beside each image.

Masks are lossless, shapes of the type ``mask``, or polygons, whose parts have one ``group_id``.
Fields that LabelMe has not, scores among them, are such as it keeps when it saves the file again.
"""

from __future__ import annotations

import base64
import io
import json
import math
import posixpath
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gsam.errors import UsageError
from gsam.files import atomic_file
from gsam.results.formats.dataset import DataSet, DataSetWriter, mask_of, outlines_of, scene, segment
from gsam.results.formats.labelme_shapes import DAMAGE, boxed, filled, rectangle
from gsam.results.formats.shapes import LONGEST_SIDE
from gsam.results.formats.stems import Stems, inside
from gsam.results.masks import polygons, rle
from gsam.types import Json, JsonMapping

VERSION = "5.5.0"
EXTRA = ("score", "mask_score", "crowd", "track")
"""Fields of a segment that are kept beside those of LabelMe."""


class Writer(DataSetWriter):
    """Writes a file per image; one without a mask is a rectangle."""

    def __init__(self, folder: Path, labels: Sequence[str] = (), *, polygons: bool = False) -> None:
        """Begin a data set.

        Args:
            folder: Where its files go; it exists.
            labels: Classes that are known.
            polygons: Write outlines, whose holes are joined by slits of no width, and no masks.
        """
        super().__init__(folder, labels)
        self._polygons = polygons
        self._stems = Stems()
        self._unseen = dict.fromkeys(labels)

    def add(self, scene: JsonMapping) -> None:
        stem, name = self._stems.of(scene["image"])
        if self._stems.doubled:
            self.losses["images of one name with two suffixes: their files are called by both"] += 1
        shapes = [shape for i, found in enumerate(scene["segments"], 1) for shape in self._shapes(found, i)]
        queries = [label for label in scene.get("query_labels") or scene.get("queries", ()) if label]
        for label in [*queries, *(shape["label"] for shape in shapes)]:
            self._unseen.pop(label, None)
        head = {
            "version": VERSION,
            "flags": {},
            "imagePath": PurePosixPath(name).name,
            "imageData": None,
            "imageHeight": scene["height"],
            "imageWidth": scene["width"],
            "queries": queries,
        }
        lines = ",".join("\n  " + _dumps(shape) for shape in shapes)
        text = f'{_dumps(head)[:-1]}, "shapes": [{lines}{chr(10) * bool(lines)}]}}\n'
        with atomic_file(self.folder / f"{stem}.json") as file:
            file.write(text.encode("utf-8", "backslashreplace"))  # which is how JSON writes them too

    def close(self) -> None:
        if self._unseen:
            self.losses["classes that no image has"] += len(self._unseen)
            self._unseen.clear()

    def _shapes(self, found: JsonMapping, group: int) -> Iterator[Json]:
        more = {key: found[key] for key in EXTRA if found.get(key) is not None}
        shape = {"label": found["label"], "group_id": None, "description": "", "flags": {}, "mask": None, **more}
        mask, box = mask_of(found), [float(v) for v in found["box"]]
        if mask is None:
            if not (all(map(math.isfinite, box)) and box[0] < box[2] and box[1] < box[3]):
                self.losses["boxes without a pixel"] += 1
                return
            yield {**shape, "shape_type": "rectangle", "points": [box[:2], box[2:]]}
            return
        bounds = rle.bounds(found["mask"])
        if self._polygons and not mask.any():
            self.losses["empty masks"] += 1
            return
        if list(bounds) != box:
            self.losses["boxes that are not the bounds of their masks"] += 1
        if self._polygons:
            parts = outlines_of(found)
            shape |= {"shape_type": "polygon", "group_id": group if len(parts) > 1 else None}
            yield from ({**shape, "points": polygons.bridged(part).tolist()} for part in parts)
            return
        x0, y0, x1, y1 = bounds if mask.any() else (0, 0, 1, 1)
        with io.BytesIO() as file:
            Image.fromarray(np.ascontiguousarray(mask[y0:y1, x0:x1])).save(file, "PNG")
            content = base64.b64encode(file.getvalue()).decode("ascii")
        yield {**shape, "shape_type": "mask", "points": [[x0, y0], [x1 - 1, y1 - 1]], "mask": content}


def _dumps(value: Json) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def read(path: Path) -> DataSet:
    """Read masks, polygons, rectangles and circles; shapes of one label and ``group_id`` are one.

    Args:
        path: A file, or a folder of them and of folders.

    Returns:
        The data set.

    Raises:
        UsageError: There is no file of LabelMe (``format_unreadable``).
    """
    root = path if path.is_dir() else path.parent
    files = sorted(p for p in path.rglob("*.json") if not p.name.startswith(".")) if path.is_dir() else [path]
    if not any(_is_labelme(file) for file in files):
        raise UsageError(f"{path} has no annotations of LabelMe", "format_unreadable")
    return DataSet([], lambda data: _scenes(root, files, data))


def _is_labelme(path: Path) -> bool:
    try:
        _loaded(path)
    except (OSError, ValueError):
        return False
    return True


def _loaded(path: Path) -> Json:
    try:
        value = json.loads(path.read_bytes())
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    if not isinstance(value, dict) or not isinstance(value.get("shapes"), list):
        raise ValueError("is no file of LabelMe, it has no shapes")
    if not isinstance(value.get("imagePath"), str) or not _name(value["imagePath"]):
        raise ValueError("is no file of LabelMe, it has no imagePath")
    return value


def _scenes(root: Path, files: Sequence[Path], data: DataSet) -> Iterator[Json]:
    for path in files:
        try:
            value = _loaded(path)
            size = _size(value)
        except (OSError, ValueError) as error:
            data.problems.append(f"{path}: {error}")
            continue
        found = list(_segments(value["shapes"], size, path, data))
        asked = value.get("queries")
        labels = [label for label in asked if isinstance(label, str)] if isinstance(asked, list) else []
        known = dict.fromkeys([*labels, *(s["label"] for s in found)])
        data.labels += [label for label in known if label not in data.labels]
        yield scene(_image(value["imagePath"], path.parent.relative_to(root)), size, found, labels)


def _image(given: str, folder: Path) -> str:
    """The image's path from the folder that is read, or beside its file if it is elsewhere."""
    windows = PureWindowsPath(given)
    path = posixpath.normpath((folder / windows.as_posix()).as_posix())
    if windows.anchor or path.startswith(("../", "/")) or path in (".", ".."):
        path = (folder / _name(given)).as_posix()
    return path


def _name(given: str) -> str:
    """The name of a file whose path is written for any system; empty if it has none."""
    return inside(PureWindowsPath(given).as_posix()).rpartition("/")[2]


def _size(value: JsonMapping) -> tuple[int, int]:
    height, width = value.get("imageHeight"), value.get("imageWidth")
    if not isinstance(height, int) or not isinstance(width, int) or min(height, width) < 1:
        raise ValueError("has no imageHeight and imageWidth")
    if max(height, width) > LONGEST_SIDE:
        raise ValueError(f"{width} x {height} is no size of an image")
    return height, width


def _segments(shapes: Sequence[Any], size: tuple[int, int], path: Path, data: DataSet) -> Iterator[Json]:
    groups: dict[tuple[str, int | None, int], list[int]] = {}
    for i, shape in enumerate(shapes):
        label = shape.get("label") if isinstance(shape, dict) else None
        if not isinstance(label, str):
            data.problems.append(f"{path}, shape {i + 1}: has no label")
            continue
        group = shape.get("group_id")
        groups.setdefault((label, group, -1) if isinstance(group, int) else (label, None, i), []).append(i)
    for (label, *_), members in groups.items():
        box: list[float] | None = None
        whole: NDArray[np.bool_] | None = None
        more: Json = {}
        for i in members:
            try:
                part = rectangle(shapes[i]) if shapes[i].get("shape_type") == "rectangle" else filled(shapes[i], size)
                pixels = part if not isinstance(part, list) else None if len(members) == 1 else boxed(part, size)
            except DAMAGE as error:
                data.problems.append(f"{path}, shape {i + 1}: {error}")
                continue
            more = {key: shapes[i][key] for key in EXTRA if _is_number(shapes[i].get(key))} | more
            if pixels is None:
                box = rectangle(shapes[i])
                continue
            whole = pixels if whole is None else whole | pixels
        if box is not None or whole is not None:
            yield segment(label, None if whole is None else rle.encode(whole), box=box, **more)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and -math.inf < value < math.inf
