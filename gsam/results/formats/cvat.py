"""CVAT for images 1.1, an ``annotations.xml``; that of CVAT for video 1.1 is read as well.

Masks are run lengths, row by row over their bounds, and come back as they were.  Images are read
one by one; the tracks of a video are not, since they come object by object: all their shapes wait,
as run lengths, until the file ends.
"""

from __future__ import annotations

import contextlib
import math
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from gsam.errors import UsageError
from gsam.files import atomic_file
from gsam.results.formats import shapes
from gsam.results.formats.dataset import DataSet, DataSetWriter, scene, segment
from gsam.results.masks import rle
from gsam.types import Json, JsonMapping

FILE = "annotations.xml"
BROKEN = (ElementTree.ParseError, expat.ExpatError, ValueError, LookupError, RuntimeError, EOFError,
          zipfile.BadZipFile, zlib.error)  # fmt: skip
_LABEL = (
    "        <label>\n          <name>{}</name>\n          <attributes>\n            <attribute>"
    "<name>score</name><mutable>True</mutable><input_type>text</input_type><default_value></default_value>"
    "<values></values></attribute>\n          </attributes>\n        </label>\n"
)


class Writer(DataSetWriter):
    """Writes ``annotations.xml``, with scores as an attribute of each shape.

    A mask's own bounds are its box; other boxes of masks, and what else is known of a segment, are
    lost.
    """

    def __init__(self, folder: Path, labels: Sequence[str] = ()) -> None:
        super().__init__(folder, labels)
        self._images: IO[bytes] = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        self._count = 0

    def add(self, scene: JsonMapping) -> None:
        for label in scene.get("query_labels") or scene.get("queries", ()):
            if label:
                self.number_of(label)
        name = quoteattr(shapes.legal(scene["image"] or f"{self._count + 1}.png", self))
        size = f'width="{scene["width"]}" height="{scene["height"]}"'
        inside = "".join(self._shape(found) for found in scene["segments"])
        text = f'  <image id="{self._count}" name={name} {size}>\n{inside}  </image>\n'
        self._images.write(text.encode())
        self._count += 1

    def _shape(self, found: JsonMapping) -> str:
        self.number_of(found["label"])
        score = shapes.count_losses(found, self)
        if found["mask"] is None:
            if not all(map(math.isfinite, found["box"])):
                self.losses["boxes whose numbers are none"] += 1
                return ""
            tag, where = "box", box_attributes(found["box"])
        else:
            tag, where = "mask", mask_attributes(found["mask"])
        label = quoteattr(shapes.legal(found["label"], self))
        return f'    <{tag} label={label} source="auto" occluded="0" {where} z_order="0">{score_text(score)}</{tag}>\n'

    def close(self) -> None:
        if self._images.closed:
            return
        self._images.seek(0)
        with atomic_file(self.folder / FILE) as file:
            file.write(head(self, self._count, "annotation"))
            shutil.copyfileobj(self._images, file)
            file.write(b"</annotations>\n")
        self._images.close()


def head(writer: DataSetWriter, count: int, mode: str, more: str = "") -> bytes:
    """The beginning of the file, with its labels: ``annotation`` of images or ``interpolation``."""
    labels = "".join(_LABEL.format(escape(shapes.legal(label, writer), {"\r": "&#13;"})) for label in writer.labels)
    task = f"<size>{count}</size>\n      <mode>{mode}</mode>\n{more}      <labels>\n{labels}      </labels>"
    meta = f"  <version>1.1</version>\n  <meta>\n    <task>\n      {task}\n    </task>\n  </meta>\n"
    return f'<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n{meta}'.encode()


def score_text(score: float | None) -> str:
    """The element of a score; nothing where there is none."""
    return "" if score is None else f'<attribute name="score">{score!r}</attribute>'


def box_attributes(box: Sequence[float]) -> str:
    """Where a box x0 y0 x1 y1 is."""
    values = zip(("xtl", "ytl", "xbr", "ybr"), map(shortest, box), strict=True)
    return " ".join(f'{name}="{value}"' for name, value in values)


def shortest(value: float) -> str:
    """A number with two digits where they are enough."""
    short = f"{value:.2f}"
    return short if float(short) == value else repr(float(value))


def mask_attributes(mask: rle.Rle) -> str:
    """Run lengths of a mask, row by row over its bounds."""
    x0, y0, x1, y1 = rle.bounds(mask)
    x1, y1 = max(x1, x0 + 1), max(y1, y0 + 1)  # of an empty mask, the first pixel
    flat = rle.decode(mask)[y0:y1, x0:x1].ravel()
    at = [0, *(np.flatnonzero(flat[1:] != flat[:-1]) + 1).tolist(), len(flat)]
    runs = [0] * bool(flat[0]) + np.diff(at).tolist()
    return f'rle="{", ".join(map(str, runs))}" left="{x0}" top="{y0}" width="{x1 - x0}" height="{y1 - y0}"'


