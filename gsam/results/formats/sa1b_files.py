"""Data sets in SA-1B's format: a JSON per image, its masks as run lengths.

SA-1B has no classes; ``label`` is kept beside its keys, as ``gsam everything`` writes it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from gsam.errors import UsageError
from gsam.results.formats import sa1b
from gsam.results.formats.dataset import DataSet, DataSetWriter, run_lengths, scene, segment
from gsam.results.formats.stems import Stems
from gsam.results.masks import rle
from gsam.types import Json, JsonMapping

UNNAMED = "object"
"""The label of a mask that has none."""


class Writer(DataSetWriter):
    """Writes ``<name>.json`` for each image; image ids count from 1.

    Readers of SA-1B want numbers: ``stability_score``, which nobody measured, is 0.0, and so is
    ``predicted_iou`` of a segment without a score, whose ``label_score`` is null.
    """

    def __init__(self, folder: Path, labels: Sequence[str] = ()) -> None:
        super().__init__(folder, labels)
        self._stems = Stems()
        self._count = 0

    def add(self, scene: JsonMapping) -> None:
        stem, name = self._stems.of(scene["image"])
        if self._stems.doubled:
            self.losses["images that differ in the suffix only: their files have the suffix too"] += 1
        self._count += 1
        width, height = scene["width"], scene["height"]
        annotations = []
        for number, found in enumerate(scene["segments"]):
            if found["mask"] is None:
                self.losses["boxes without a mask, which are filled"] += 1
            score = found.get("score")
            if score is None or not math.isfinite(score):
                self.losses["segments without a score: predicted_iou is 0.0, label_score null"] += 1
                score = None
            mask = run_lengths(found, (height, width))
            annotations.append(
                {
                    "id": number,
                    "segmentation": mask,
                    "bbox": _box(mask),
                    "area": rle.area(mask),
                    "predicted_iou": 0.0 if score is None else score,
                    "stability_score": 0.0,
                    "point_coords": [],
                    "crop_box": [0, 0, width, height],
                    "label": found["label"],
                    "label_score": score,
                }
            )
        image = {"image_id": self._count, "width": width, "height": height, "file_name": name}
        path = self.folder / f"{stem}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        sa1b.write({"image": image, "annotations": annotations}, path)


def read(path: Path) -> DataSet:
    """Read a file, or a folder of them with its folders.

    Args:
        path: Files of SA-1B, or what ``gsam everything`` wrote.

    Raises:
        UsageError: There is none (``format_unreadable``).
    """
    files = sorted(p for p in path.rglob("*.json") if not p.name.startswith(".")) if path.is_dir() else [path]
    files = [p for p in files if p.name != "coco.json"]
    if not files:
        raise UsageError(f"{path} has no JSON of images", "format_unreadable")
    return DataSet([], lambda data: _scenes(files, data))


def _scenes(files: Sequence[Path], data: DataSet) -> Iterator[Json]:
    for path in files:
        try:
            content = sa1b.read(path)
            image = content["image"]
            size = int(image["height"]), int(image["width"])
            name = str(image["file_name"])
        except (OSError, ValueError, LookupError, TypeError) as error:
            data.problems.append(f"{path}: {error}")
            continue
        found = []
        for entry in content["annotations"]:
            try:
                found.append(_segment(entry, size))
            except (ValueError, LookupError, TypeError) as error:
                data.problems.append(
                    f"{path}, annotation {entry.get('id') if isinstance(entry, dict) else '?'}: {error}"
                )
        yield scene(name, size, found)


def _segment(entry: JsonMapping, size: tuple[int, int]) -> Json:
    mask: rle.Rle = entry["segmentation"]
    rle.lengths(mask)
    if tuple(mask["size"]) != size:
        raise ValueError(f"its mask is {mask['size'][1]} x {mask['size'][0]}, the image {size[1]} x {size[0]}")
    mask = mask if isinstance(mask["counts"], str) else rle.compress(mask)
    score = entry.get("label_score", entry.get("predicted_iou"))
    known = isinstance(score, int | float) and math.isfinite(score)
    return segment(str(entry.get("label") or UNNAMED), mask, score=score if known else None)


def _box(mask: rle.Rle) -> list[int]:
    x0, y0, x1, y1 = rle.bounds(mask)
    return [x0, y0, x1 - x0, y1 - y0]
