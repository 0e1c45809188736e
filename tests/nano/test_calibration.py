"""The search on what was seen once gives what the pipeline itself gives."""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path

import jax
import numpy as np
import pytest

import gsam
from gsam.evaluation.matching import box_overlaps
from gsam.nano import calibration, heldout
from gsam.nano.calibration import QueryScores, SceneScores
from gsam.nano.names import LEAVES, QUERIES

ROOT = Path(__file__).parents[2]
NEGATIVES = ("background", "cat")
WORDS = ("cat", "dog", "background")
ONE = {"threshold": (0.3,), "nms": (0.5,), "duplicate": (1.0,), "weight": (0.5,), "reject": (0.1, 0.4)}


def scene_scores(
    names: list[str], detector: list[list[float]], classifier: list[list[float]], iou: list[list[float]]
) -> SceneScores:
    n = len(detector)
    boxes = np.array([[40 * i, 0, 40 * i + 20, 20] for i in range(n)], np.float32)
    arrays = [np.array(a, np.float32) for a in (detector, classifier, iou)]
    return SceneScores(
        boxes,
        box_overlaps(boxes, boxes),
        arrays[0],
        arrays[1],
        arrays[2].reshape(n, len(names)),
        np.zeros(n, bool),
        names,
    )


def test_a_question_renormalises_the_classifier() -> None:
    scene = scene_scores(["cat"], [[0.9, 0.1, 0.0]], [[0.2, 0.7, 0.1]], [[0.8]])
    alone = QueryScores.of(scene, WORDS, ["cat"], NEGATIVES)  # a negative that is asked for is no negative
    assert alone.classifier[0, 0] == pytest.approx(2 / 3)
    assert alone.right.tolist() == [[True]]
    other = QueryScores.of(scene, WORDS, ["dog"], NEGATIVES)
    assert other.classifier[0, 0] == pytest.approx(0.7)


def test_suppression_is_by_label_and_then_across_labels() -> None:
    scene = scene_scores(
        ["cat"], [[0.9, 0.1, 0.0], [0.8, 0.1, 0.0], [0.1, 0.7, 0.0]], [[0.3, 0.3, 0.4]] * 3, [[0.8]] * 3
    )
    queries = QueryScores.of(
        dataclasses.replace(scene, box_iou=np.ones((3, 3), np.float32)), WORDS, ["cat", "dog"], NEGATIVES
    )
    assert calibration.after_detector(queries, 0.3, 0.5).tolist() == [0, 2]
    assert calibration.after_detector(queries, 0.3, 0.5, 0.9).tolist() == [0]
    assert calibration.after_detector(queries, 0.75, 0.5).tolist() == [0]
    assert calibration.after_detector(queries, 0.95, 0.5).tolist() == []


def test_the_search_prefers_what_keeps_the_limit() -> None:
    good = QueryScores.of(
        scene_scores(["cat"], [[0.9, 0.1, 0.0]], [[0.9, 0.05, 0.05]], [[0.8]]), WORDS, ["cat", "dog"], NEGATIVES
    )
    lone = QueryScores.of(
        scene_scores(["cat"], [[0.9, 0.4, 0.0]], [[0.5, 0.4, 0.1]], [[0.8]]), WORDS, ["dog"], NEGATIVES
    )
    rows = calibration.search([good], [lone], [], 0.0, ONE | {"reject": (0.1, 0.5)})
    assert [r["reject"] for r in rows] == [0.5, 0.1]
    assert rows[0]["f1"] == 1.0
    assert [r["absent"] for r in rows] == [0.0, 1.0]


@pytest.mark.skipif(not (ROOT / "weights/nano/classifier.safetensors").is_file(), reason="weights/nano is empty")
@pytest.mark.parametrize("query", [list(LEAVES), ["dog"], ["car", "tree", "red apple"]], ids=["all", "one", "three"])
@pytest.mark.long
def test_it_is_what_the_pipeline_does(query: list[str]) -> None:
    settings = {"threshold": 0.15, "nms": 0.5, "duplicate": 0.6, "group": 1.0, "inside": 1.0, "reject": 0.02}
    with jax.numpy_dtype_promotion("standard"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = gsam.load("nano", device=jax.devices()[:1], boxes=32)
        stages = [*loaded.steps.values()]
        at = list(loaded.steps).index("classify")
        negatives = stages[at].negatives
        stages[at] = dataclasses.replace(stages[at], weight=0.35)
        pipe = gsam.Pipeline(*stages, limits=loaded.limits)
        words = list(dict.fromkeys([*QUERIES, *negatives]))
        score_scene = calibration.scene_scorer(pipe, words)
        for example in heldout.read(ROOT / "tests" / "data" / "heldout")[:3]:
            queries = QueryScores.of(score_scene(example), words, query, negatives)
            rows = calibration.after_detector(queries, 0.15, 0.5, 0.6)
            rows, score, label = calibration.after_classifier(queries, rows, 0.35, 0.5, 0.6)
            keep = score >= settings["reject"]
            result = pipe(example.rgb, query, **settings)
            assert result.labels == [query[i] for i in label[keep]]
            assert result.scores == pytest.approx(score[keep], abs=1e-4)
            assert result.xyxy == pytest.approx(queries.scene.xyxy[rows][keep], abs=1e-2)
