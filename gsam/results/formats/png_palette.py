"""A palette PNG of classes for each image, ``<name>.png``, and ``id2label.json`` with their names.

Class k, counted from 0, is k + 1; 0 is background and 255 what is not judged.  The palette is that
of Pascal VOC and DAVIS, so that tools show the same colours.  Objects of one class become one mask.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from gsam.errors import UsageError
from gsam.files import atomic_file
from gsam.results.formats import id_map, shapes
from gsam.results.formats.dataset import DataSet, DataSetWriter, mask_of, outlines_of, rle_of, scene, segment
from gsam.results.formats.davis import HIGHEST, VOID, palette
from gsam.results.formats.stems import Stems
from gsam.results.masks import rle
from gsam.types import Json, JsonMapping

LABELS, BACKGROUND = "id2label.json", "background"
NAME = "gsam image"
"""Under this keyword a PNG says what its image is called."""


class Writer(DataSetWriter):
    """Writes a PNG for each image, and at the end the names of the classes.

    Where masks of several classes overlap, that with the higher score keeps the pixels.  Boxes
    without a mask and classes after the 254th are not judged.
    """

    def __init__(self, folder: Path, labels: Sequence[str] = ()) -> None:
        super().__init__(folder, labels)
        self._stems = Stems()

    def add(self, scene: JsonMapping) -> None:
        for label in scene.get("query_labels") or scene.get("queries", ()):
            if label:
                self.number_of(label)
        stem, name = self._stems.of(scene["image"])
        pixels = self._pixels(scene["segments"], (scene["height"], scene["width"]))
        image = Image.fromarray(pixels)
        image.putpalette(palette())
        about = PngInfo()
        about.add_itxt(NAME, name)
        with atomic_file(self.folder / f"{stem}.png") as file:
            image.save(file, "PNG", optimize=True, pnginfo=about)

    def _pixels(self, segments: Sequence[JsonMapping], size: tuple[int, int]) -> np.ndarray:
        pixels, boxes, seen = np.zeros(size, np.uint8), np.zeros(size, bool), set[str]()
        for found in (segments[i] for i in id_map.by_score(segments)):
            for lost, field in (("scores", "score"), ("tracks", "track"), ("crowds are objects", "crowd")):
                if found.get(field) not in (None, False):
                    self.losses[lost] += 1
            mask = mask_of(found)
            number = self.number_of(found["label"]) + 1
            if mask is None:
                self.losses[f"boxes without a mask are not judged ({VOID})"] += 1
                boxes |= rle.decode(rle_of(outlines_of(found), size))
                continue
            if not mask.any():
                self.losses["empty masks"] += 1
                continue
            if number > HIGHEST:
                self.losses[f"masks of classes after {HIGHEST} are not judged ({VOID})"] += 1
            elif found["label"] in seen:
                self.losses["objects are one mask with others of their class"] += 1
            seen.add(found["label"])
            value = min(number, VOID)
            if (mask & (pixels != 0) & (pixels != value)).any():
                self.losses["masks lose pixels that lie under another class with a higher score"] += 1
            pixels[mask & (pixels == 0)] = value
        pixels[boxes & (pixels == 0)] = VOID
        return pixels

    def close(self) -> None:
        if len(self.labels) > HIGHEST:
            self.losses[f"names of classes after {HIGHEST}"] += len(self.labels) - HIGHEST
        names = {0: BACKGROUND} | {i + 1: label for label, i in self.labels.items() if i < HIGHEST}
        lines = ",\n".join(f'  "{i}": {json.dumps(label, ensure_ascii=False)}' for i, label in names.items())
        with atomic_file(self.folder / LABELS) as file:
            file.write(f"{{\n{lines}\n}}\n".encode())


def read(path: Path) -> DataSet:
    """Read the mask of each class in each image.

    Args:
        path: The folder with ``id2label.json``, or that file.

    Raises:
        UsageError: The names of the classes cannot be read (``format_unreadable``).
    """
    path = path / LABELS if path.is_dir() else path
    try:
        names = {int(number): str(name) for number, name in json.loads(path.read_text(encoding="utf-8")).items()}
    except (OSError, ValueError, AttributeError) as error:
        raise UsageError(f"{path} has no names of classes: {error}", "format_unreadable") from None
    names = {number: name for number, name in sorted(names.items()) if number not in (0, VOID)}
    return DataSet(list(dict.fromkeys(names.values())), lambda data: _scenes(path.parent, names, data))


def _scenes(folder: Path, names: Mapping[int, str], data: DataSet) -> Iterator[Json]:
    for path in sorted(p for p in folder.rglob("*.png") if not p.name.startswith(".")):
        try:
            values = id_map.read(path)
            size = shapes.sides(*values.shape)
            with Image.open(path, formats=["PNG"]) as image:
                known = image.info.get(NAME)
        except (*id_map.DAMAGE, *shapes.BAD) as error:
            data.problems.append(f"{path}: {shapes.reason(error)}")
            continue
        found = []
        for number, mask in id_map.split(values).items():
            if number in names:
                found.append(segment(names[number], mask))
            elif number != VOID:
                data.problems.append(f"{path}: no class has the number {number}")
        yield scene(str(known or path.relative_to(folder).as_posix()), size, found, data.labels)
