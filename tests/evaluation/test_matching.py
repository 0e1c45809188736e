"""Matching on cases whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from gsam.evaluation.matching import Tally, covered, mask_of_box, noun, overlaps, pairs
from gsam.ops.bounds import bounds

SIZE = (20, 30)


def boxes(*corners: tuple[int, int, int, int]) -> np.ndarray:
    return np.stack([mask_of_box(np.array(c), SIZE) for c in corners]) if corners else np.zeros((0, *SIZE), bool)


def scores(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


LEFT, MIDDLE, FAR = (0, 0, 8, 8), (10, 0, 18, 8), (20, 10, 29, 19)


def test_nothing_found_and_nothing_there() -> None:
    tally = Tally()
    assert tally.add(boxes(), [], scores(), boxes(), []) == []
    report = tally.report()
    assert report["scenes"] == 1
    assert report["hits"] == report["false"] == report["missed"] == 0
    assert report["f1"] == report["mask_iou"] == report["right_label"] == 0.0


def test_perfect() -> None:
    tally = Tally()
    hits = tally.add(boxes(LEFT, FAR), ["cat", "dog"], scores(0.4, 0.9), boxes(FAR, LEFT), ["dog", "cat"])
    assert sorted(hits) == [(0, 1), (1, 0)]
    report = tally.report()
    assert report["precision"] == report["recall"] == report["f1"] == report["right_label"] == 1.0
    assert report["mask_iou"] == report["filled_found_box_iou"] == report["filled_true_box_iou"] == 1.0


def test_only_found_or_only_there() -> None:
    tally = Tally()
    tally.add(boxes(LEFT), ["cat"], scores(0.5), boxes(), [])
    tally.add(boxes(), [], scores(), boxes(LEFT, FAR), ["cat", "dog"])
    assert tally.names == {"cat": [0, 1, 1], "dog": [0, 0, 1]}
    assert tally.report()["f1"] == 0.0


def test_a_wrong_label_is_false_and_missed_but_found() -> None:
    tally = Tally()
    tally.add(boxes(LEFT, FAR), ["cow", "dog"], scores(0.9, 0.8), boxes(LEFT, FAR), ["cat", "dog"])
    report = tally.report()
    assert (report["hits"], report["false"], report["missed"]) == (1, 1, 1)
    assert report["right_label"] == 0.5
    assert report["names"]["cow"]["false"] == report["names"]["cat"]["missed"] == 1


def test_a_duplicate_is_false() -> None:
    tally = Tally()
    hits = tally.add(boxes(LEFT, LEFT), ["cat", "cat"], scores(0.6, 0.7), boxes(LEFT), ["cat"])
    assert hits == [(1, 0)]
    assert tally.names == {"cat": [1, 1, 0]}


def test_a_label_that_is_right_passes_over_a_better_score_that_is_wrong() -> None:
    tally = Tally()
    hits = tally.add(boxes(LEFT, LEFT), ["cow", "cat"], scores(0.9, 0.3), boxes(LEFT), ["cat"])
    assert hits == [(1, 0)]
    assert tally.report()["right_label"] == 0.0


def test_too_little_overlap() -> None:
    assert overlaps(boxes((0, 0, 8, 8)), boxes((4, 0, 12, 8)))[0, 0] == pytest.approx(1 / 3)
    tally = Tally()
    assert tally.add(boxes((0, 0, 8, 8)), ["cat"], scores(0.9), boxes((4, 0, 12, 8)), ["cat"]) == []


def test_exactly_half_is_enough() -> None:
    assert pairs(np.array([[0.5]], np.float32), scores(0.1)) == [(0, 0)]


def test_what_lies_on_ignored_pixels_counts_neither_way() -> None:
    ignored = mask_of_box(np.array(MIDDLE), SIZE)
    assert covered(boxes(MIDDLE, LEFT), ignored).tolist() == [1.0, 0.0]
    tally = Tally()
    tally.add(boxes(LEFT, MIDDLE), ["cat", "dog"], scores(0.9, 0.9), boxes(LEFT), ["cat"], ignored)
    assert tally.names == {"cat": [1, 0, 0]}
    assert tally.report()["ignored"] == 1
    tally.add(boxes((10, 0, 30, 8)), ["dog"], scores(0.9), boxes(), [], ignored)  # two fifths lie on it
    assert tally.names["dog"] == [0, 1, 0]


def test_a_plain_noun_is_right_for_every_colour() -> None:
    assert noun("red apple", "apple")
    assert noun("red apple", "red apple")
    assert not noun("red apple", "green apple")
    assert not noun("red apple", "red")
    tally = Tally()
    tally.add(boxes(LEFT, FAR), ["apple", "apple"], scores(0.9, 0.8), boxes(LEFT, FAR), ["red apple", "green apple"])
    assert tally.names == {"red apple": [1, 0, 0], "green apple": [1, 0, 0]}


def test_filled_boxes_stand_beside_the_masks() -> None:
    disc = np.hypot(*(np.mgrid[: SIZE[0], : SIZE[1]] - np.array([9.5, 9.5])[:, None, None])) < 8
    tally = Tally()
    tally.add(disc[None], ["cat"], scores(1.0), disc[None], ["cat"], boxes=np.array([bounds(disc)]))
    report = tally.report()
    assert report["mask_iou"] == 1.0
    assert report["filled_found_box_iou"] == report["filled_true_box_iou"] == pytest.approx(np.pi / 4, abs=0.05)


def test_counts_must_agree() -> None:
    with pytest.raises(ValueError, match="1 masks, 2 labels"):
        Tally().add(boxes(LEFT), ["cat", "dog"], scores(0.5), boxes(), [])
