"""One image as JSON: queries, and for each segment label, scores, box and mask as COCO RLE."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gsam.files import atomic_file
from gsam.results.masks.rle import Rle
from gsam.types import Json, JsonMapping


def scene_dict(
    *,
    image: str | None,
    size: tuple[int, int],
    pipeline: str,
    queries: Sequence[str],
    labels: Sequence[str],
    label_ids: np.ndarray,
    scores: np.ndarray,
    mask_scores: np.ndarray,
    xyxy: np.ndarray,
    areas: Sequence[int],
    rles: Sequence[Rle],
    query_labels: Sequence[str] = (),
) -> Json:
    """Describe one image as the JSON does, its segments sorted by score.

    Args:
        image: The file's name, if there was one.
        size: Height and width of the image in pixels.
        pipeline: The name of the pipeline.
        queries: What was asked for.
        labels: [N] labels.
        label_ids: [N] int, rows of ``queries``.
        scores: [N] float in 0..1.
        mask_scores: [N] float, the segmenter's own estimate of its masks.
        xyxy: [N, 4] float boxes x0 y0 x1 y1 in pixels, exclusive right and bottom.
        areas: [N] pixels of each mask.
        rles: [N] masks as COCO run lengths.
        query_labels: The label of each of ``queries``, written where they are not the queries
            themselves.

    Returns:
        A dictionary of plain values that `json.dumps` writes.
    """
    height, width = size
    segments = [
        {
            "label": labels[i],
            "label_id": int(label_ids[i]),
            "score": round(float(scores[i]), 5),
            "mask_score": round(float(mask_scores[i]), 5),
            "box": [round(float(v), 2) for v in xyxy[i]],
            "area": areas[i],
            "mask": rles[i],
        }
        for i in np.argsort(-np.asarray(scores, np.float64), kind="stable")
    ]
    return {
        "image": None if image is None else os.fsencode(image).decode("utf-8", "replace"),
        "width": width,
        "height": height,
        "pipeline": pipeline,
        "queries": list(queries),
        **({"query_labels": list(query_labels)} if list(query_labels) not in ([], list(queries)) else {}),
        "segments": segments,
    }


def write(scene: JsonMapping, path: Path) -> None:
    """Write what `scene_dict` gave, one segment per line, whole or not at all."""
    head = {key: value for key, value in scene.items() if key != "segments"}
    lines = ",".join("\n  " + dumps(segment) for segment in scene["segments"])
    with atomic_file(path) as file:
        file.write(f'{dumps(head)[:-1]}, "segments": [{lines}{chr(10) * bool(lines)}]}}\n'.encode())


def dumps(value: Any) -> str:
    """Give the JSON text on one line; any script is written as it is."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
