"""The score of open-vocabulary segmentation, cgF1: is it there, and where."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from gsam.evaluation.compared import Compared, score_of
from gsam.results.formats.dataset import run_lengths
from gsam.results.masks import rle
from gsam.types import JsonMapping

SURE = 0.5
"""Segments of a lower score do not count."""
IOUS = np.linspace(0.5, 0.95, 10)


@dataclasses.dataclass(frozen=True)
class OpenVocabulary:
    """The score and its two factors; NaN where nothing is to be judged."""

    cgf1: float
    """100 ``pmf1 mcc``."""
    pmf1: float
    """Localisation: F1 of segments, where the class is there; 0..1."""
    mcc: float
    """Presence: Matthews' correlation of "found" and "there" over images and classes; -1..1."""


def open_vocabulary(compared: Compared, threshold: float = SURE) -> OpenVocabulary:
    """Compute cgF1, the classification-gated F1 of SA-Co.

    Source: Carion et al., "SAM 3: Segment Anything with Concepts", 2025 (arXiv 2511.16719), and
    ``sam3/eval/cgf1_eval.py`` of facebookresearch/sam3, whose numbers these are to 1e-4. Every pair
    of an image and a class is asked, of LVIS those that its lists know all about. Over the pairs
    whose class is there, segments are assigned to true ones so that the sum of IoU is largest, and
    counted at IoU 0.5, 0.55 .. 0.95: ``pmf1``, the positive micro-F1, is the mean of the ten F1 of
    all counts together. ``mcc``, the image-level one, is Matthews' correlation coefficient, over
    all pairs, of something having been found with something being there. The score is their
    product, times 100.

    True crowds are no segments. Where every pair has its class, or none has, presence cannot be
    judged and the score is NaN; SA-Co's program says 0. That program also takes several truths of
    a pair, of which the best counts; here there is one.

    Args:
        compared: The two data sets.
        threshold: Segments of a lower score do not count.
    """
    hits = np.zeros(len(IOUS))
    segments = 0
    table = np.zeros((2, 2), np.int64)
    for image in compared.images:
        true = _by_label([s for s in image.true if not s.get("crowd")])
        found = _by_label([s for s in image.found if score_of(s) >= threshold])
        for label in image.whole(compared.labels):
            mine, theirs = found.get(label, []), true.get(label, [])
            table[int(bool(theirs)), int(bool(mine))] += 1
            if theirs:
                segments += len(theirs) + len(mine)
                hits += _hits(mine, theirs, image.size)
    f1 = float((2 * hits / segments).mean()) if segments else float("nan")
    mcc = _matthews(table)
    return OpenVocabulary(100 * f1 * mcc, f1, mcc)


def _by_label(segments: Iterable[JsonMapping]) -> dict[str, list[JsonMapping]]:
    found: dict[str, list[JsonMapping]] = {}
    for segment in segments:
        found.setdefault(segment["label"], []).append(segment)
    return found


def _hits(found: Sequence[JsonMapping], true: Sequence[JsonMapping], size: tuple[int, int]) -> NDArray[np.float64]:
    """Pairs of an assignment that reach each of `IOUS`."""
    from scipy.optimize import linear_sum_assignment

    iou = rle.overlaps(*([run_lengths(s, size) for s in some] for some in (found, true)))
    chosen = iou[linear_sum_assignment(iou, maximize=True)]
    return np.asarray((chosen[:, None] >= IOUS).sum(0), float)


def _matthews(table: NDArray[np.int64]) -> float:
    """Correlate counts [there, found]; NaN where nothing or all is there, 0 where found."""
    (tn, fp), (fn, tp) = table.tolist()
    if tp + fn == 0 or tn + fp == 0:
        return float("nan")
    margins = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    return (tp * tn - fp * fn) / math.sqrt(margins) if margins else 0.0
