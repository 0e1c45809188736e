"""Average precision and recall of a detector on held-out images, by class."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gsam.evaluation.average_precision import average_precision
from gsam.evaluation.compared import Compared, ComparedImage
from gsam.evaluation.matching import box_overlaps, mask_of_box, pairs
from gsam.ops.suppression import without_duplicates
from gsam.training.data.entries import Entry
from gsam.training.report import Case, Score
from gsam.types import Json

MOST, NMS = 100, 0.7
"""Boxes of an image that are scored; the IoU above which the better of two with one name stays."""
WORST = 10
"""Objects that are shown."""
CANDIDATES = 300
"""Boxes of an image before that."""


class Found(NamedTuple):
    """The boxes found in an image, best first."""

    xyxy: NDArray[np.float32]
    """[N, 4] pixels."""
    scores: NDArray[np.float32]
    """[N] in 0..1."""
    labels: NDArray[np.int32]
    """[N] index of the name."""


@dataclasses.dataclass(frozen=True)
class BoxScores:
    """Figures by class; under None those of all. NaN where there is nothing to judge."""

    counts: Mapping[str | None, int]
    """True objects."""
    ap50: Mapping[str | None, float]
    """COCO's average precision at IoU 0.5; the mean over classes for all."""
    recall: Mapping[str | None, float]
    """Share of the objects that one of the best 100 boxes of the image fits, with their name and an
    IoU of 0.5 or more."""
    threshold: float
    """The score above which F1 over all classes is best."""


def suppressed(found: Found) -> Found:
    """Keep the best of boxes of one name that overlap, and the best `MOST` of those."""
    order = np.argsort(-found.scores, kind="stable")
    xyxy, scores, labels = found.xyxy[order], found.scores[order], found.labels[order]
    same, valid = labels[:, None] == labels[None], np.ones(len(labels), bool)
    kept = np.flatnonzero(without_duplicates(box_overlaps(xyxy, xyxy), same, valid, NMS, 1.0))[:MOST]
    return Found(xyxy[kept], scores[kept], labels[kept])


def box_scores(names: Sequence[str], entries: Sequence[Entry], found: Sequence[Found]) -> BoxScores:
    """Score what was found.

    Args:
        names: The classes.
        entries: The images with the truth.
        found: What was found in each, before suppression.
    """
    images: list[ComparedImage] = []
    counts, hits = np.zeros(len(names), np.int64), np.zeros(len(names), np.int64)
    marks: list[tuple[float, bool]] = []
    for entry, raw in zip(entries, found, strict=True):
        kept = suppressed(raw)
        matches = _hits(entry, kept)
        right = {row for row, _ in matches}
        for _, column in matches:
            hits[entry.objects[column].label] += 1
        for one in entry.objects:
            counts[one.label] += not one.crowd
        marks += [(float(score), row in right) for row, score in enumerate(kept.scores)]
        true = [_segment(names, one.label, one.box, crowd=one.crowd) for one in entry.objects]
        guessed = [
            _segment(names, int(label), box.tolist(), score=float(score))
            for box, score, label in zip(*kept, strict=True)
        ]
        images.append(ComparedImage(entry.id, (entry.height, entry.width), true, guessed))
    curve = average_precision(Compared(list(names), images, (), ()), "bbox").precision  # [101, K]
    ap50 = [float(curve[:, k].mean()) if counts[k] else float("nan") for k in range(len(names))]
    recall = [float(hits[k] / counts[k]) if counts[k] else float("nan") for k in range(len(names))]
    judged = [value for value in ap50 if not np.isnan(value)]
    total = max(int(counts.sum()), 1)
    return BoxScores(
        {None: int(counts.sum()), **dict(zip(names, counts.tolist(), strict=True))},
        {None: float(np.mean(judged)) if judged else float("nan"), **dict(zip(names, ap50, strict=True))},
        {None: float(hits.sum() / total), **dict(zip(names, recall, strict=True))},
        best_threshold(marks, total),
    )


def best_threshold(marks: Sequence[tuple[float, bool]], objects: int) -> float:
    """Find the score from which on F1 is best.

    Args:
        marks: Score of each box that was found, and whether it is right.
        objects: Number of true objects.

    Returns:
        A little below the lowest score that is to be kept; 0 where nothing is right.
    """
    order = sorted(marks, reverse=True)
    if not order or not any(right for _, right in order):
        return 0.0
    right = np.cumsum([mark for _, mark in order])
    f1 = 2 * right / (np.arange(1, len(order) + 1) + objects)
    return float(np.floor(order[int(f1.argmax())][0] * 1000) / 1000)


def _hits(entry: Entry, found: Found) -> list[tuple[int, int]]:
    crowd = np.array([one.crowd for one in entry.objects], bool)
    iou = box_overlaps(found.xyxy, entry.boxes)
    return pairs(iou, found.scores, (found.labels[:, None] == entry.labels[None]) & ~crowd[None])


def _segment(names: Sequence[str], label: int, box: Sequence[float], **more: object) -> Json:
    x0, y0, x1, y1 = box
    return {"label": names[label], "box": [x0, y0, x1, y1], "area": (x1 - x0) * (y1 - y0), **more}


def class_scores(names: Sequence[str], before: BoxScores, after: BoxScores) -> list[Score]:
    """Put the figures of each class that has objects before and after training side by side."""
    figures = (("AP50", before.ap50, after.ap50), ("recall", before.recall, after.recall))
    return [
        Score(name, measure, after.counts[name], before=old[name], after=new[name])
        for name in names
        for measure, old, new in figures
        if after.counts[name]
    ]


def worst_boxes(
    names: Sequence[str], entries: Sequence[Entry], before: Sequence[Found], after: Sequence[Found], threshold: float
) -> list[Case]:
    """Show the objects that the tuned model fits worst, each by its best box with the right name.

    Args:
        names: The classes.
        entries: The held-out images.
        before: Found in each before training.
        after: Found in each after it.
        threshold: Boxes with a lower score are left out.
    """
    rows: list[tuple[float, int, int]] = []
    for image, (entry, found) in enumerate(zip(entries, after, strict=True)):
        for index, one in enumerate(entry.objects):
            if not one.crowd:
                rows.append((_best(entry, index, found, threshold)[0], image, index))
    cases: list[Case] = []
    for score, image, index in sorted(rows)[:WORST]:
        entry, one = entries[image], entries[image].objects[index]
        size = entry.height, entry.width
        old, new = (_best(entry, index, found[image], threshold) for found in (before, after))
        truth, was, now = (mask_of_box(box, size) for box in (one.box, old[1], new[1]))
        cases.append(Case(entry.id, entry.open(), truth, was, now, names[one.label], "IoU of boxes", old[0], score))
    return cases


def _best(entry: Entry, index: int, found: Found, threshold: float) -> tuple[float, NDArray[np.float32]]:
    """IoU of the best box with an object's name, and the box; an empty box for none."""
    one = entry.objects[index]
    kept = found.xyxy[(found.labels == one.label) & (found.scores >= threshold)]
    overlap = box_overlaps(kept, np.array([one.box], np.float32))[:, 0]
    if not len(kept) or overlap.max() <= 0:
        return 0.0, np.zeros(4, np.float32)
    return float(overlap.max()), kept[int(overlap.argmax())]
