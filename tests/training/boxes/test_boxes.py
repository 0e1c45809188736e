"""True boxes in a detector's view, and the figures of what it finds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("optax")

from gsam.inputs.image import make_view
from gsam.training.boxes.scores import Found, best_threshold, box_scores, class_scores, suppressed, worst_boxes
from gsam.training.boxes.truth import in_view, mirrored, padded_count, truth_of
from gsam.training.data import Entry, Object
from gsam.training.matching import cell_centres
from gsam.types import View
from tests.helpers.shapes import NAMES, entries


@pytest.mark.parametrize("view", [View(64, "square", "gaussian", 127.5), View(64, "longest")])
def test_boxes_are_where_the_view_shows_them(view: View) -> None:
    pixels = np.zeros((90, 150, 3), np.uint8)
    pixels[30:60, 50:125] = 255
    seen = np.asarray(make_view(pixels, view))[..., 0] > 190
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    box = in_view(np.array([[50, 30, 125, 60]], np.float32), (90, 150), view)[0] * 64
    np.testing.assert_allclose(box, [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], atol=0.7)


def test_a_truth_leaves_out_crowds_and_what_has_no_area() -> None:
    boxes = np.array([[0, 0, 8, 8], [0, 0, 32, 64], [9, 9, 9, 20], [40, 40, 60, 60]], np.float32)
    labels, crowd = np.array([0, 1, 2, 3], np.int32), np.array([False, True, False, False])
    centres, view = cell_centres(4), View(64, "longest")
    found = truth_of(boxes, labels, crowd, (64, 64), view, centres, 4)
    assert found.labels.tolist() == [0, 3, -1, -1]
    np.testing.assert_allclose(found.boxes[1], np.array([40, 40, 60, 60]) / 64)
    assert found.ignored.reshape(4, 4).tolist() == [[True, True, False, False]] * 4
    assert truth_of(boxes, labels, crowd, (64, 64), view, centres, 1).labels.tolist() == [3]
    assert (padded_count(0), padded_count(4), padded_count(5)) == (4, 4, 8)
    assert mirrored(boxes[:1], 64).tolist() == [[56, 0, 64, 8]]


def test_figures_of_perfect_and_of_wrong_boxes(tmp_path: Path) -> None:
    images = entries(tmp_path, 3)
    crowd = Object(0, (0.0, 0.0, 30.0, 30.0), crowd=True)
    images[0] = Entry(images[0].id, images[0].path, 160, 160, (*images[0].objects, crowd))
    right = [found_of(entry) for entry in images]
    whole = box_scores(NAMES, images, right)
    assert (whole.ap50[None], whole.recall[None]) == (pytest.approx(1.0), 1.0)
    assert whole.counts[None] == sum(len(found.scores) for found in right)
    assert whole.threshold == pytest.approx(0.9, abs=2e-3)
    swapped = [Found(f.xyxy, f.scores, (f.labels + 1) % len(NAMES)) for f in right]
    none = box_scores(NAMES, images, swapped)
    assert none.recall[None] < 0.5
    scores = class_scores(NAMES, none, whole)
    assert {(s.prompt, round(s.after, 6)) for s in scores} == {("AP50", 1.0), ("recall", 1.0)}
    assert {s.label for s in scores} == {NAMES[one.label] for e in images for one in e.objects if not one.crowd}
    cases = worst_boxes(NAMES, images, swapped, right, 0.5)
    assert {case.after_score for case in cases} == {1.0}
    assert all(case.after is not None and (case.after == case.truth).all() for case in cases)


def found_of(entry: Entry) -> Found:
    real = [i for i, one in enumerate(entry.objects) if not one.crowd]
    return Found(entry.boxes[real], np.full(len(real), 0.9, np.float32), entry.labels[real])


def test_the_better_of_two_boxes_with_one_name_stays() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 9], [20, 20, 30, 30]], np.float32)
    kept = suppressed(Found(boxes, np.array([0.5, 0.9, 0.4, 0.1], np.float32), np.array([0, 0, 1, 0], np.int32)))
    assert kept.scores.tolist() == pytest.approx([0.9, 0.4, 0.1])


def test_the_best_threshold() -> None:
    assert best_threshold([(0.9, True), (0.8, False), (0.7, True), (0.2, False)], 2) == pytest.approx(0.7)
    assert best_threshold([(0.9, False)], 2) == best_threshold([], 2) == 0.0
