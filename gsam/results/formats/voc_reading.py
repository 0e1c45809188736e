"""Reads Pascal VOC, see `gsam.results.formats.voc`, whose PNGs have a palette or are RGB."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gsam.errors import UsageError
from gsam.results.formats.dataset import DataSet, scene, segment
from gsam.results.formats.davis import VOID
from gsam.results.formats.shapes import LONGEST_SIDE
from gsam.results.formats.stems import inside
from gsam.results.masks import rle
from gsam.types import Json

LABELS = "labelmap.txt"
XML, OBJECTS, CLASSES = "Annotations", "SegmentationObject", "SegmentationClass"
DAMAGE = (OSError, ValueError, SyntaxError, EOFError, struct.error, Image.DecompressionBombError)
"""Errors of Pillow about a file that it cannot read."""
LISTS = ("ImageSets/Main/default.txt", "ImageSets/Segmentation/default.txt")
"""Lists of all images, and of those with masks."""
Colour = tuple[int, int, int]
_ENTRY = re.compile(r"(.*):\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*:[^:]*:[^:]*")


def colour(number: int) -> Colour:
    """The colour of a class or an object: its bits in turn are high bits of red, green, blue."""
    red, green, blue = (sum((number >> (3 * k + c) & 1) << (7 - k) for k in range(8)) for c in range(3))
    return red, green, blue


def number_of(rgb: Colour) -> int:
    """The inverse of `colour`."""
    return sum((rgb[c] >> (7 - k) & 1) << (3 * k + c) for c in range(3) for k in range(8))


def read(path: Path) -> DataSet:
    """Read boxes, and the masks of those that have one.

    Args:
        path: The folder with ``Annotations``, or one of XML files.  Where it has `LISTS`, the
            images that they name are read, in their order; otherwise all.

    Returns:
        The data set.  While its images are read, `UsageError` is raised for an XML file that
        declares a document type.

    Raises:
        UsageError: It has no annotations (``format_unreadable``).
    """
    xml = path / XML if (path / XML).is_dir() else path
    files = {p.relative_to(xml).with_suffix("").as_posix() for p in xml.rglob("*.xml")} if xml.is_dir() else set()
    if xml == path and not any(_is_annotation(path / f"{stem}.xml") for stem in sorted(files)):
        files.clear()
    for name in (OBJECTS, CLASSES):
        files |= {p.relative_to(path / name).with_suffix("").as_posix() for p in (path / name).rglob("*.png")}
    if not files and not (path / LABELS).is_file():
        raise UsageError(f"{path} has no annotations of Pascal VOC", "format_unreadable")
    problems: list[str] = []
    classes = _classes(path / LABELS, problems)
    declared = [name for name, rgb in classes if any(rgb)]
    stems = _listed(path, problems)
    for stem in [stem for stem in stems or () if stem not in files]:
        problems.append(f"{path}: {stem} is listed and has no annotation")
    stems = sorted(files) if stems is None else [stem for stem in stems if stem in files]
    stems = [stem for stem in stems if not PurePosixPath(stem).name.startswith(".")]
    return DataSet(declared[:], lambda data: _scenes(path, xml, stems, classes, declared, data), problems)


def _listed(path: Path, problems: list[str]) -> list[str] | None:
    """The stems that `LISTS` name, in order; None where there is no list that can be read."""
    found: dict[str, None] | None = None
    for place in (path / name for name in LISTS):
        try:
            lines = place.read_text(encoding="utf-8-sig").split("\n") if place.is_file() else None
        except (OSError, ValueError) as error:
            problems.append(f"{place}: {error}")
            continue
        if lines is not None:
            found = found or {}
            found.update((stem, None) for line in lines if (stem := line.rstrip("\r")))
    return None if found is None else list(found)


def _is_annotation(path: Path) -> bool:
    try:
        return _parsed(path).tag == "annotation"
    except (OSError, ValueError):
        return False


def _classes(path: Path, problems: list[str]) -> list[tuple[str, Colour]]:
    """The names and colours of classes by number; the background is black."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n") if path.is_file() else []
    except (OSError, ValueError) as error:
        problems.append(f"{path}: {error}")
        return []
    found: list[tuple[str, Colour]] = []
    for i, line in enumerate(lines, 1):
        if match := _ENTRY.fullmatch(line.rstrip("\r")):
            found.append((match[1], (int(match[2]), int(match[3]), int(match[4]))))
        elif line.strip() and not line.startswith("#"):
            problems.append(f"{path}, line {i}: no label with a colour")
    return found if any(not any(rgb) for _, rgb in found) or not found else [("background", (0, 0, 0)), *found]


def _scenes(
    path: Path,
    xml: Path,
    stems: Sequence[str],
    classes: Sequence[tuple[str, Colour]],
    declared: Sequence[str],
    data: DataSet,
) -> Iterator[Json]:
    for stem in stems:
        place = xml / f"{stem}.xml"
        try:
            root = _parsed(place) if place.is_file() else ElementTree.Element("annotation")
            if root.tag != "annotation":
                raise ValueError(f"begins with {root.tag}, not with annotation")
            kinds = _numbers(path / CLASSES / f"{stem}.png", {rgb: i for i, (_, rgb) in enumerate(classes)}, data)
            ids = _numbers(path / OBJECTS / f"{stem}.png", {}, data)
            size = _size(root, [image.shape for image in (ids, kinds) if image is not None])
        except UsageError:
            raise
        except (OSError, ValueError) as error:
            data.problems.append(f"{place}: {error}")
            continue
        for name, image in ((OBJECTS, ids), (CLASSES, kinds)):
            if image is not None and image.shape != size:
                data.problems.append(f"{path / name / stem}.png: has another size than its image")
        ids, kinds = (None if image is None or image.shape != size else image for image in (ids, kinds))
        objects = dict(_objects(root, size, place, data))
        if ids is None and not objects:
            ids = kinds
        masks = dict(_masks(ids, kinds, objects, [name for name, _ in classes], f"{path / OBJECTS / stem}.png", data))
        found = [segment(label, masks.pop(i, (label, None))[1], box=box) for i, (label, box) in objects.items()]
        found += [segment(label, mask) for label, mask in masks.values()]
        data.labels += dict.fromkeys(s["label"] for s in found if s["label"] not in data.labels)
        yield scene(_image(root, stem), size, found, declared)


