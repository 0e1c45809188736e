"""Pascal VOC: ``Annotations/<stem>.xml``, and where there are masks two indexed PNGs of an image.

``SegmentationObject`` has the number of an object in the XML, from 1, ``SegmentationClass`` that of
its class in ``labelmap.txt``; 0 is background and 255 what is not judged.  A pixel has one object:
where masks overlap, the earlier segment keeps it.  ``ImageSets/Main/default.txt`` lists the images,
``ImageSets/Segmentation/default.txt`` those with masks, in order.
"""

from __future__ import annotations

import math
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from gsam.files import atomic_file
from gsam.results.formats.dataset import DataSetWriter, mask_of
from gsam.results.formats.davis import HIGHEST, VOID, write_frame
from gsam.results.formats.shapes import legal
from gsam.results.formats.stems import Stems
from gsam.results.formats.voc_reading import CLASSES, LABELS, LISTS, OBJECTS, XML, colour, read
from gsam.results.masks import rle
from gsam.types import JsonMapping

__all__ = ["Writer", "read"]


class Writer(DataSetWriter):
    """Writes the files of each image, and at the end ``labelmap.txt`` as CVAT has it."""

    def __init__(self, folder: Path, labels: Sequence[str] = ()) -> None:
        super().__init__(folder)
        self._stems = Stems()
        folder.mkdir(parents=True, exist_ok=True)
        self._lists: list[IO[bytes]] = [tempfile.TemporaryFile(dir=folder) for _ in LISTS]  # noqa: SIM115
        for label in labels:
            self.number_of(self._plain(label))

    def add(self, scene: JsonMapping) -> None:
        for label in scene.get("query_labels") or scene.get("queries", ()):
            if label:
                self.number_of(self._plain(label))
        stem, name = self._stems.of(self._plain(scene["image"] or ""))
        if self._stems.doubled:
            self.losses["images of one name with two suffixes: their files are called by both"] += 1
        size = scene["height"], scene["width"]
        ids, kinds = np.zeros(size, np.uint8), np.zeros(size, np.uint8)
        root = ElementTree.Element("annotation")
        _texts(root, folder="", filename=name)
        _texts(ElementTree.SubElement(root, "source"), database="Unknown")
        _texts(ElementTree.SubElement(root, "size"), width=scene["width"], height=scene["height"], depth=3)
        segmented = ElementTree.SubElement(root, "segmented")
        count = 0
        for found in scene["segments"]:
            count += self._object(found, root, count + 1, ids, kinds)
        segmented.text = str(int(ids.any()))
        if ids.any():
            write_frame(kinds, self.folder / CLASSES / f"{stem}.png")
            write_frame(ids, self.folder / OBJECTS / f"{stem}.png")
        for file in self._lists[: 1 + bool(ids.any())]:
            file.write(f"{stem}\n".encode())
        ElementTree.indent(root)
        with atomic_file(self.folder / XML / f"{stem}.xml") as file:
            file.write(ElementTree.tostring(root, encoding="utf-8") + b"\n")

    def close(self) -> None:
        for name, listed in zip(LISTS, self._lists, strict=True):
            if listed.closed:
                return
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            listed.seek(0)
            with listed, atomic_file(path) as file:
                shutil.copyfileobj(listed, file)
        names = ["background", *self.labels]
        lines = [f"{name}:{','.join(map(str, colour(i)))}::\n" for i, name in enumerate(names)]
        with atomic_file(self.folder / LABELS) as file:
            file.write("".join(["# label:color_rgb:parts:actions\n", *lines]).encode())

    def _object(
        self,
        found: JsonMapping,
        root: ElementTree.Element,
        number: int,
        ids: NDArray[np.uint8],
        kinds: NDArray[np.uint8],
    ) -> bool:
        """Write a segment as the object of a number; False where nothing of it can be written."""
        mask = mask_of(found)
        label = self._plain(found["label"])
        kind = self.number_of(label) + 1
        for lost, field in (("scores", "score"), ("crowds are objects: VOC has none", "crowd")):
            if found.get(field) not in (None, False):
                self.losses[lost] += 1
        if mask is not None and not mask.any():
            self.losses["empty masks"] += 1
            mask = None
        box = _whole(found["box"], ids.shape)
        if box is None and mask is not None:
            box = rle.bounds(found["mask"])
        if box is None:
            if found["mask"] is None:
                self.losses["boxes without a pixel"] += 1
            return False
        if list(box) != list(found["box"]):
            self.losses["boxes are rounded to whole pixels inside the image"] += 1
        if mask is not None and number > HIGHEST:
            self.losses[f"masks after object {HIGHEST} of an image"] += 1
        elif mask is not None:
            free = mask & (ids == 0)
            if free.sum() < mask.sum():
                self.losses["masks lose pixels that lie under other masks"] += 1
            if kind > HIGHEST:
                self.losses[f"classes after {HIGHEST} are not judged in {CLASSES}"] += 1
            ids[free], kinds[free] = number, min(kind, VOID)
        element = ElementTree.SubElement(root, "object")
        _texts(element, name=label, pose="Unspecified", truncated=0, difficult=0)
        x0, y0, x1, y1 = box
        _texts(ElementTree.SubElement(element, "bndbox"), xmin=x0 + 1, ymin=y0 + 1, xmax=x1, ymax=y1)
        return True

    def _plain(self, text: str) -> str:
        """A text on one line that XML can hold."""
        return legal(re.sub("[\r\n]", " ", text).strip(), self)


def _texts(parent: ElementTree.Element, **texts: object) -> None:
    for tag, text in texts.items():
        ElementTree.SubElement(parent, tag).text = str(text)


def _whole(box: Sequence[float], size: Sequence[int]) -> tuple[int, int, int, int] | None:
    """The pixels x0 y0 x1 y1 of a box, at least one; None of a box that has none."""
    if not all(map(math.isfinite, box)):
        return None
    x0, y0, x1, y1 = (min(max(v, 0.0), side) for v, side in zip(box, [*size[::-1]] * 2, strict=True))
    if not (x0 < x1 and y0 < y1):
        return None
    left, top = min(math.floor(x0 + 0.5), size[1] - 1), min(math.floor(y0 + 0.5), size[0] - 1)
    return left, top, max(math.floor(x1 + 0.5), left + 1), max(math.floor(y1 + 0.5), top + 1)
