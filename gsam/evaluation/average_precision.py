"""COCO's average precision of masks and boxes, computed by pycocotools."""

from __future__ import annotations

import contextlib
import dataclasses
import io
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gsam.evaluation.compared import Compared, score_of
from gsam.results.formats.dataset import run_lengths
from gsam.results.masks import rle
from gsam.types import Json

NAMES = ("AP", "AP50", "AP75", "AP small", "AP medium", "AP large", "AR 1", "AR 10", "AR 100")
"""COCO's summary; areas are split at 32 and 96 pixels squared, 100 segments an image count."""


@dataclasses.dataclass(frozen=True)
class AveragePrecision:
    """The numbers of one kind, in 0..1; NaN where nothing is to be judged."""

    summary: Mapping[str, float]
    """By `NAMES`."""
    by_class: Mapping[str, float]
    """AP of each class."""
    precision: NDArray[np.float64]
    """[101, K]: at IoU 0.5 the precision at recalls of 0, 0.01 .. 1, by class."""


def average_precision(compared: Compared, kind: Literal["segm", "bbox"]) -> AveragePrecision:
    """Compute COCO's numbers.

    Args:
        compared: The two data sets.
        kind: ``"segm"`` for masks, ``"bbox"`` for boxes.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    numbers = {label: i + 1 for i, label in enumerate(compared.labels)}
    true, found = _entries(compared, numbers)
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints
        truth = COCO()
        truth.dataset = {
            "info": {},
            "images": [
                {"id": i, "height": image.size[0], "width": image.size[1]} for i, image in enumerate(compared.images, 1)
            ],
            "categories": [{"id": number, "name": label} for label, number in numbers.items()],
            "annotations": true,
        }
        truth.createIndex()
        if not found:
            nothing = dict.fromkeys(NAMES, 0.0 if true else np.nan)
            seen = {a["category_id"] for a in true}
            by_class = {label: 0.0 if number in seen else np.nan for label, number in numbers.items()}
            return AveragePrecision(nothing, by_class, np.zeros((101, len(numbers))))
        run = COCOeval(truth, truth.loadRes(found), kind)
        run.evaluate()
        run.accumulate()
        run.summarize()
    summary = {name: _number(value) for name, value in zip(NAMES, run.stats, strict=False)}
    precision: Any = run.eval["precision"][:, :, :, 0, 2]  # [IoU, recall, class]
    by_class = {label: _mean(precision[:, :, i]) for i, label in enumerate(numbers)}
    return AveragePrecision(summary, by_class, np.where(precision[0] < 0, np.nan, precision[0]))


def _entries(compared: Compared, numbers: Mapping[str, int]) -> tuple[list[Json], list[Json]]:
    true: list[Json] = []
    found: list[Json] = []
    for number, image in enumerate(compared.images, 1):
        for segments, entries in ((image.true, true), (image.found, found)):
            for segment in segments:
                mask = run_lengths(segment, image.size)
                x0, y0, x1, y1 = segment["box"]
                entries.append(
                    {
                        "id": len(entries) + 1,
                        "image_id": number,
                        "category_id": numbers[segment["label"]],
                        "segmentation": mask,
                        "bbox": [x0, y0, x1 - x0, y1 - y0],
                        "area": rle.area(mask),
                        "iscrowd": int(segment.get("crowd", False)),
                        "score": score_of(segment),
                    }
                )
    for entry in true:
        del entry["score"]
    return true, found


def _number(value: float) -> float:
    return float("nan") if value < 0 else float(value)


def _mean(values: NDArray[np.float64]) -> float:
    judged = values[values > -1]
    return float(judged.mean()) if len(judged) else float("nan")
