"""Prompts that are drawn for objects, and the masks that answers are compared with."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import numpy as np
import pytest

from gsam.errors import UsageError
from gsam.nn.prompt import ABSENT, BOTTOM_RIGHT, FOREGROUND, PAD, TOP_LEFT
from gsam.ops.bounds import bounds
from gsam.training.segmenter.prompts import click_in, jittered, rules_for, sample
from gsam.training.segmenter.targets import coverage, known
from tests.helpers.discs import Boxes, Discs, discs


@dataclasses.dataclass(frozen=True, eq=False)
class Six(Discs):
    """Takes six points and no masks, as EfficientSAM does."""

    prompt_types: ClassVar[frozenset[str]] = frozenset({"foreground", "box"})
    max_points: ClassVar[Any] = 6


@dataclasses.dataclass(frozen=True, eq=False)
class Padded(Discs):
    """Pads boxes, as SAM 2 does."""

    pads_boxes: ClassVar[bool] = True


def masks() -> tuple[np.ndarray, np.ndarray]:
    found = np.zeros((2, 40, 60), bool)
    found[0, 5:20, 10:30], found[1, 22:38, 35:50] = True, True
    return found, np.array([bounds(mask) for mask in found], np.float32)


def test_rules_follow_what_a_model_takes() -> None:
    every = rules_for(discs(), None, 8, 7)
    assert (every.kinds, every.lone, every.corrections, every.points) == (("box", "click", "both"), 2, 7, 11)
    assert (every.background, every.masks, every.side) == (True, True, 64)
    boxes = rules_for(discs(kind=Boxes), None, 8, 7)
    assert (boxes.kinds, boxes.lone, boxes.corrections) == (("box",), 0, 0)
    six = rules_for(discs(kind=Six), None, 8, 7, always_several=True)
    assert (six.corrections, six.background, six.masks, six.always_several) == (3, False, False, True)
    assert rules_for(discs(), ["click"], 3, 1).lone == 3
    with pytest.raises(UsageError, match="no kind of prompts 'text'; there are box, click, both"):
        rules_for(discs(), ["text"])
    with pytest.raises(UsageError, match="takes no prompts of kind click; it takes box") as refused:
        rules_for(discs(kind=Boxes), ["click"])
    assert refused.value.code == "prompts_not_taken"
    with pytest.raises(UsageError, match="one prompt per image is of one kind"):
        rules_for(discs(), None, 1)


def test_prompts_are_of_their_objects_in_pixels_of_the_view() -> None:
    found, boxes = masks()
    rules = rules_for(discs(), None, 12, 2)
    rows = [q % 2 for q in range(12)]
    prompts = sample(np.random.default_rng(3), rules, found, boxes, rows, (64, 64))
    kinds = set()
    for q, row in enumerate(rows):
        at = prompts.points[q, 2] / (64 / 60, 64 / 40)
        clicked, boxed = prompts.labels[q, 2] == FOREGROUND, bool(prompts.boxed[q])
        kinds.add((boxed, clicked))
        if clicked:
            assert found[row, round(at[1]), round(at[0])]
        if boxed:
            assert prompts.labels[q, :2].tolist() == [TOP_LEFT, BOTTOM_RIGHT]
            np.testing.assert_array_equal(prompts.points[q, :2].ravel(), prompts.boxes[q])
            true = boxes[row] * np.array([64 / 60, 64 / 40] * 2)
            assert 0 < np.abs(prompts.boxes[q] - true).max() <= 64 * 20 / 1024 + 1e-4
        assert (prompts.labels[q, 3] == PAD) == (not boxed)
        assert (prompts.labels[q, 4:] == ABSENT).all()
        assert (q < rules.lone) == (not boxed)
    assert kinds == {(True, False), (False, True), (True, True)}
    padded = sample(np.random.default_rng(3), rules_for(discs(kind=Padded), None, 12, 0), found, boxes, rows, (64, 64))
    assert (padded.labels[:, 3] == PAD).all()


def test_boxes_stay_boxes_and_clicks_reach_every_pixel() -> None:
    rng = np.random.default_rng(0)
    small = np.array([62.5, 0, 64, 1.2], np.float32)
    moved = np.array([jittered(rng, small, (64, 64), 64) for _ in range(50)])
    assert (moved[:, 2:] > moved[:, :2]).all()
    assert moved.min() >= 0
    assert moved.max() <= 64
    mask = np.zeros((5, 6), bool)
    mask[1, 2], mask[3, 4:6] = True, True
    seen = {tuple(click_in(rng, mask).astype(int).tolist()) for _ in range(60)}
    assert seen == {(2, 1), (4, 3), (5, 3)}


@pytest.mark.parametrize("content", [(32, 24), (64, 64), (17, 64)])
def test_coverage_is_the_share_of_each_pixel(content: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    mask = np.zeros((30, 44), bool)
    mask[4:21, 7:40] = rng.random((17, 33)) > 0.3
    found = coverage(mask, content, 64, 16)
    fine = 5  # samples per pixel and axis of the view
    at = [(np.arange(64 * fine) + 0.5) / fine * n / c for n, c in zip(mask.shape, content, strict=True)]
    inside = [(a < n) for a, n in zip(at, mask.shape, strict=True)]
    y, x = (np.minimum(a.astype(int), n - 1) for a, n in zip(at, mask.shape, strict=True))
    sampled = mask[np.ix_(y, x)] & inside[0][:, None] & inside[1]
    np.testing.assert_allclose(found, sampled.reshape(16, 4 * fine, 16, 4 * fine).mean((1, 3)), atol=0.11)
    scale = np.prod(content) / np.prod(mask.shape) / 16
    assert found.sum() == pytest.approx(mask.sum() * scale, rel=1e-4)
    assert not coverage(np.zeros((30, 44), bool), content, 64, 16).any()
    assert known(np.array(content, np.float32) / 4, 16).sum() == round(content[0] / 4) * round(content[1] / 4)
