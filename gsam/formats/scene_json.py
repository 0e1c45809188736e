"""One picture as JSON: queries, and for each segment label, scores, box and mask as COCO RLE."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gsam.formats.files import whole_file
from gsam.formats.rle import encode

if TYPE_CHECKING:
    from gsam.result import Result


def scene_dict(result: Result) -> dict[str, Any]:
    """What the JSON holds; segments are sorted by score, boxes are x0 y0 x1 y1 in pixels."""
    height, width = result.size
    segments = []
    masks = result.masks
    for i in sorted(range(len(result)), key=lambda i: -float(result.scores[i])):
        segments.append(
            {
                "label": result.labels[i],
                "label_id": int(result.label_ids[i]),
                "score": round(float(result.scores[i]), 5),
                "mask_score": round(float(result.mask_scores[i]), 5),
                "box": [round(float(v), 2) for v in result.xyxy[i]],
                "area": int(masks[i].sum()),
                "mask": encode(masks[i]),
            }
        )
    return {
        "image": result.image,
        "width": width,
        "height": height,
        "pipeline": result.pipeline,
        "queries": list(result.queries),
        "segments": segments,
    }


def dumps(result: Result, indent: int | None = None) -> str:
    """The JSON text; any script is written as it is."""
    return json.dumps(scene_dict(result), ensure_ascii=False, allow_nan=False, indent=indent)


def write(result: Result, path: Path) -> None:
    with whole_file(path) as file:
        file.write((dumps(result, indent=1) + "\n").encode())
