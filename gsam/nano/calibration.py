"""Thresholds from a validation set: every model runs once a scene, and the settings are searched on what they said.

The names asked for only choose among scores that do not depend on one another (the detector's sigmoids) or that can be
made to sum to one again (the classifier's softmax), so one look with all words serves every query.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from gsam.evaluation.matching import Masks, covered, overlaps, pairs, table
from gsam.ops.suppression import without_duplicates
from gsam.pipeline import Pipeline
from gsam.results.masks.low_res import LowResMasks
from gsam.types import Images, Labels, Params, Scene, Text

Floats = NDArray[np.float32]
TINY = np.float32(1e-37)
GRID: dict[str, tuple[float, ...]] = {
    "nms": (0.3, 0.4, 0.5, 0.6, 0.7),
    "duplicate": (0.4, 0.5, 0.6, 0.7, 0.8, 1.0),
    "threshold": (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55),
    "weight": (0.0, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8),
    "reject": (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6),
}


@dataclasses.dataclass(frozen=True)
class Seen:
    """What the models say of one scene: K boxes, C words, M true things."""

    xyxy: Floats
    """[K, 4]."""
    near: Floats
    """[K, K], IoU of boxes."""
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
    right: NDArray[np.bool_]
    """[asked, M]."""
    detector: Floats
    """[K, asked]."""
    classifier: Floats
    """[K, asked], a softmax over what is asked and the negatives that may be used with it."""

    @classmethod
    def of(cls, seen: Seen, words: Sequence[str], query: Sequence[str], negatives: Sequence[str]) -> Asked:
        """``query`` and ``negatives`` are among ``words``, the C words that ``seen`` tells of."""
        asked = [set(q.split()) for q in query]
        others = [n for n in negatives if not any(set(n.split()) <= q or q <= set(n.split()) for q in asked)]
        columns, against = ([words.index(w) for w in group] for group in (query, others))
        chosen = seen.classifier[:, columns]
        share = chosen / (chosen.sum(1, keepdims=True) + seen.classifier[:, against].sum(1, keepdims=True))
        return cls(seen, table(seen.names, query), seen.detector[:, columns], share.astype(np.float32))


def watch(pipe: Pipeline, words: Sequence[str], floor: float = 0.05) -> Callable[[Any], Seen]:
    """A function from a scene (``rgb``, ``masks``, ``names``, ``ignored``) to `Seen`.

    ``pipe`` is a detector, a segmenter and a classifier; boxes that score below ``floor`` for every word are left out.
    """
    detect, segment, classify = (pipe.steps[role] for role in ("detect", "segment", "classify"))
    plain = dataclasses.replace(classify, weight=1.0)
    tokens = (detect.config.image_size // detect.config.patch) ** 2

    everything = dataclasses.replace(pipe.limits, reject=0.0).thresholds

    @jax.jit
    def program(params: dict[str, Params], images: Images, text: Text) -> tuple[jax.Array, ...]:
        boxes, labels = detect.detect(params["detect"], images, text.stages["detect"], text.valid, tokens)
        scene = Scene(images, text, everything, boxes, Labels(labels.index, labels.score, labels.scores))
        masks = segment.segment(params["segment"], segment.features(params["segment"], images), images, boxes)
        named = plain.classify(params["classify"], scene, text.stages["classify"], text.valid).labels
        return boxes.xyxy, boxes.valid, labels.scores, named.scores, masks.logits

    def look(example: Any) -> Seen:
        images, text = pipe.prepare(example.rgb, list(words))
        xyxy, valid, scores, named, logits = (np.asarray(a[0], np.float32) for a in program(pipe.params, images, text))
        scores, named = scores[:, : len(words)], named[:, : len(words)]
        rows = np.flatnonzero((valid > 0) & (scores.max(1) > floor))
        size, view = example.rgb.shape[:2], segment.view
        content = tuple(int(v) for v in np.asarray(images.content[view.key])[0])
        dense: Masks = LowResMasks(logits[rows], view.size, (content[0], content[1]), size).dense()
        return Seen(
            xyxy[rows],
            box_overlaps(xyxy[rows]),
            scores[rows],
            np.maximum(named[rows], TINY),
            overlaps(dense, example.masks),
            covered(dense, example.ignored) > 0.5,
            list(example.names),
        )

    return look


def kept(asked: Asked, threshold: float, overlap: float, duplicate: float = 1.0, most: int = 32) -> NDArray[np.int64]:
    """The rows that the pipeline's suppression leaves after the detector, best first."""
    best, label = asked.detector.max(1), asked.detector.argmax(1)
    rows = np.argsort(-best, kind="stable")[:most]
    return deduplicated(asked.seen.near, rows[best[rows] > threshold], label, overlap, duplicate)


def deduplicated(
    near: Floats, rows: NDArray[np.int64], label: NDArray[np.int64], overlap: float, duplicate: float
) -> NDArray[np.int64]:
    """`gsam.pipeline.suppress.deduplicate` on rows sorted best first; ``label`` is by row of ``near``."""
    same, valid = label[rows, None] == label[None, rows], np.ones(len(rows), bool)
    return rows[without_duplicates(near[np.ix_(rows, rows)], same, valid, overlap, duplicate)]