def _image(root: ElementTree.Element, stem: str) -> str:
    name = inside((root.findtext("filename") or "").strip().replace("\\", "/")) or f"{stem}.jpg".rpartition("/")[2]
    return name if "/" in name else str(PurePosixPath(stem).parent / name)


def _size(root: ElementTree.Element, shapes: Sequence[tuple[int, ...]]) -> tuple[int, int]:
    """Height and width of an image: what its XML says, or those of its PNGs."""
    found = root.find("size")
    try:
        size = (0, 0) if found is None else (int(_number(found, "height")), int(_number(found, "width")))
    except ValueError:
        size = 0, 0
    if min(size) >= 1 and max(size) <= LONGEST_SIDE:
        return size
    if not shapes:
        raise ValueError("says nothing of the image's size, or nothing that is possible")
    return shapes[0][0], shapes[0][1]


def _objects(
    root: ElementTree.Element, size: tuple[int, int], place: Path, data: DataSet
) -> Iterator[tuple[int, tuple[str, list[float]]]]:
    for i, element in enumerate(root.findall("object"), 1):
        try:
            name, corners = element.findtext("name"), element.find("bndbox")
            if name is None or corners is None:
                raise ValueError("has no name or no bndbox")
            x0, y0, x1, y1 = (_number(corners, tag) for tag in ("xmin", "ymin", "xmax", "ymax"))
            box = [max(x0 - 1, 0.0), max(y0 - 1, 0.0), min(x1, float(size[1])), min(y1, float(size[0]))]
            if box[0] >= box[2] or box[1] >= box[3]:
                raise ValueError("its box has no pixel of the image")
            yield i, (name.strip(), box)
        except ValueError as error:
            data.problems.append(f"{place}, object {i}: {error}")


def _masks(
    ids: NDArray[np.int64] | None,
    kinds: NDArray[np.int64] | None,
    objects: Mapping[int, tuple[str, Sequence[float]]],
    names: Sequence[str],
    place: str,
    data: DataSet,
) -> Iterator[tuple[int, tuple[str, rle.Rle]]]:
    """The label and mask of each number; one that fits no object has a number below 0."""
    for i in np.unique(ids).tolist() if ids is not None else ():
        if i in (0, VOID):
            continue
        where = ids == i
        values, counts = np.unique(kinds[where] if kinds is not None else [0], return_counts=True)
        kind = int(values[counts.argmax()])
        named = names[kind] if 0 < kind < len(names) and kind != VOID else None
        mask = rle.encode(where)
        label, box = objects.get(i, (None, (0.0, 0.0, 0.0, 0.0)))
        x0, y0, x1, y1 = rle.bounds(mask)
        meet = x0 < box[2] and box[0] < x1 and y0 < box[3] and box[1] < y1
        if label is not None and named in (None, label) and meet:
            yield i, (label, mask)
        elif named is not None:
            yield -i, (named, mask)
        else:
            data.problems.append(f"{place}: the mask with number {i} has no object and no class with a name")


def _numbers(path: Path, colours: Mapping[Colour, int], data: DataSet) -> NDArray[np.int64] | None:
    """The numbers [H, W] of an image; None where there is none that can be read."""
    if not path.is_file():
        return None
    try:
        with Image.open(path, formats=["PNG"]) as image:
            if image.mode not in ("RGB", "RGBA"):
                if len(image.getbands()) > 1:
                    raise ValueError(f"is of mode {image.mode}, neither numbers nor colours")
                return np.array(image).astype(np.int64)
            rgb = np.array(image)[..., :3].astype(np.int64) @ [65536, 256, 1]
    except DAMAGE as error:
        data.problems.append(f"{path}: {error}")
        return None
    values, at = np.unique(rgb, return_inverse=True)
    found = [(v >> 16, v >> 8 & 255, v & 255) for v in values.tolist()]
    return np.array([colours.get(c, number_of(c)) for c in found])[at].reshape(rgb.shape)


class _Declared(Exception):
    """An XML file declares a document type."""


class _Tree(ElementTree.TreeBuilder):
    def doctype(self, *_: object) -> None:
        """Refuse entities before there are any."""
        raise _Declared


def _parsed(path: Path) -> ElementTree.Element:
    parser = ElementTree.XMLParser(target=_Tree())
    try:
        parser.feed(path.read_bytes())
        return parser.close()
    except _Declared:
        raise UsageError(f"{path} declares a document type, which is not read", "format_unreadable") from None
    except (ElementTree.ParseError, LookupError) as error:
        raise ValueError(f"no XML: {error}") from None


def _number(element: ElementTree.Element, tag: str) -> float:
    try:
        value = float(element.findtext(tag) or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{tag} is no number")
    return value
