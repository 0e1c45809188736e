"""Which boxes and masks are dropped, and that each rule can be switched off."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsam.pipeline import suppress as rules
from gsam.pipeline.limits import Limits
from gsam.types import Boxes, Images, Labels, Masks, Scene, Text

suppress, suppress_contained = jax.jit(rules.suppress), jax.jit(rules.suppress_contained)
KEEP = {"threshold": 0.1, "nms": 1.0, "duplicate": 1.0, "group": 1.0, "inside": 1.0}


def scene(boxes: list[tuple[int, int, int, int]], scores: list[float], labels: list[int], **limits: float) -> Scene:
    """One picture; masks of 128 cells a side are the boxes filled."""
    n = len(boxes)
    masks = np.full((1, n, 128, 128), -1.0, np.float32)
    for mask, (x0, y0, x1, y1) in zip(masks[0], boxes, strict=True):
        mask[y0:y1, x0:x1] = 1.0
    score, index = jnp.asarray([scores]), jnp.asarray([labels], jnp.int32)
    return Scene(
        Images({}, {}, jnp.asarray([[128, 128]])),
        Text({}, jnp.ones((1, 2), bool)),
        Limits(**KEEP | limits).thresholds,  # type: ignore[arg-type]
        Boxes(jnp.asarray([boxes], jnp.float32), jnp.ones((1, n), bool)),
        Labels(index, score, jax.nn.one_hot(index, 2) * score[..., None]),
        Masks(jnp.asarray(masks), score),
    )


def left(after: Scene) -> list[tuple[int, ...]]:
    valid = np.asarray(after.boxes.valid[0])
    assert (np.diff(valid.astype(int)) <= 0).all()  # the valid ones are in front
    return [tuple(int(v) for v in row) for row in np.asarray(after.boxes.xyxy[0])[valid]]


ONE, TWO, THREE = (10, 10, 40, 60), (42, 10, 70, 60), (100, 100, 120, 120)
AROUND = (10, 10, 70, 60)


@pytest.mark.parametrize("score", [0.2, 0.9])
@pytest.mark.long
def test_a_box_around_a_group_goes_whatever_its_score(score: float) -> None:
    boxes, scores = [ONE, TWO, AROUND, THREE], [0.5, 0.6, score, 0.4]
    assert set(left(suppress(scene(boxes, scores, [0] * 4, group=0.7)))) == {ONE, TWO, THREE}
    assert set(left(suppress(scene(boxes, scores, [0] * 4)))) == {ONE, TWO, AROUND, THREE}


@pytest.mark.long
def test_a_large_thing_with_small_ones_of_its_kind_in_it_stays() -> None:
    """They fill too little of it, or there is one only, or they are called otherwise, or they are
    not believed in.
    """
    large, small, other = (0, 0, 100, 100), (10, 10, 30, 30), (60, 60, 80, 80)
    assert len(left(suppress(scene([large, small, other], [0.5, 0.6, 0.7], [0] * 3, group=0.7)))) == 3
    assert len(left(suppress(scene([AROUND, (12, 10, 68, 58)], [0.5, 0.6], [0] * 2, group=0.7)))) == 2
    assert len(left(suppress(scene([AROUND, ONE, TWO], [0.5, 0.6, 0.7], [1, 0, 0], group=0.7)))) == 3
    assert left(suppress(scene([AROUND, ONE, TWO], [0.5, 0.05, 0.05], [0] * 3, group=0.7))) == [AROUND]


def test_a_mask_in_a_better_one_goes() -> None:
    part = (12, 12, 30, 40)
    boxes = [ONE, part, TWO]
    after = suppress_contained(scene(boxes, [0.9, 0.8, 0.7], [0] * 3, inside=0.9))
    assert left(after) == [ONE, TWO]
    assert len(left(suppress_contained(scene(boxes, [0.9, 0.8, 0.7], [0] * 3)))) == 3
    assert len(left(suppress_contained(scene(boxes, [0.9, 0.8, 0.7], [0, 1, 0], inside=0.9)))) == 3


def test_boxes_over_each_other_whose_masks_are_not() -> None:
    """The rule looks at masks: a person before another keeps both."""
    two = scene([AROUND, ONE], [0.9, 0.8], [0, 0], inside=0.9)
    logits = np.asarray(two.masks.logits).copy()
    logits[0, 0, :, :45] = -1.0
    import dataclasses

    two = dataclasses.replace(two, masks=dataclasses.replace(two.masks, logits=jnp.asarray(logits)))
    assert left(suppress_contained(two)) == [AROUND, ONE]


def test_nothing_at_all() -> None:
    empty = scene([ONE, TWO], [0.05, 0.01], [0, 0], nms=0.7, group=0.7, inside=0.9)
    assert left(suppress_contained(suppress(empty))) == []