def final(
    asked: Asked, rows: NDArray[np.int64], weight: float, overlap: float, duplicate: float = 1.0
) -> tuple[NDArray[np.int64], Floats, NDArray[np.int64]]:
    """What the classifier leaves of rows, best first: rows, scores, and labels as indices into what was asked."""
    if not len(rows):
        return rows, np.zeros(0, np.float32), np.zeros(0, np.int64)
    scores = asked.detector[rows] ** (1 - weight) * asked.classifier[rows] ** weight
    score, label = np.zeros(len(asked.detector), np.float32), np.zeros(len(asked.detector), np.int64)
    score[rows], label[rows] = scores.max(1), scores.argmax(1)
    rows = rows[np.argsort(-score[rows], kind="stable")]
    rows = deduplicated(asked.seen.near, rows, label, overlap, duplicate)
    return rows, score[rows], label[rows]


def search(
    everything: Sequence[Asked],
    absent: Sequence[Asked],
    unknown: Sequence[Asked],
    allowed: float = 0.08,
    grid: Mapping[str, tuple[float, ...]] = GRID,
) -> list[dict[str, float]]:
    """All settings of the grid, best first: F1 on ``everything``, among those that keep false segments a query on
    ``absent`` and on ``unknown`` to ``allowed``; the others follow, fewest false segments first.
    """
    truths = sum(len(a.seen.names) for a in everything)
    groups = (everything, absent, unknown)
    found: list[dict[str, float]] = []
    for overlap, duplicate, threshold in itertools.product(grid["nms"], grid["duplicate"], grid["threshold"]):
        left = [[kept(a, threshold, overlap, duplicate) for a in group] for group in groups]
        for weight in grid["weight"]:
            named, *wrong = (
                [final(a, r, weight, overlap, duplicate) for a, r in zip(group, rows, strict=True)]
                for group, rows in zip(groups, left, strict=True)
            )
            scores = [np.concatenate([np.zeros(0, np.float32), *(s for _, s, _ in group)]) for group in wrong]
            for reject in grid["reject"]:
                hits, total = _hits(everything, named, reject)
                false = [float((s >= reject).sum()) / max(len(g), 1) for s, g in zip(scores, groups[1:], strict=True)]
                setting = {"threshold": threshold, "nms": overlap, "duplicate": duplicate, "reject": reject}
                found.append(
                    setting
                    | {"weight": weight, "f1": 2 * hits / max(total + truths, 1)}
                    | {"precision": hits / max(total, 1), "recall": hits / max(truths, 1)}
                    | {"absent": false[0], "unknown": false[1]}
                )
    return sorted(found, key=lambda row: _order(row, allowed))


def refined(best: Mapping[str, float], free: Sequence[str]) -> dict[str, tuple[float, ...]]:
    """A grid around a setting: all values of what is ``free``, and of the rest the setting's own and its neighbours."""
    grid = {}
    for key, values in GRID.items():
        at = values.index(best[key])
        grid[key] = values if key in free else values[max(at - 1, 0) : at + 2]
    return grid


def questions(
    seen: Iterable[Seen],
    words: Sequence[str],
    leaves: Sequence[str],
    unknown: Sequence[str],
    negatives: Sequence[str],
    seed: int = 0,
    each: int = 6,
) -> tuple[list[Asked], list[Asked], list[Asked]]:
    """For every scene: all leaves at once; ``each`` leaves that are not there, alone; half as many unknown words, alone."""
    rng = np.random.default_rng(seed)
    everything, absent, strange = [], [], []
    for s in seen:
        nouns = {n.split()[-1] for n in s.names}
        free = [leaf for leaf in leaves if leaf.split()[-1] not in nouns]
        everything.append(Asked.of(s, words, leaves, negatives))
        absent += [Asked.of(s, words, [free[i]], negatives) for i in rng.permutation(len(free))[:each]]
        some = rng.permutation(len(unknown))[: each // 2]
        strange += [Asked.of(s, words, [unknown[i]], negatives) for i in some]
    return everything, absent, strange


def box_overlaps(xyxy: Floats) -> Floats:
    """IoU of boxes [K, 4] with one another: [K, K]."""
    low, high = (f(xyxy[:, None], xyxy[None]) for f in (np.maximum, np.minimum))
    both = np.clip(high[..., 2:] - low[..., :2], 0, None).prod(-1)
    area = (xyxy[:, 2:] - xyxy[:, :2]).prod(-1)
    return np.asarray(both / np.maximum(area[:, None] + area[None] - both, 1e-9), np.float32)


def _hits(
    everything: Sequence[Asked], named: Iterable[tuple[NDArray[np.int64], Floats, NDArray[np.int64]]], reject: float
) -> tuple[int, int]:
    """Hits, and segments that count."""
    hits, total = 0, 0
    for a, (rows, score, label) in zip(everything, named, strict=True):
        keep = score >= reject
        chosen = rows[keep]
        matched = {i for i, _ in pairs(a.seen.iou[chosen], score[keep], a.right[label[keep]])}
        outside = sum(bool(a.seen.outside[row]) for i, row in enumerate(chosen) if i not in matched)
        hits += len(matched)
        total += len(chosen) - outside
    return hits, total


def _order(row: Mapping[str, float], allowed: float) -> tuple[float, float]:
    worst = max(row["absent"], row["unknown"])
    return (0.0, -row["f1"]) if worst <= allowed else (worst, -row["f1"])
