"""The masks that were found, small: boxes, scores and run lengths; duplicates dropped, records
made.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gsam.ops.grid import Rectangle
from gsam.predictors.automatic.measure import area, filled, outermost, run_lengths
from gsam.predictors.automatic.regions import clean
from gsam.predictors.automatic.settings import OutputMode
from gsam.results.masks.rle import Rle, compress
from gsam.types import Json

EDGE = 20.0
"""Pixels within which a box counts as touching an edge."""
Record = Json


@dataclasses.dataclass(frozen=True, eq=False)
class Candidates:
    """N masks of a picture."""

    boxes: NDArray[np.int64]
    """[N, 4] outermost pixels, inclusive, in the picture."""
    iou: NDArray[np.float32]
    """[N] as predicted."""
    stability: NDArray[np.float32]
    """[N]."""
    points: NDArray[np.float64]
    """[N, 2] x y that each was asked with."""
    crops: NDArray[np.int64]
    """[N, 4] of the crop that it was found in, exclusive."""
    counts: list[NDArray[np.int64]]
    """Run lengths at the size of the picture."""

    def __len__(self) -> int:
        return len(self.counts)

    def __getitem__(self, rows: NDArray[np.int64]) -> Candidates:
        return Candidates(
            self.boxes[rows],
            self.iou[rows],
            self.stability[rows],
            self.points[rows],
            self.crops[rows],
            [self.counts[i] for i in rows],
        )

    @classmethod
    def of(cls, parts: Sequence[Candidates]) -> Candidates:
        """Join the candidates of several parts of an image.

        Args:
            parts: Candidates, those of each crop for instance.

        Returns:
            All of them, in order.
        """
        return cls(
            np.concatenate([np.zeros((0, 4), np.int64), *(p.boxes for p in parts)]),
            np.concatenate([np.zeros(0, np.float32), *(p.iou for p in parts)]),
            np.concatenate([np.zeros(0, np.float32), *(p.stability for p in parts)]),
            np.concatenate([np.zeros((0, 2)), *(p.points for p in parts)]),
            np.concatenate([np.zeros((0, 4), np.int64), *(p.crops for p in parts)]),
            [c for p in parts for c in p.counts],
        )


def cut_off(box: Rectangle, crop: Rectangle, size: tuple[int, int]) -> bool:
    """Whether a box, in the picture, touches an edge of its crop that is no edge of the picture (h,
    w).
    """
    whole = (0, 0, size[1], size[0])
    return any(abs(b - c) <= EDGE and abs(b - w) > EDGE for b, c, w in zip(box, crop, whole, strict=True))


def nms(boxes: np.ndarray, scores: NDArray[np.float32], overlap: float) -> NDArray[np.int64]:
    """Rows that no better kept one overlaps by an IoU above ``overlap``, best first; equals stay in
    order.

    As torchvision's, in float32: two boxes without area overlap in nothing.
    """
    order = np.argsort(-scores, kind="stable")
    sorted_boxes = boxes.astype(np.float32)[order]
    x0, y0, x1, y1 = sorted_boxes.T
    size = (x1 - x0) * (y1 - y0)
    alive, kept = np.ones(len(order), bool), []
    for i in range(len(order)):
        if not alive[i]:
            continue
        kept.append(i)
        rest = i + 1 + np.flatnonzero(alive[i + 1 :])
        wide = np.maximum(np.minimum(x1[i], x1[rest]) - np.maximum(x0[i], x0[rest]), np.float32(0))
        high = np.maximum(np.minimum(y1[i], y1[rest]) - np.maximum(y0[i], y0[rest]), np.float32(0))
        shared = wide * high
        with np.errstate(invalid="ignore", divide="ignore"):
            alive[rest[shared / (size[i] + size[rest] - shared) > overlap]] = False
    return order[kept]


def prefer_small_crops(found: Candidates, overlap: float) -> Candidates:
    """Duplicates among crops dropped: of two, the one from the smaller crop stays."""
    x0, y0, x1, y1 = found.crops.T
    return found[nms(found.boxes, np.float32(1) / ((x1 - x0) * (y1 - y0)).astype(np.float32), overlap)]


def without_small_regions(found: Candidates, size: tuple[int, int], least: float, overlap: float) -> Candidates:
    """Every mask without small holes and islands, and no duplicates after that: those that did not
    change win.

    What changed gets a new box and new run lengths; its stability and predicted IoU stay those of
    the mask before.
    """
    boxes, counts = found.boxes.copy(), list(found.counts)
    same = np.ones(len(found), np.float32)
    for i, runs in enumerate(found.counts):
        mask, changed = clean(filled(runs, size), least)
        if changed:
            counts[i] = run_lengths(mask, (0, 0), size)
            boxes[i] = outermost(mask, (0, 0))
            same[i] = 0.0
    return dataclasses.replace(found, boxes=boxes, counts=counts)[nms(boxes, same, overlap)]


def records(found: Candidates, size: tuple[int, int], mode: OutputMode) -> list[Record]:
    """Make the records of SamAutomaticMaskGenerator: the same keys in the same order, boxes as x y
    width height.
    """
    return [
        {
            "segmentation": segmentation(found.counts[i], size, mode),
            "area": area(found.counts[i]),
            "bbox": _xywh(found.boxes[i]),
            "predicted_iou": float(found.iou[i]),
            "point_coords": [found.points[i].tolist()],
            "stability_score": float(found.stability[i]),
            "crop_box": _xywh(found.crops[i]),
        }
        for i in range(len(found))
    ]


def segmentation(counts: NDArray[np.int64], size: tuple[int, int], mode: OutputMode) -> NDArray[np.bool_] | Rle:
    """[H, W] bool, ``{"size", "counts": numbers}``, or the same with COCO's compressed text."""
    if mode == "binary_mask":
        return filled(counts, size)
    plain: Rle = {"size": list(size), "counts": counts.tolist()}
    if mode == "uncompressed_rle":
        return plain
    return compress(plain)


def _xywh(box: NDArray[np.int64]) -> list[int]:
    x0, y0, x1, y1 = box.tolist()
    return [x0, y0, x1 - x0, y1 - y0]
