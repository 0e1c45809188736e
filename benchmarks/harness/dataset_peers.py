"""Two ways in which people label folders now, written from their descriptions; the model is given.

The way of autodistill: the files of one ending, one at a time, all detections with their masks in
memory, YOLO polygons in the end.  The way of a Hugging Face pipeline over a list: one image at a
time, all results in a list, written in the end.  Neither package is used.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gsam.results.masks import rle
from gsam.results.masks.polygons import outlines
from gsam.results.result import Result

Model = Callable[[Any], Result]
"""Takes a path or a Pillow image."""


def by_detections(model: Model, folder: Path, ending: str, out: Path, labels: Sequence[str]) -> dict[str, float]:
    """Label a folder as autodistill does.

    Args:
        model: The model.
        folder: The folder of images.
        ending: The ending of the files, ``".jpg"``.
        out: The folder of YOLO's files; it must not exist.
        labels: The classes.

    Returns:
        Number of images and of objects, and seconds that writing in the end took.
    """
    held: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.glob(f"*{ending}")):
        result = model(str(path))
        held[path.name] = {
            "xyxy": result.xyxy, "mask": result.masks, "confidence": result.scores, "class_id": result.label_ids,
        }  # fmt: skip
    began = time.perf_counter()
    (out / "labels").mkdir(parents=True)
    for name, found in held.items():
        lines = []
        for mask, label in zip(found["mask"], found["class_id"], strict=True):
            scale = np.array([mask.shape[1], mask.shape[0]])
            for ring in _rings(mask):
                lines.append(f"{label} " + " ".join(f"{v:.5f}" for v in (ring / scale).ravel()))
        (out / "labels" / f"{Path(name).stem}.txt").write_text("\n".join(lines))
    (out / "data.yaml").write_text(f"names: {list(labels)}\nnc: {len(labels)}\ntrain: {out}\n")
    objects = sum(len(found["confidence"]) for found in held.values())
    return {"images": len(held), "objects": objects, "end": time.perf_counter() - began}


def by_list(model: Model, paths: Sequence[Path], out: Path) -> dict[str, float]:
    """Label files as with a Hugging Face pipeline over a list.

    Args:
        model: The model.
        paths: The files.
        out: The file of the results, a line of JSON each.

    Returns:
        As `by_detections`.
    """
    held: list[list[dict[str, Any]]] = []
    for path in paths:
        with Image.open(path) as image:
            result = model(image.convert("RGB"))
        boxes, scores = result.xyxy.tolist(), result.scores.tolist()
        rows = zip(result.labels, scores, boxes, result.masks, strict=True)
        held.append([{"label": a, "score": s, "box": b, "mask": m} for a, s, b, m in rows])
    began = time.perf_counter()
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("w") as file:
        for path, found in zip(paths, held, strict=True):
            rows_out = [{**one, "mask": rle.encode(one["mask"])} for one in found]
            file.write(json.dumps({"image": path.name, "segments": rows_out}) + "\n")
    return {"images": len(held), "objects": sum(map(len, held)), "end": time.perf_counter() - began}


def _rings(mask: np.ndarray) -> list[np.ndarray]:
    """Outlines of a mask by OpenCV, as supervision has them; by gsam where it is not installed."""
    try:
        import cv2
    except ImportError:
        return [ring for polygon in outlines(mask) for ring in polygon[:1]]
    found, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)
    return [ring[:, 0] for ring in found if len(ring) >= 3]
