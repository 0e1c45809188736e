"""Average precision of masks, written plainly from its definition, to compare programs with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
IOUS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)


class One(NamedTuple):
    """One class in one image."""

    true: Sequence[Mask]
    found: Sequence[tuple[float, Mask]]
    partly: bool = False
    """Whether what meets no true mask does not count."""


def iou(a: Mask, b: Mask) -> float:
    return float((a & b).sum() / max((a | b).sum(), 1))


def curves(images: Sequence[One], areas: tuple[float, float] = (0, 1e10)) -> NDArray[np.float64]:
    """[10, 101] precision by IoU and recall, of one class; NaN where there is nothing to find."""
    lines = []
    for least in IOUS:
        rows: list[tuple[float, bool]] = []
        count = 0
        for image in images:
            wanted = [areas[0] <= mask.sum() <= areas[1] for mask in image.true]
            count += sum(wanted)
            free = set(range(len(image.true)))
            for score, mask in sorted(image.found, key=lambda pair: -pair[0]):
                near = {i: iou(mask, image.true[i]) for i in free}
                near = {i: value for i, value in near.items() if value >= least}
                counted = {i: value for i, value in near.items() if wanted[i]}
                if near:
                    best = max(counted or near, key=near.__getitem__)
                    free.remove(best)
                    if wanted[best]:
                        rows.append((score, True))
                elif not image.partly and areas[0] <= mask.sum() <= areas[1]:
                    rows.append((score, False))
        if not count:
            return np.full((len(IOUS), len(RECALLS)), np.nan)
        rows.sort(key=lambda row: -row[0])
        hits = np.cumsum([hit for _, hit in rows])
        precision = hits / np.arange(1, len(rows) + 1)
        recall = hits / count
        lines.append([max((p for p, r in zip(precision, recall, strict=True) if r >= x), default=0.0) for x in RECALLS])
    return np.array(lines)


def mean_of(by_class: Mapping[str, NDArray[np.float64]]) -> float:
    values = [curve for curve in by_class.values() if not np.isnan(curve).any()]
    return float(np.mean(values)) if values else float("nan")
