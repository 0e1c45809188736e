"""COCO instances JSON.  Masks are lossless run lengths with ``iscrowd`` 0, and scores are kept."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gsam.formats.files import whole_file
from gsam.formats.rle import encode

if TYPE_CHECKING:
    from gsam.result import Result


def coco_dict(results: Sequence[Result], names: Sequence[str] | None = None) -> dict[str, Any]:
    """Pictures, categories (one a label, in order of the queries) and annotations; boxes are x y width height.

    ``names``: file names to write, where the results' own are not unique.
    """
    labels = dict.fromkeys(label for r in results for label in r.labels)
    order = {label: i for i, label in enumerate(labels, 1)}
    images, annotations = [], []
    for image_id, result in enumerate(results, 1):
        height, width = result.size
        name = names[image_id - 1] if names else result.image or f"{image_id}.png"
        images.append({"id": image_id, "file_name": name, "width": width, "height": height})
        masks = result.masks
        for i, label in enumerate(result.labels):
            x0, y0, x1, y1 = (round(float(v), 2) for v in result.xyxy[i])
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": order[label],
                    "bbox": [x0, y0, round(x1 - x0, 2), round(y1 - y0, 2)],
                    "area": int(masks[i].sum()),
                    "segmentation": encode(masks[i]),
                    "iscrowd": 0,
                    "score": round(float(result.scores[i]), 5),
                }
            )
    categories = [{"id": i, "name": label, "supercategory": ""} for label, i in order.items()]
    return {"images": images, "categories": categories, "annotations": annotations}


def write(results: Sequence[Result], path: Path, names: Sequence[str] | None = None) -> None:
    with whole_file(path) as file:
        file.write(json.dumps(coco_dict(results, names), ensure_ascii=False, allow_nan=False).encode() + b"\n")
