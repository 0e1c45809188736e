"""A folder of PNGs for each image, one a mask in 0 and 255, and ``index.json`` with the rest.

Nothing is lost.  Folders of masks as segment_anything's ``scripts/amg.py`` and ``gsam everything``
write them, with ``metadata.csv``, are read too.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from gsam.files import atomic_file
from gsam.results.formats import id_map, png_index, shapes
from gsam.results.formats.dataset import DataSet, DataSetWriter, mask_of, scene, segment
from gsam.results.formats.mask_folder import METADATA, name
from gsam.results.formats.sa1b_files import UNNAMED
from gsam.results.formats.stems import Stems
from gsam.results.masks import rle
from gsam.types import Json, JsonMapping

KIND, INDEX = "png_masks", "index.json"
_FILE = re.compile(rf"(^|/)(\d+\.png|{re.escape(INDEX)})(?=/|$)", re.IGNORECASE)


class Writer(DataSetWriter):
    """Writes ``<name>/0.png``, ``1.png`` and so on, and then ``<name>/index.json``."""

    def __init__(self, folder: Path, labels: Sequence[str] = ()) -> None:
        super().__init__(folder, labels)
        self._stems = Stems()

    def add(self, scene: JsonMapping) -> None:
        stem, image = self._stems.of(scene["image"])
        if _FILE.search(stem):  # it may be called like a mask of another image
            digest = hashlib.sha256(stem.encode()).hexdigest()[:8]
            stem = _FILE.sub(rf"\1\2-{digest}", stem)
        folder = self.folder / stem
        entries = []
        for i, found in enumerate(scene["segments"]):
            mask = mask_of(found)
            if mask is not None:
                with atomic_file(folder / name(i)) as file:
                    Image.fromarray(mask * np.uint8(255)).save(file, "PNG")
            entries.append({**png_index.entry_of(found, self), "mask": None if mask is None else name(i)})
        png_index.write(folder / INDEX, KIND, image, scene, entries)


def read(path: Path) -> DataSet:
    """Read masks; what is above half of a PNG's highest value is inside.

    Args:
        path: A folder with folders of masks, one of these, or its ``index.json``.

    Raises:
        UsageError: There is no index, and no ``metadata.csv`` (``format_unreadable``).
    """
    tables = [] if path.is_file() else sorted(path.rglob(METADATA))
    if path.name == METADATA:
        tables = [path]
    if tables and (path in tables or not any(path.rglob(INDEX))):
        return DataSet([], lambda data: _tables(tables, path, data))
    files = png_index.files_in(path, INDEX, KIND)
    return DataSet([], lambda data: png_index.scenes_of(files, KIND, _opened, data))


def _opened(path: Path, index: Json, data: DataSet) -> png_index.MaskOf:
    return lambda entry: None if entry["mask"] is None else _mask(path.parent, str(entry["mask"]))


def _mask(folder: Path, file: str) -> rle.Rle:
    if not file or Path(file).name != file:
        raise ValueError(f"its mask {file!r} is no file beside the index")
    values = id_map.read(folder / file)
    return rle.encode(values > (values.max(initial=0) >> 1))


def _tables(tables: Sequence[Path], root: Path, data: DataSet) -> Iterator[Json]:
    """The images of ``metadata.csv``, called by their folders."""
    for path in tables:
        found: list[Json] = []
        size = None
        try:
            rows = list(csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines()))
        except (OSError, ValueError, csv.Error) as error:
            data.problems.append(f"{path}: {error}")
            continue
        for i, row in enumerate(rows, 1):
            try:
                mask = _mask(path.parent, name(int(row["id"])))
                size = size or (mask["size"][0], mask["size"][1])
                if tuple(mask["size"]) != size:
                    raise ValueError("its mask has another size than those before it")
                score = shapes.score_of(row.get("predicted_iou"), f"{path}, mask {i}", data)
                found.append(segment(row.get("label") or UNNAMED, mask, score=score))
            except (*id_map.DAMAGE, *shapes.BAD) as error:
                data.problems.append(f"{path}, mask {i}: {shapes.reason(error)}")
        if size is None:
            data.problems.append(f"{path}: has no mask, so that the size of its image is not known")
            continue
        stem = path.parent.relative_to(root).as_posix() if path.parent != root and root.is_dir() else path.parent.name
        yield scene(f"{stem}.png", size, found)
