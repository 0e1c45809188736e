"""A PNG of object ids for each image, ``<name>.png``, and ``<name>.json`` with labels and scores.

Ids count from 1 in the order of the segments, 0 is background.  Up to 65,535 objects a pixel has 16
bits; with more it is red + 256 green + 65536 blue, as in COCO's panoptic maps.  A pixel has one id:
where masks overlap, the object with the higher score keeps it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from gsam.files import atomic_file
from gsam.results.formats import id_map, png_index
from gsam.results.formats.dataset import DataSet, DataSetWriter, mask_of
from gsam.results.formats.stems import Stems
from gsam.results.masks import rle
from gsam.types import Json, JsonMapping

KIND = "png_ids"
SHALLOW, DEEP = (1 << 16) - 1, (1 << 24) - 1
"""Highest ids of 16 bits, and of three colours."""


class Writer(DataSetWriter):
    """Writes the two files of each image; what it loses are pixels under another mask."""

    def __init__(self, folder: Path, labels: Sequence[str] = ()) -> None:
        super().__init__(folder, labels)
        self._stems = Stems()

    def add(self, scene: JsonMapping) -> None:
        stem, image = self._stems.of(scene["image"])
        segments = scene["segments"]
        ids = np.zeros((scene["height"], scene["width"]), np.uint32)
        for i in id_map.by_score(segments):
            mask = mask_of(segments[i])
            if mask is None:
                continue
            if i >= DEEP:
                self.losses[f"masks after object {DEEP} of an image"] += 1
                continue
            free = mask & (ids == 0)
            if free.sum() < mask.sum():
                self.losses["masks lose pixels that lie under masks with a higher score"] += 1
            ids[free] = i + 1
        if len(segments) <= SHALLOW:
            pixels = Image.fromarray(ids.astype(np.uint16))
        else:
            pixels = Image.fromarray((ids[..., None] >> np.array([0, 8, 16], np.uint32) & 255).astype(np.uint8))
        with atomic_file(self.folder / f"{stem}.png") as file:
            pixels.save(file, "PNG")
        entries = (
            {"id": i, **png_index.entry_of(found, self), **({"mask": None} if found["mask"] is None else {})}
            for i, found in enumerate(segments, 1)
        )
        png_index.write(self.folder / f"{stem}.json", KIND, image, scene, entries)


def read(path: Path) -> DataSet:
    """Read id maps with their indices.

    Args:
        path: The folder, or the JSON of an image.

    Raises:
        UsageError: There is no JSON (``format_unreadable``).
    """
    files = png_index.files_in(path, "*.json", KIND)
    return DataSet([], lambda data: png_index.scenes_of(files, KIND, _opened, data))


def _opened(path: Path, index: Json, data: DataSet) -> png_index.MaskOf:
    png = path.with_name(path.name.removesuffix(path.suffix) + ".png")
    ids = id_map.read(png, colours=True)
    if ids.shape != (index["height"], index["width"]):
        raise ValueError(f"its map is {ids.shape[1]} x {ids.shape[0]}, the image {index['width']} x {index['height']}")
    masks = id_map.split(ids)
    unknown = masks.keys() - {entry.get("id") for entry in index["segments"] if isinstance(entry, dict)}
    if unknown:
        data.problems.append(f"{png}: {len(unknown)} ids have no entry, {min(unknown)} the first")
    nothing = id_map.empty((ids.shape[0], ids.shape[1]))

    def mask(entry: JsonMapping) -> rle.Rle | None:
        number = entry["id"]
        return None if entry.get("mask", 0) is None else masks.get(number, nothing)

    return mask
