"""Masks of an image in SA-1B's format: ``{"image": {...}, "annotations": [...]}``, COCO RLE."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gsam.files import atomic_file
from gsam.types import Json, JsonMapping

KEYS = ("segmentation", "bbox", "area", "predicted_iou", "stability_score", "point_coords", "crop_box")


def sa1b_dict(records: Sequence[JsonMapping], name: str, size: tuple[int, int], image_id: int = 0, **more: Any) -> Json:
    """Convert `gsam.MaskGenerator`'s records (``output_mode="coco_rle"``) of one image.

    ``size`` is the image's height and width.

    ``id`` counts from 0.  What the records hold beside the data set's keys (a label) is kept, and
    ``more`` is put on the top level.  A number that is none (the stability of an empty mask)
    becomes null.
    """
    annotations = []
    for i, record in enumerate(records):
        rest = {k: v for k, v in record.items() if k not in KEYS}
        annotations.append({"id": i, **{k: _number(record[k]) for k in KEYS}, **rest})
    image = {"image_id": image_id, "width": size[1], "height": size[0], "file_name": name}
    return {"image": image, **more, "annotations": annotations}


def dumps(scene: JsonMapping) -> str:
    """On one line."""
    return json.dumps(scene, ensure_ascii=False, allow_nan=False)


def write(scene: JsonMapping, path: Path) -> None:
    """The file, an annotation a line, whole or not at all."""
    head = dumps({k: v for k, v in scene.items() if k != "annotations"})
    lines = ",".join("\n  " + dumps(a) for a in scene["annotations"])
    with atomic_file(path) as file:
        file.write(f'{head[:-1]}, "annotations": [{lines}{chr(10) * bool(lines)}]}}\n'.encode())


def read(path: Path) -> Json:
    """Read a file of `write` or of the data set.  Raises `ValueError` for anything else."""
    scene: Any = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(scene, dict) or not {"image", "annotations"} <= scene.keys():
        raise ValueError(f"{path} has no image and annotations, it is not in SA-1B's format")
    return scene


def _number(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