def read(path: Path) -> DataSet:
    """Read boxes, polygons, masks and ellipses of images, or of the tracks of a video.

    A frame of a video that has a shape is an image named ``frame_000012``, whose segments know
    their ``track``; what is between two frames of a track is not made up.

    Args:
        path: The XML, or a folder or zip archive with ``annotations.xml``.

    Returns:
        The data set.  Rectangles and ellipses that are turned come as masks.

    Raises:
        UsageError: It is no such file (``format_unreadable``).
    """
    path = path / FILE if path.is_dir() else path
    labels: dict[str, None] = {}
    sizes: dict[str, tuple[Any, Any]] = {}
    broken: list[str] = []
    try:
        with _opened(path) as file:
            if (tag := shapes.root_of(file)) != "annotations":
                raise ValueError(f"its outermost element is {tag}, not annotations")
        for element in _elements(path, broken):
            labels.update((label.findtext("name") or "", None) for label in element.iterfind(".//labels/label"))
            for task in (e for e in element.iter() if e.find("original_size") is not None):
                size = task.findtext("original_size/height"), task.findtext("original_size/width")
                sizes[task.findtext("id", "")] = size
                sizes.setdefault("", size)
            if element.tag != "version":
                break
    except (OSError, *BROKEN) as error:
        raise UsageError(f"{path} is no file of CVAT: {error}", "format_unreadable") from None
    if broken:
        raise UsageError(f"{broken[0]}; it is no file of CVAT", "format_unreadable")
    return DataSet([label for label in labels if label], lambda data: _scenes(path, sizes, data))


def _scenes(path: Path, sizes: dict[str, tuple[Any, Any]], data: DataSet) -> Iterator[Json]:
    frames: dict[tuple[str, int], tuple[tuple[int, int], list[Json]]] = {}
    for element in _elements(path, data.problems):
        place = f"{path}: {element.tag} {element.get('name') or element.get('id')}"
        try:
            if element.tag == "image":
                name, size = element.attrib["name"], shapes.sides(element.get("height"), element.get("width"))
                tried = (_segment(e, size, f"{place}, shape {i}", data) for i, e in enumerate(element, 1))
                yield scene(name, size, [one for one in tried if one], data.labels)
            elif element.tag == "track":
                task, number = element.get("task_id", ""), int(element.attrib["id"])
                size = shapes.sides(*sizes.get(task, sizes.get("", (None, None))))
                for shape in (e for e in element if e.get("outside") != "1"):
                    shape.attrib.setdefault("label", element.get("label", ""))
                    if one := _segment(shape, size, f"{place}, frame {shape.get('frame')}", data, track=number):
                        frames.setdefault((task, int(shape.attrib["frame"])), (size, []))[1].append(one)
        except shapes.BAD as error:
            data.problems.append(f"{place}: {shapes.reason(error)}")
    for task, frame in sorted(frames):
        size, found = frames.pop((task, frame))
        yield scene(f"task_{task}/" * bool(task) + f"frame_{frame:06d}", size, found, data.labels)


def _segment(element: Element, size: tuple[int, int], place: str, data: DataSet, **more: Any) -> Json | None:
    try:
        label = element.get("label")
        if not label:
            raise ValueError("it has no label")
        if "track" in more and not element.get("frame", "").isdecimal():
            raise ValueError("it is of no frame")
        mask, box = _area(element, size)
    except shapes.BAD as error:
        data.problems.append(f"{place} ({element.tag}): {shapes.reason(error)}")
        return None
    if label not in data.labels:
        data.labels.append(label)
    given = next((a.text for a in element.iterfind("attribute") if a.get("name") == "score"), None)
    return segment(label, mask, box=box, score=shapes.score_of(given, place, data), **more)


def _area(element: Element, size: tuple[int, int]) -> tuple[rle.Rle | None, list[float] | None]:
    """The mask of a shape; of a box None, and the box."""
    numbers = {"box": ("xtl", "ytl", "xbr", "ybr"), "ellipse": ("cx", "cy", "rx", "ry")}
    values = [float(element.attrib[name]) for name in numbers.get(element.tag, ())]
    turn = float(element.get("rotation", "0"))
    if element.tag == "box":
        box, ring = shapes.box_of(values), shapes.corners(values)
        return (shapes.ring_of(shapes.turned(ring, np.mean(ring, 0), turn), size), None) if turn % 360 else (None, box)
    if element.tag == "ellipse":
        return shapes.ellipse_of(values[:2], values[2:], turn, size), None
    if element.tag == "polygon":
        points = [[float(v) for v in point.split(",")] for point in element.attrib["points"].split(";") if point]
        return shapes.ring_of(points, size), None
    if element.tag == "mask":
        left, top, width, height = (int(float(element.attrib[n])) for n in ("left", "top", "width", "height"))
        runs = [int(run) for run in element.attrib["rle"].split(",")]
        if min(left, top) < 0 or min(width, height) < 1 or left + width > size[1] or top + height > size[0]:
            raise ValueError("its bounds leave the image")
        if min(runs) < 0 or sum(runs) != width * height:
            raise ValueError(f"its run lengths are not of {width} x {height} pixels")
        shapes.check_pixels(size)
        mask = np.zeros(size, bool)
        mask[top : top + height, left : left + width] = np.repeat(np.arange(len(runs)) % 2 > 0, runs).reshape(
            height, -1
        )
        return rle.encode(mask), None
    raise ValueError("it is no area, and is left out")


def _elements(path: Path, problems: list[str]) -> Iterator[Element]:
    """The elements below the outermost, each forgotten when the next is asked for."""
    root, depth = None, 0
    try:
        with _opened(path) as file:
            for event, element in ElementTree.iterparse(file, ("start", "end")):
                root = element if root is None else root
                depth += 1 if event == "start" else -1
                if event == "end" and depth == 1:
                    yield element
                    root.clear()
    except BROKEN as error:
        problems.append(f"{path}: broken, nothing more is read: {error}")


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    with contextlib.ExitStack() as stack:
        if not zipfile.is_zipfile(path):
            yield stack.enter_context(path.open("rb"))
            return
        archive = stack.enter_context(zipfile.ZipFile(path))
        names = [name for name in archive.namelist() if f"/{name}".endswith(f"/{FILE}")]
        if not names:
            raise ValueError(f"the archive has no {FILE}")
        yield stack.enter_context(archive.open(min(names, key=len)))
