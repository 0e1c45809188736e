"""Compares what was read of a data set with what was written."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from benchmarks.harness import format_pixels as pixels
from benchmarks.harness.format_readers import Found, image, segment

NEAR = 0.01
"""Pixels by which a box may differ."""
FIELDS = ("objects", "label", "mask", "box", "score")
TOLD = {
    "objects": "mask|box|segment|object|part|pixel",
    "label": "label|class|name|character",
    "mask": "mask|pixel|part|crowd|object|hole|brush",
    "box": "box|bound|pixel",
    "score": "score",
}
"""By which words a writer's counted loss is one of a field."""


@dataclasses.dataclass(frozen=True)
class Fate:
    """Outcome for a field: of all objects of a case, or the worst of them."""

    text: str = ""
    """Empty: exact."""
    share: float = 1.0
    """1: exact, 0: lost."""


Fates = Mapping[str, Fate]


def written(scenes: Iterable[Mapping[str, Any]]) -> list[Found]:
    """What was written, as readers describe it."""
    found = []
    for one in scenes:
        rows = [
            segment(s["label"], s["mask"] and pixels.coco_runs(s["mask"]["counts"]), s["box"], s["score"])
            for s in one["segments"]
        ]
        found.append(image(one["image"], rows))
    return found


def compare(truth: Sequence[Found], found: Sequence[Found], gives: Sequence[str]) -> Fates:
    """Compare images.

    Args:
        truth: What was written.
        found: What was read.  Images are known by their names without folder and suffix, or where
            all names are new, as in videos, by their order.
        gives: Fields that the reader reads; the others are not judged.

    Returns:
        By field.  Scores are judged where there were any, and of masks that are not empty those
        boxes that the reader gives.
    """
    stems = [PurePosixPath(one["image"]).stem for one in truth]
    by_stem = {PurePosixPath(one["image"]).stem: one["segments"] for one in found}
    if not by_stem.keys() & set(stems):
        by_stem = dict(zip(stems, (one["segments"] for one in found), strict=False))
    pairs: list[tuple[Found, Found | None]] = []
    extra = 0
    for one in truth:
        left = list(by_stem.get(PurePosixPath(one["image"]).stem, ()))
        for true in one["segments"]:
            best = _most_like(true, left)
            pairs.append((true, None if best is None else left.pop(best)))
        extra += len(left)
    fates = {"objects": _objects(pairs, extra)}
    met = [(true, seen) for true, seen in pairs if seen is not None]
    if not met:
        return fates
    if "label" in gives:
        wrong = sum(true["label"] != seen["label"] for true, seen in met)
        first = next((seen["label"] for true, seen in met if true["label"] != seen["label"]), None)
        counted = f"label reads {first!r}" if len(met) == 1 else f"{wrong} of {len(met)} labels lost"
        fates["label"] = Fate(counted, 1 - wrong / len(met)) if wrong else Fate()
    if "mask" in gives and (masks := [(t["runs"], s["runs"]) for t, s in met if t["runs"]]):
        fates["mask"] = _masks(masks)
    boxes = [(t["box"], s["box"]) for t, s in met if not t["runs"] or (s["box"] and sum(t["runs"][1::2]))]
    if "box" in gives and boxes:
        fates["box"] = _boxes(boxes)
    if "score" in gives and (scores := [(t["score"], s["score"]) for t, s in met if t["score"] is not None]):
        kept = all(s is not None and abs(s - t) < 1e-5 for t, s in scores)
        fates["score"] = Fate() if kept else Fate("score lost", 0)
    return fates


def _most_like(true: Found, left: Sequence[Found]) -> int | None:
    """The object of the same label, or of any, that is most where the true one is."""
    same = [i for i, seen in enumerate(left) if seen["label"] == true["label"]]
    if len(same) == 1:
        return same[0]
    likeness = {i: _likeness(true, left[i]) for i in same or range(len(left))}
    best = max(likeness, key=lambda i: likeness[i], default=None)
    return best if same or (best is not None and likeness[best] > 0) else None


def _likeness(true: Found, seen: Found) -> float:
    if true["runs"] and seen["runs"]:
        return pixels.overlap(true["runs"], seen["runs"])
    if true["box"] and seen["box"]:
        return 1 / (1 + max(abs(a - b) for a, b in zip(true["box"], seen["box"], strict=True)))
    return 0.0


def _objects(pairs: Sequence[tuple[Found, Found | None]], extra: int) -> Fate:
    lost = sum(seen is None for _, seen in pairs)
    texts = [] if not lost else ["lost"] if lost == len(pairs) else [f"{lost} of {len(pairs)} lost"]
    texts += [f"{extra} more objects"] if extra else []
    return Fate(", ".join(texts), 1 - lost / len(pairs) - (0.01 if extra else 0))


def _masks(masks: Sequence[tuple[list[int], list[int] | None]]) -> Fate:
    worst = min(0.0 if seen is None else pixels.overlap(true, seen) for true, seen in masks)
    if worst == 1:
        return Fate()
    gone = sum(seen is None for _, seen in masks)
    text = f"IoU {min(worst, 0.999):.3f}" if not gone else "mask lost" if gone == len(masks) else f"{gone} masks lost"
    return Fate(text, worst)


def _boxes(boxes: Sequence[tuple[list[float], list[float] | None]]) -> Fate:
    if any(seen is None for _, seen in boxes):
        return Fate("box lost", 0)
    off = max(abs(a - b) for true, seen in boxes for a, b in zip(true, seen or (), strict=True))
    return Fate() if off <= NEAR else Fate(f"box off {off:.2g} px", 1 / (1 + off))


def best(all_fates: Iterable[Fates]) -> Fates:
    """The best that any of several readers read, field by field."""
    found: dict[str, Fate] = {}
    for fates in all_fates:
        for field, fate in fates.items():
            found[field] = max(found.get(field, fate), fate, key=lambda f: f.share)
    return found


def cell(fates: Fates, told: Sequence[str] = (), *, judged: bool = True, all_told: bool = False) -> str:
    """Write what survived.

    Args:
        fates: By field; empty where nothing was read.
        told: What the writer counted as lost.
        judged: Call a loss of which nobody told a failure.
        all_told: Take every loss as told.

    Returns:
        ``exact``, or what did not survive, with ``(told)`` or in front of it ``FAIL:``.
    """
    texts = []
    for field in FIELDS:
        if not (fate := fates.get(field, Fate())).text:
            continue
        if all_told or any(re.search(TOLD[field], text) for text in told):
            texts.append(f"{fate.text} (told)")
        else:
            texts.append(f"FAIL: {fate.text}" if judged else fate.text)
    return "; ".join(texts) or "exact"
