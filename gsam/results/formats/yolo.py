"""YOLO segmentation labels: ``labels/<name>.txt`` and ``data.yaml``.

A line is a class and the outline of an object, in shares of the image's sides.  A line has one
ring, so holes and the parts of an object are joined by slits of no width, which fill to the same
mask; with few digits, points move by less than a thousandth of a pixel.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from gsam.errors import UsageError
from gsam.files import atomic_file
from gsam.results.formats.dataset import DataSet, DataSetWriter, outlines_of, rle_of, scene, segment
from gsam.results.formats.shapes import check_pixels, check_reach
from gsam.results.formats.stems import Stems
from gsam.results.masks.polygons import bridged
from gsam.types import Json, JsonMapping

YAML = "data.yaml"
KINDS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")


class Writer(DataSetWriter):
    """Writes a file of labels per image, and at the end ``data.yaml`` with the classes."""

    def __init__(self, folder: Path, labels: Sequence[str] = ()) -> None:
        super().__init__(folder, labels)
        self._stems = Stems()

    def add(self, scene: JsonMapping) -> None:
        stem, _ = self._stems.of(scene["image"])
        if self._stems.doubled:
            self.losses[
                "images that differ in the suffix only: YOLO knows one, the other's labels have its suffix"
            ] += 1
        lines = [line for found in scene["segments"] if (line := self._line(found, scene)) is not None]
        path = self.folder / "labels" / f"{stem}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as file:
            file.write("".join(f"{line}\n" for line in lines).encode())

    def _line(self, found: JsonMapping, image: JsonMapping) -> str | None:
        number = self.number_of(found["label"])
        if found.get("score") is not None:
            self.losses["scores"] += 1
        sides = np.array([image["width"], image["height"]], float)
        if found["mask"] is None:
            x0, y0, x1, y1 = (np.array(found["box"]).reshape(2, 2) / sides).ravel()
            values = [(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0]
        else:
            parts = outlines_of(found)
            if not parts:
                self.losses["empty masks"] += 1
                return None
            rings = [bridged(part) for part in parts]
            values = (bridged(rings) / sides).ravel().tolist()
        return " ".join([str(number), *(f"{v:.9f}".rstrip("0").rstrip(".") for v in values)])

    def close(self) -> None:
        names = "".join(f"  {i}: {json.dumps(label, ensure_ascii=False)}\n" for label, i in self.labels.items())
        with atomic_file(self.folder / YAML) as file:
            file.write(f"path: .\ntrain: images\nval: images\nnames:\n{names}".encode())


def read(path: Path, images: Path | None = None) -> DataSet:
    """Read labels of boxes and outlines.

    Args:
        path: The folder with ``data.yaml``, or that file.
        images: The folder of the images, whose sizes are needed; by default ``images`` beside
            ``labels``.

    Returns:
        The data set.

    Raises:
        UsageError: There is no ``data.yaml`` with names, or no labels (``format_unreadable``).
    """
    yaml = path / YAML if path.is_dir() else path
    try:
        names = _names(yaml.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(f"{yaml} has no names of classes: {error}", "format_unreadable") from None
    labels = yaml.parent / "labels"
    if not labels.is_dir():
        raise UsageError(f"{yaml.parent} has no folder labels", "format_unreadable")
    ordered = [names[i] for i in sorted(names)]
    return DataSet(ordered, lambda data: _scenes(labels, images or yaml.parent / "images", names, data))


def _scenes(labels: Path, images: Path, names: Mapping[int, str], data: DataSet) -> Iterator[Json]:
    files = sorted(labels.rglob("*.txt"))
    whole = {images / path.relative_to(labels).with_suffix("") for path in files}  # called after all of a name
    for path in files:
        stem = path.relative_to(labels).with_suffix("")
        own = images / stem
        image = next((p for p in _candidates(own) if p.is_file() and (p == own or p not in whole)), None)
        if image is None:
            data.problems.append(f"{path}: {own} has no image, whose size is needed")
            continue
        try:
            size = _size(image)
            text = path.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            data.problems.append(f"{path}: {error}")
            continue
        found = []
        for i, line in enumerate(text.splitlines(), 1):
            try:
                if line.strip():
                    found.append(_segment(line.split(), size, names))
            except (ValueError, LookupError) as error:
                data.problems.append(f"{path}, line {i}: {error}")
        yield scene(image.relative_to(images).as_posix(), size, found, data.labels)


def _size(path: Path) -> tuple[int, int]:
    """Height and width, by the head of a file; unlike `PIL.Image.open`, of an image of any size."""
    Image.init()
    with path.open("rb") as file:
        start = file.read(16)
        for kind in KINDS:
            factory, accepts = Image.OPEN.get(kind, (None, None))
            if factory is None or (accepts is not None and accepts(start) is not True):
                continue
            file.seek(0)
            try:
                with factory(file, "") as image:
                    return image.height, image.width
            except (SyntaxError, IndexError, TypeError, KeyError, struct.error) as error:
                raise ValueError(f"{path} is a damaged image: {error}") from None
    raise ValueError(f"{path} is no image of {', '.join(KINDS)}")


def _candidates(stem: Path) -> Iterator[Path]:
    if stem.suffix.lower() in IMAGES:
        yield stem
    for suffix in IMAGES:
        yield stem.with_name(stem.name + suffix)
        yield stem.with_name(stem.name + suffix.upper())


def _segment(words: Sequence[str], size: tuple[int, int], names: Mapping[int, str]) -> Json:
    number, values = int(words[0]), [float(w) for w in words[1:]]
    if number not in names:
        raise ValueError(f"no class has the number {number}")
    if not all(map(math.isfinite, values)):
        raise ValueError("a number is none")
    height, width = size
    score = values.pop() if len(values) == 5 or (len(values) > 6 and len(values) % 2) else None
    if len(values) == 4:
        x, y, w, h = values
        box = [(x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height]
        return segment(names[number], None, box=box, score=score)
    if len(values) < 6 or len(values) % 2:
        raise ValueError(f"{len(values)} numbers are neither a box nor an outline")
    check_pixels(size)
    ring = np.array(values).reshape(-1, 2) * [width, height]
    check_reach(ring, size)
    return segment(names[number], rle_of([[np.round(ring, 6)]], size), score=score)


def _names(text: str) -> dict[int, str]:
    """The classes of a ``data.yaml``, a mapping or a list."""
    import yaml

    try:
        values = yaml.load(text, yaml.BaseLoader)["names"]  # every scalar a text: "no" is a name too
    except (yaml.YAMLError, LookupError, TypeError) as error:
        raise ValueError(str(error).split("\n")[0]) from None
    named = values.items() if isinstance(values, dict) else enumerate(values)
    return {int(number): str(name) for number, name in named}
