"""Thresholds from a validation set: every model runs once a scene, and the settings are searched on what they said.

The names asked for only choose among scores that do not depend on one another (the detector's sigmoids) or that can be
made to sum to one again (the classifier's softmax), so one look with all words serves every query.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from gsam.evaluation.matching import Masks, covered, overlaps, pairs, table
from gsam.formats.lowres import LowResMasks
from gsam.pipeline import Pipeline
from gsam.types import Images, Labels, Params, Scene, Text

Floats = NDArray[np.float32]
NEGATIVE = "background"
TINY = np.float32(1e-37)
GRID: dict[str, tuple[float, ...]] = {
    "overlap": (0.4, 0.5, 0.6, 0.7),
    "threshold": (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55),
    "weight": (0.2, 0.35, 0.5, 0.65, 0.8),
    "reject": (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6),
}


@dataclasses.dataclass(frozen=True)
class Seen:
    """What the models say of one scene: K boxes, C words, M true things."""

    xyxy: Floats
    """[K, 4], best first."""
    detector: Floats
    """[K, C]."""
    classifier: Floats
    """[K, C], a softmax over all words."""
    iou: Floats
    """[K, M], of masks."""
    outside: NDArray[np.bool_]
    """[K]: lies mostly on what is ignored."""
    names: list[str]


@dataclasses.dataclass(frozen=True)
class Asked:
    """One question to one scene, and everything that does not depend on the settings."""

    seen: Seen
    columns: NDArray[np.int64]
    """Which words are asked for."""
    right: NDArray[np.bool_]
    """[asked, M]."""
    detector: Floats
    """[K, asked]."""
    classifier: Floats
    """[K, asked], a softmax over what is asked and the negative."""

    @classmethod
    def of(cls, seen: Seen, words: Sequence[str], query: Sequence[str]) -> Asked:
        columns = np.array([words.index(q) for q in query])
        chosen = seen.classifier[:, columns]
        against = seen.classifier[:, [words.index(NEGATIVE)]]
        share = chosen / (chosen.sum(1, keepdims=True) + against)
        return cls(seen, columns, table(seen.names, query), seen.detector[:, columns], share.astype(np.float32))


def watch(pipe: Pipeline, words: Sequence[str], floor: float = 0.08) -> Callable[[Any], Seen]:
    """A function from a scene (``rgb``, ``masks``, ``names``, ``ignored``) to `Seen`.

    ``pipe`` is a detector, a segmenter and a classifier; boxes that score below ``floor`` for every word are left out.
    """
    detect, segment, classify = (pipe.steps[role] for role in ("detect", "segment", "classify"))
    plain = dataclasses.replace(classify, weight=1.0)
    tokens = (detect.config.image_size // detect.config.patch) ** 2

    @jax.jit
    def program(params: dict[str, Params], images: Images, text: Text) -> tuple[jax.Array, ...]:
        boxes, labels = detect.detect(params["detect"], images, text.stages["detect"], text.valid, tokens)
        scene = Scene(images, text, boxes, Labels(labels.index, labels.score, labels.scores))
        masks = segment.segment(params["segment"], segment.features(params["segment"], images), images, boxes)
        named = plain.classify(params["classify"], scene, text.stages["classify"], text.valid).labels
        return boxes.xyxy, boxes.valid, labels.scores, named.scores, masks.logits

    def look(example: Any) -> Seen:
        images, text = pipe.prepare(example.rgb, list(words), reject=0.0)
        xyxy, valid, scores, named, logits = (np.asarray(a[0], np.float32) for a in program(pipe.params, images, text))
        scores, named = scores[:, : len(words)], named[:, : len(words)]
        rows = np.flatnonzero((valid > 0) & (scores.max(1) > floor))
        size, view = example.rgb.shape[:2], segment.view
        content = tuple(int(v) for v in np.asarray(images.content[view.key])[0])
        dense: Masks = LowResMasks(logits[rows], view.size, (content[0], content[1]), size).dense()
        return Seen(
            xyxy[rows],
            scores[rows],
            np.maximum(named[rows], TINY),
            overlaps(dense, example.masks),
            covered(dense, example.ignored) > 0.5,
            list(example.names),
        )

    return look


def kept(asked: Asked, threshold: float, overlap: float, most: int = 32) -> NDArray[np.int64]:
    """The rows that the pipeline's suppression leaves, best first."""
    best, label = asked.detector.max(1), asked.detector.argmax(1)
    rows: list[int] = []
    for i in np.argsort(-best, kind="stable")[:most]:
        if best[i] <= threshold:
            break
        if not any(label[i] == label[j] and _iou(asked.seen.xyxy[i], asked.seen.xyxy[j]) > overlap for j in rows):
            rows.append(int(i))
    return np.array(rows, np.int64)


