"""All numbers of a comparison, as plain values, as a table and as a picture."""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from gsam.evaluation.average_precision import AveragePrecision, average_precision
from gsam.evaluation.compared import Compared
from gsam.evaluation.open_vocabulary import OpenVocabulary, open_vocabulary
from gsam.evaluation.semantic import ClassIou, class_iou
from gsam.results.draw import curves
from gsam.types import Json


@dataclasses.dataclass(frozen=True)
class Report:
    """The numbers of two data sets beside each other."""

    compared: Compared
    masks: AveragePrecision
    boxes: AveragePrecision
    classes: Mapping[str, ClassIou]
    words: OpenVocabulary

    @classmethod
    def of(cls, compared: Compared, program: str | None = None) -> Report:
        """Compute them all.

        Args:
            compared: The two data sets.
            program: Computes AP, see `gsam.evaluation.average_precision.average_precision`.

        Raises:
            UsageError: As there.
        """
        return cls(
            compared,
            average_precision(compared, "segm", program),
            average_precision(compared, "bbox", program),
            class_iou(compared),
            open_vocabulary(compared),
        )

    def to_dict(self) -> Json:
        """Give the numbers as plain values for JSON; null where there is nothing to be judged."""
        counts = {side: self._counts(side) for side in ("true", "found")}
        classes = {
            label: {
                "true": counts["true"][label],
                "found": counts["found"][label],
                "mask AP": _plain(self.masks.by_class[label]),
                "box AP": _plain(self.boxes.by_class[label]),
                "IoU": _plain(self.classes[label].area),
                "boundary IoU": _plain(self.classes[label].boundary),
            }
            for label in self.compared.labels
        }
        return {
            "images": len(self.compared.images),
            "rules": "LVIS" if self.compared.frequencies else "COCO",
            "masks": {name: _plain(value) for name, value in self.masks.summary.items()},
            "boxes": {name: _plain(value) for name, value in self.boxes.summary.items()},
            "mIoU": _plain(_mean([c.area for c in self.classes.values()])),
            "boundary mIoU": _plain(_mean([c.boundary for c in self.classes.values()])),
            "cgF1": _plain(self.words.cgf1),
            "pmF1": _plain(self.words.pmf1),
            "MCC": _plain(self.words.mcc),
            "classes": classes,
        }

    def lines(self) -> list[str]:
        """Write the numbers as lines of text, those of classes in a table."""
        values = self.to_dict()
        wide = max([5, *(len(label) for label in self.compared.labels)])
        found = [f"{'':{max(wide, 14)}}   masks   boxes"]
        found += [
            f"{name:{max(wide, 14)}}  {_shown(values['masks'][name])}  {_shown(values['boxes'][name])}"
            for name in self.masks.summary
        ]
        found += [f"{name:{max(wide, 14)}}  {_shown(values[name])}" for name in ("mIoU", "boundary mIoU")]
        why = f"MCC {_shown(values['MCC']).strip()}"
        if values["MCC"] is None:
            why = "no MCC: it needs images with and without a class"
        found += [
            f"{'cgF1':{max(wide, 14)}}  {_shown(values['cgF1'], 1)}   (pmF1 {_shown(values['pmF1']).strip()}, {why})",
            "",
        ]
        columns = ("true", "found", "mask AP", "box AP", "IoU", "boundary IoU")
        found.append("  ".join([f"{'class':{wide}}", *(f"{name:>12}" for name in columns)]))
        for label, row in values["classes"].items():
            cells = [f"{row[n]:>12}" if n in ("true", "found") else f"{_shown(row[n]):>12}" for n in columns]
            found.append("  ".join([f"{label:{wide}}", *cells]))
        return found

    def curve(self) -> Image.Image:
        """Draw precision over recall of masks at IoU 0.5: all classes' mean, and each class."""
        precision = self.masks.precision
        judged = np.asarray(~np.isnan(precision).all(0))
        lines = {"mean": np.nan_to_num(precision[:, judged]).mean(1)} if judged.any() else {}
        lines |= {label: precision[:, i] for i, label in enumerate(self.compared.labels) if judged[i]}
        return curves.draw(lines, "masks, IoU 0.5")

    def _counts(self, side: str) -> collections.Counter[str]:
        return collections.Counter(s["label"] for image in self.compared.images for s in getattr(image, side))


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else float("nan")


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else round(float(value), 5)


def _shown(value: float | None, digits: int = 3) -> str:
    return f"{'-' if value is None else f'{value:.{digits}f}':>6}"
