"""The automatic mask generator as its authors describe it: whole masks, loops, torch to upsample.

An oracle for `gsam.MaskGenerator`, which shares no code with it.  The model is a function, so that
both get the same logits.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn.functional import interpolate

Ask = Callable[..., tuple[np.ndarray, np.ndarray]]
"""A SAM: crop, points [P, 2] in its pixels, masks [P, h, w] or None, and multimask ->
logits [P, M, h, w], IoU [P, M]."""


@dataclasses.dataclass
class Options:
    points_per_side: int | None = 32
    points_per_batch: int = 64
    pred_iou_thresh: float = 0.88
    stability_score_thresh: float = 0.95
    stability_score_offset: float = 1.0
    box_nms_thresh: float = 0.7
    crop_n_layers: int = 0
    crop_nms_thresh: float = 0.7
    crop_overlap_ratio: float = 512 / 1500
    crop_n_points_downscale_factor: int = 1
    point_grids: list[Any] | None = None
    min_mask_region_area: int = 0
    output_mode: str = "binary_mask"
    mask_threshold: float = 0.0
    use_m2m: bool = False
    multimask_output: bool = True


def generate(image: np.ndarray, ask: Ask, side: int, way: str = "view", **given: Any) -> list[dict[str, Any]]:
    """The records of ``image`` [H, W, 3].  ``side``: of the model's square view."""
    options = Options(**given)
    height, width = image.shape[:2]
    boxes = crop_boxes(height, width, options)
    rows: list[dict[str, Any]] = []
    for box, layer in boxes:
        rows += one_crop(image, box, layer, ask, side, way, options)
    if len(boxes) > 1:
        area = [(r["crop"][2] - r["crop"][0]) * (r["crop"][3] - r["crop"][1]) for r in rows]
        rows = [rows[i] for i in suppress([r["box"] for r in rows], [1 / a for a in area], options.crop_nms_thresh)]
    if options.min_mask_region_area > 0:
        rows = small_regions(rows, options)
    return [record(r, options.output_mode) for r in rows]


def crop_boxes(height: int, width: int, options: Options) -> list[tuple[list[int], int]]:
    found = [([0, 0, width, height], 0)]
    for layer in range(options.crop_n_layers):
        n = 2 ** (layer + 1)
        overlap = int(options.crop_overlap_ratio * min(height, width) * (2 / n))
        w = math.ceil((overlap * (n - 1) + width) / n)
        h = math.ceil((overlap * (n - 1) + height) / n)
        for i in range(n):
            for j in range(n):
                x, y = int((w - overlap) * i), int((h - overlap) * j)
                box = [x, y, min(x + w, width), min(y + h, height)]
                if box[2] > box[0] and box[3] > box[1]:  # the original fails here
                    found.append((box, layer + 1))
    return found


def grid(options: Options, layer: int) -> np.ndarray:
    if options.point_grids is not None:
        return np.asarray(options.point_grids[layer], np.float64)
    n = int(options.points_per_side / options.crop_n_points_downscale_factor**layer)
    step = 1 / n
    return np.array([[step / 2 + x * step, step / 2 + y * step] for y in range(n) for x in range(n)])


def one_crop(
    image: np.ndarray, box: list[int], layer: int, ask: Ask, side: int, way: str, options: Options
) -> list[dict[str, Any]]:
    x0, y0, x1, y1 = box
    pixels = image[y0:y1, x0:x1]
    height, width = image.shape[:2]
    points = grid(options, layer) * [x1 - x0, y1 - y0]
    rows = []
    for start in range(0, len(points), options.points_per_batch):
        some = points[start : start + options.points_per_batch]
        logits, iou = ask(pixels, some, None, options.multimask_output)
        if options.use_m2m:
            again = [ask(pixels, some, np.clip(logits[:, m], -32, 32), False) for m in range(logits.shape[1])]
            logits = np.concatenate([a[0] for a in again], 1)
            iou = np.concatenate([a[1] for a in again], 1)
        for p in range(len(some)):
            for m in range(logits.shape[1]):
                row = one_mask(logits[p, m], float(iou[p, m]), pixels.shape[:2], side, way, options)
                if row is None:
                    continue
                row["box"] = [row["box"][0] + x0, row["box"][1] + y0, row["box"][2] + x0, row["box"][3] + y0]
                if near_edge(row["box"], box, [0, 0, width, height]):
                    continue
                whole = np.zeros((height, width), bool)
                whole[y0:y1, x0:x1] = row["mask"]
                rows.append({**row, "mask": whole, "point": [some[p, 0] + x0, some[p, 1] + y0], "crop": box})
    return [rows[i] for i in suppress([r["box"] for r in rows], [r["iou"] for r in rows], options.box_nms_thresh)]


