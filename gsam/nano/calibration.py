"""Search thresholds on a validation set: every model runs once per scene, the settings are searched
on its scores.

The words of a query only choose among scores that do not depend on one another (the detector's
sigmoids) or that can be made to sum to one again (the classifier's softmax), so one look with all
words serves every query.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence

import jax
import numpy as np
from numpy.typing import NDArray

from gsam.evaluation.matching import Masks, box_overlaps, covered, overlaps, pairs, table
from gsam.nano.heldout import Example
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
class SceneScores:
    """Scores of K boxes in one scene for C words, and what they match of M true things."""

    xyxy: Floats
    """[K, 4]."""
    box_iou: Floats
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
class QueryScores:
    """The scores of one query on one scene: all that does not depend on the settings."""

    scene: SceneScores
    right: NDArray[np.bool_]
    """[queried, M]."""
    detector: Floats
    """[K, queried]."""
    classifier: Floats
    """[K, queried], a softmax over the queried words and the negatives that may be used with it."""

    @classmethod
    def of(
        cls, scene: SceneScores, words: Sequence[str], query: Sequence[str], negatives: Sequence[str]
    ) -> QueryScores:
        """``query`` and ``negatives`` are among ``words``, the C words that ``scene`` tells of."""
        queries = [set(q.split()) for q in query]
        others = [n for n in negatives if not any(set(n.split()) <= q or q <= set(n.split()) for q in queries)]
        columns, against = ([words.index(w) for w in group] for group in (query, others))
        chosen = scene.classifier[:, columns]
        share = chosen / (chosen.sum(1, keepdims=True) + scene.classifier[:, against].sum(1, keepdims=True))
        return cls(scene, table(scene.names, query), scene.detector[:, columns], share.astype(np.float32))


def scene_scorer(pipe: Pipeline, words: Sequence[str], floor: float = 0.05) -> Callable[[Example], SceneScores]:
    """A function from a scene (``rgb``, ``masks``, ``names``, ``ignored``) to `SceneScores`.

    ``pipe`` is a detector, a segmenter and a classifier; boxes that score below ``floor`` for every
    word are left out.
    """
    detect, segment, classify = (pipe.steps[role] for role in ("detect", "segment", "classify"))
    plain = dataclasses.replace(classify, weight=1.0)
    tokens = (detect.config.image_size // detect.config.patch) ** 2

    thresholds = dataclasses.replace(pipe.limits, reject=0.0).thresholds

    @jax.jit
    def program(params: dict[str, Params], images: Images, text: Text) -> tuple[jax.Array, ...]:
        boxes, labels = detect.detect(params["detect"], images, text.stages["detect"], text.valid, tokens)
        scene = Scene(images, text, thresholds, boxes, Labels(labels.index, labels.score, labels.scores))
        masks = segment.segment(params["segment"], segment.features(params["segment"], images), images, boxes)
        named = plain.classify(params["classify"], scene, text.stages["classify"], text.valid).labels
        return boxes.xyxy, boxes.valid, labels.scores, named.scores, masks.logits

    def score(example: Example) -> SceneScores:
        images, text = pipe.prepare(example.rgb, list(words))
        xyxy, valid, scores, named, logits = (np.asarray(a[0], np.float32) for a in program(pipe.params, images, text))
        scores, named = scores[:, : len(words)], named[:, : len(words)]
        rows = np.flatnonzero((valid > 0) & (scores.max(1) > floor))
        size, view = example.rgb.shape[:2], segment.view
        content = tuple(int(v) for v in np.asarray(images.content[view.key])[0])
        dense: Masks = LowResMasks(logits[rows], view.size, (content[0], content[1]), size).dense()
        return SceneScores(
            xyxy[rows],
            box_overlaps(xyxy[rows], xyxy[rows]),
            scores[rows],
            np.maximum(named[rows], TINY),
            overlaps(dense, example.masks),
            covered(dense, example.ignored) > 0.5,
            list(example.names),
        )

    return score


def after_detector(
    query: QueryScores, threshold: float, overlap: float, duplicate: float = 1.0, most: int = 32
) -> NDArray[np.int64]:
    """Rows that are left after the detector and its suppression, best first."""
    best, label = query.detector.max(1), query.detector.argmax(1)
    rows = np.argsort(-best, kind="stable")[:most]
    return deduplicated(query.scene.box_iou, rows[best[rows] > threshold], label, overlap, duplicate)


def deduplicated(
    box_iou: Floats, rows: NDArray[np.int64], label: NDArray[np.int64], overlap: float, duplicate: float
) -> NDArray[np.int64]:
    """`gsam.pipeline.suppress.deduplicate` on rows sorted best first; ``label`` is by row of
    ``box_iou``.
    """
    same, valid = label[rows, None] == label[None, rows], np.ones(len(rows), bool)
    return rows[without_duplicates(box_iou[np.ix_(rows, rows)], same, valid, overlap, duplicate)]


def after_classifier(
    query: QueryScores, rows: NDArray[np.int64], weight: float, overlap: float, duplicate: float = 1.0
) -> tuple[NDArray[np.int64], Floats, NDArray[np.int64]]:
    """Rows that are left after the classifier, best first, their scores, and their labels as
    indices into the query.
    """
    if not len(rows):
        return rows, np.zeros(0, np.float32), np.zeros(0, np.int64)
    scores = query.detector[rows] ** (1 - weight) * query.classifier[rows] ** weight
    score, label = np.zeros(len(query.detector), np.float32), np.zeros(len(query.detector), np.int64)
    score[rows], label[rows] = scores.max(1), scores.argmax(1)
    rows = rows[np.argsort(-score[rows], kind="stable")]
    rows = deduplicated(query.scene.box_iou, rows, label, overlap, duplicate)
    return rows, score[rows], label[rows]


def search(
    complete: Sequence[QueryScores],
    absent: Sequence[QueryScores],
    unknown: Sequence[QueryScores],
    allowed: float = 0.08,
    grid: Mapping[str, tuple[float, ...]] = GRID,
) -> list[dict[str, float]]:
    """All settings of the grid, best first: F1 on ``complete``, among those that keep false
    segments a query on ``absent`` and on ``unknown`` to ``allowed``; the others follow, fewest
    false segments first.
    """
    truths = sum(len(a.scene.names) for a in complete)
    groups = (complete, absent, unknown)
    rows_of_grid: list[dict[str, float]] = []
    for overlap, duplicate, threshold in itertools.product(grid["nms"], grid["duplicate"], grid["threshold"]):
        left = [[after_detector(a, threshold, overlap, duplicate) for a in group] for group in groups]
        for weight in grid["weight"]:
            named, *wrong = (
                [after_classifier(a, r, weight, overlap, duplicate) for a, r in zip(group, rows, strict=True)]
                for group, rows in zip(groups, left, strict=True)
            )
            scores = [np.concatenate([np.zeros(0, np.float32), *(s for _, s, _ in group)]) for group in wrong]
            for reject in grid["reject"]:
                hits, total = _hits(complete, named, reject)
                false = [float((s >= reject).sum()) / max(len(g), 1) for s, g in zip(scores, groups[1:], strict=True)]
                setting = {"threshold": threshold, "nms": overlap, "duplicate": duplicate, "reject": reject}
                rows_of_grid.append(
                    setting
                    | {"weight": weight, "f1": 2 * hits / max(total + truths, 1)}
                    | {"precision": hits / max(total, 1), "recall": hits / max(truths, 1)}
                    | {"absent": false[0], "unknown": false[1]}
                )
    return sorted(rows_of_grid, key=lambda row: _order(row, allowed))


def refined(best: Mapping[str, float], free: Sequence[str]) -> dict[str, tuple[float, ...]]:
    """A grid around a setting: all values of what is ``free``, and of the rest the setting's own
    and its neighbours.
    """
    grid = {}
    for key, values in GRID.items():
        at = values.index(best[key])
        grid[key] = values if key in free else values[max(at - 1, 0) : at + 2]
    return grid


def make_queries(
    scenes: Iterable[SceneScores],
    words: Sequence[str],
    leaves: Sequence[str],
    unknown: Sequence[str],
    negatives: Sequence[str],
    seed: int = 0,
    each: int = 6,
) -> tuple[list[QueryScores], list[QueryScores], list[QueryScores]]:
    """Query every scene: all leaves at once; ``each`` absent leaves, alone; half as many unknown
    words, alone.
    """
    rng = np.random.default_rng(seed)
    complete, absent, unknown_queries = [], [], []
    for s in scenes:
        nouns = {n.split()[-1] for n in s.names}
        free = [leaf for leaf in leaves if leaf.split()[-1] not in nouns]
        complete.append(QueryScores.of(s, words, leaves, negatives))
        absent += [QueryScores.of(s, words, [free[i]], negatives) for i in rng.permutation(len(free))[:each]]
        some = rng.permutation(len(unknown))[: each // 2]
        unknown_queries += [QueryScores.of(s, words, [unknown[i]], negatives) for i in some]
    return complete, absent, unknown_queries


def _hits(
    complete: Sequence[QueryScores], named: Iterable[tuple[NDArray[np.int64], Floats, NDArray[np.int64]]], reject: float
) -> tuple[int, int]:
    """Hits, and segments that count."""
    hits, total = 0, 0
    for a, (rows, score, label) in zip(complete, named, strict=True):
        keep = score >= reject
        chosen = rows[keep]
        matched = {i for i, _ in pairs(a.scene.iou[chosen], score[keep], a.right[label[keep]])}
        outside = sum(bool(a.scene.outside[row]) for i, row in enumerate(chosen) if i not in matched)
        hits += len(matched)
        total += len(chosen) - outside
    return hits, total


def _order(row: Mapping[str, float], allowed: float) -> tuple[float, float]:
    worst = max(row["absent"], row["unknown"])
    return (0.0, -row["f1"]) if worst <= allowed else (worst, -row["f1"])