def final(asked: Asked, rows: NDArray[np.int64], weight: float) -> tuple[Floats, NDArray[np.int64]]:
    """Score and label (an index into what was asked) of rows, as the classifier gives them."""
    scores = asked.detector[rows] ** (1 - weight) * asked.classifier[rows] ** weight
    return scores.max(1), scores.argmax(1)


def search(
    everything: Sequence[Asked],
    absent: Sequence[Asked],
    unknown: Sequence[Asked],
    allowed: float = 0.08,
    grid: dict[str, tuple[float, ...]] = GRID,
) -> list[dict[str, float]]:
    """All settings of the grid, best first: F1 on ``everything``, among those that keep false segments a query on
    ``absent`` and on ``unknown`` to ``allowed``; the others follow, fewest false segments first.
    """
    truths = sum(len(a.seen.names) for a in everything)
    rows: list[dict[str, float]] = []
    for overlap, threshold in itertools.product(grid["overlap"], grid["threshold"]):
        left = [[kept(a, threshold, overlap) for a in group] for group in (everything, absent, unknown)]
        for weight in grid["weight"]:
            named = [final(a, r, weight) for a, r in zip(everything, left[0], strict=True)]
            wrong = [
                np.concatenate([np.zeros(0, np.float32), *(_judged(a, r, weight) for a, r in zip(g, r_, strict=True))])
                for g, r_ in ((absent, left[1]), (unknown, left[2]))
            ]
            for reject in grid["reject"]:
                hits, found = 0, 0
                for a, r, (score, label) in zip(everything, left[0], named, strict=True):
                    keep = score >= reject
                    chosen = r[keep]
                    matched = pairs(a.seen.iou[chosen], score[keep], a.right[label[keep]])
                    outside = a.seen.outside[chosen]
                    hits += len(matched)
                    found += len(chosen) - sum(
                        bool(outside[i]) for i in set(range(len(chosen))) - {i for i, _ in matched}
                    )
                false = [
                    float((w >= reject).sum()) / max(len(g), 1) for w, g in zip(wrong, (absent, unknown), strict=True)
                ]
                rows.append(
                    {"threshold": threshold, "overlap": overlap, "weight": weight, "reject": reject}
                    | {"f1": 2 * hits / max(found + truths, 1), "precision": hits / max(found, 1)}
                    | {"recall": hits / max(truths, 1), "absent": false[0], "unknown": false[1]}
                )
    return sorted(rows, key=lambda row: _order(row, allowed))


def questions(
    seen: Iterable[Seen],
    words: Sequence[str],
    leaves: Sequence[str],
    unknown: Sequence[str],
    seed: int = 0,
    each: int = 8,
) -> tuple[list[Asked], list[Asked], list[Asked]]:
    """For every scene: all leaves at once; ``each`` leaves that are not there, alone; every unknown word, alone."""
    rng = np.random.default_rng(seed)
    everything, absent, strange = [], [], []
    for s in seen:
        nouns = {n.split()[-1] for n in s.names}
        free = [leaf for leaf in leaves if leaf.split()[-1] not in nouns]
        everything.append(Asked.of(s, words, leaves))
        absent += [Asked.of(s, words, [free[i]]) for i in rng.permutation(len(free))[:each]]
        strange += [Asked.of(s, words, [word]) for word in unknown]
    return everything, absent, strange


def _judged(asked: Asked, rows: NDArray[np.int64], weight: float) -> Floats:
    return final(asked, rows, weight)[0] if len(rows) else np.zeros(0, np.float32)


def _order(row: dict[str, float], allowed: float) -> tuple[float, float]:
    worst = max(row["absent"], row["unknown"])
    return (0.0, -row["f1"]) if worst <= allowed else (worst, -row["f1"])


def _iou(a: Floats, b: Floats) -> float:
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if w <= 0 or h <= 0:
        return 0.0
    return float(w * h / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - w * h))
