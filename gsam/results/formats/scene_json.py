"""One picture as JSON: queries, and for each segment label, scores, box and mask as COCO RLE."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gsam.files import whole_file

if TYPE_CHECKING:
    from gsam.results.result import Result


def scene_dict(result: Result) -> dict[str, Any]:
    """What the JSON holds; segments are sorted by score, boxes are x0 y0 x1 y1 in pixels."""
    height, width = result.size
    segments = [
        {
            "label": result.labels[i],
            "label_id": int(result.label_ids[i]),
            "score": round(float(result.scores[i]), 5),
            "mask_score": round(float(result.mask_scores[i]), 5),
            "box": [round(float(v), 2) for v in result.xyxy[i]],
            "area": result.areas[i],
            "mask": result.rles[i],
        }
        for i in sorted(range(len(result)), key=lambda i: -float(result.scores[i]))
    ]
    return {
        "image": None if result.image is None else os.fsencode(result.image).decode("utf-8", "replace"),
        "width": width,
        "height": height,
        "pipeline": result.pipeline,
        "queries": list(result.queries),
        "segments": segments,
    }


def dumps(result: Result) -> str:
    """The JSON text on one line; any script is written as it is."""
    return _text(scene_dict(result))


def write(result: Result, path: Path) -> None:
    """The file, a segment a line, whole or not at all."""
    scene = scene_dict(result)
    segments = scene.pop("segments")
    lines = ",".join("\n  " + _text(segment) for segment in segments)
    with whole_file(path) as file:
        file.write(f'{_text(scene)[:-1]}, "segments": [{lines}{chr(10) * bool(lines)}]}}\n'.encode())


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