def one_mask(
    low: np.ndarray, iou: float, size: tuple[int, int], side: int, way: str, options: Options
) -> dict[str, Any] | None:
    if options.pred_iou_thresh > 0 and not iou > options.pred_iou_thresh:
        return None
    full = enlarge(low, size, side, way)
    cut, offset = options.mask_threshold, options.stability_score_offset
    high, wide = int((full > cut + offset).sum()), int((full > cut - offset).sum())
    stability = float(np.float32(high) / np.float32(wide)) if wide else math.nan
    if options.stability_score_thresh > 0 and not stability >= options.stability_score_thresh:
        return None
    mask = full > cut
    return {"mask": mask, "box": outermost(mask), "iou": iou, "stability": stability}


def enlarge(low: np.ndarray, size: tuple[int, int], side: int, way: str) -> np.ndarray:
    x = torch.from_numpy(np.array(low, np.float32))[None, None]
    if way == "view":
        scale = side / max(size)
        content = [max(int(s * scale + 0.5), 1) for s in size]
        x = interpolate(x, (side, side), mode="bilinear", align_corners=False)[..., : content[0], : content[1]]
        return interpolate(x, size, mode="bilinear", align_corners=False)[0, 0].numpy()
    return interpolate(x, size, mode=way, align_corners=False)[0, 0].numpy()


def outermost(mask: np.ndarray) -> list[int]:
    ys, xs = np.nonzero(mask)
    return [int(xs.min()), int(ys.min()), int(xs.max()), int(ys.max())] if len(xs) else [0, 0, 0, 0]


def near_edge(box: list[int], crop: list[int], whole: list[int]) -> bool:
    return any(abs(box[k] - crop[k]) <= 20 and not abs(box[k] - whole[k]) <= 20 for k in range(4))


def suppress(boxes: list[list[int]], scores: list[float], threshold: float) -> list[int]:
    order = sorted(range(len(boxes)), key=lambda i: -np.float32(scores[i]))  # stable
    kept: list[int] = []
    for i in order:
        if all(not overlap(boxes[i], boxes[k]) > threshold for k in kept):
            kept.append(i)
    return kept


def overlap(a: list[int], b: list[int]) -> float:
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(w, 0) * max(h, 0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return float(np.float32(shared) / np.float32(union)) if union else math.nan


def small_regions(rows: list[dict[str, Any]], options: Options) -> list[dict[str, Any]]:
    new, scores = [], []
    for row in rows:
        mask, a = without(row["mask"], options.min_mask_region_area, holes=True)
        mask, b = without(mask, options.min_mask_region_area, holes=False)
        changed = a or b
        new.append({**row, "mask": mask, "box": outermost(mask)} if changed else row)
        scores.append(0.0 if changed else 1.0)
    threshold = max(options.box_nms_thresh, options.crop_nms_thresh)
    return [new[i] for i in suppress([outermost(r["mask"]) for r in new], scores, threshold)]


def without(mask: np.ndarray, least: int, holes: bool) -> tuple[np.ndarray, bool]:
    parts = components(~mask if holes else mask)
    small = [p for p in parts if len(p) < least]
    if not small:
        return mask, False
    out = mask.copy()
    for part in small:
        for y, x in part:
            out[y, x] = holes
    if not holes and len(small) == len(parts):
        for y, x in max(parts, key=len):
            out[y, x] = True
    return out, True


def components(mask: np.ndarray) -> list[list[tuple[int, int]]]:
    """Pixels that hang together by sides or corners, by flooding, in reading order."""
    seen, found = np.zeros_like(mask), []
    for y, x in zip(*np.nonzero(mask), strict=True):
        if seen[y, x]:
            continue
        seen[y, x] = True
        part, todo = [], [(int(y), int(x))]
        while todo:
            r, c = todo.pop()
            part.append((r, c))
            for i in range(max(r - 1, 0), min(r + 2, mask.shape[0])):
                for j in range(max(c - 1, 0), min(c + 2, mask.shape[1])):
                    if mask[i, j] and not seen[i, j]:
                        seen[i, j] = True
                        todo.append((i, j))
        found.append(part)
    return found


def record(row: dict[str, Any], mode: str) -> dict[str, Any]:
    mask: np.ndarray = row["mask"]
    counts: list[int] = []
    last, run = False, 0
    for value in mask.T.reshape(-1).tolist():
        if value != last:
            counts.append(run)
            last, run = value, 0
        run += 1
    counts.append(run)
    rle = {"size": list(mask.shape), "counts": counts}
    if mode == "coco_rle":
        from pycocotools import mask as coco

        short = coco.frPyObjects(rle, *mask.shape)
        rle = {"size": list(mask.shape), "counts": short["counts"].decode("utf-8")}
    box, crop = row["box"], row["crop"]
    return {
        "segmentation": mask if mode == "binary_mask" else rle,
        "area": int(mask.sum()),
        "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
        "predicted_iou": row["iou"],
        "point_coords": [list(row["point"])],
        "stability_score": row["stability"],
        "crop_box": [crop[0], crop[1], crop[2] - crop[0], crop[3] - crop[1]],
    }
