"""Images that somebody holds: the pipeline's own answers, and never encoded again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import gsam
from gsam.inputs.image import Picture
from gsam.pipeline import Pipeline
from gsam.pipeline.compiled import REMEMBERED
from gsam.pipeline.held import ask, hold
from gsam.results.result import Result
from gsam.runtime.batch import prepared
from gsam.text.queries import parse_queries

SCENE = Path(__file__).parents[2] / "notebooks" / "scene.png"


@pytest.fixture(scope="module")
def nano() -> Pipeline:
    return gsam.load("nano")


def same(a: Result, b: Result) -> None:
    assert a.to_dict() | {"image": None} == b.to_dict() | {"image": None}


@pytest.mark.long
def test_answers_are_the_pipeline_s_and_cost_no_encoder(nano: Pipeline) -> None:
    picture = gsam.open_image(SCENE)
    held = hold(nano, prepared(picture, nano.views))
    assert held.bytes > 0
    assert not held.picture.views  # which are on the device now
    for i in range(REMEMBERED + 1):  # more than the pipeline remembers
        nano(np.full((40, 30, 3), i, np.uint8), "dog")
    before = nano.counts["pictures"]
    found = [
        ask(nano, held, parse_queries(query), limits)
        for query in ("dog. pizza", {"umbrella": "shade"})
        for limits in (nano.limits, nano.limits.replaced({"threshold": 0.05}))
    ]
    assert nano.counts["pictures"] == before
    assert [len(result) > 0 for result in found] == [True] * 4
    assert set(found[2].labels) == {"shade"}
    same(found[0], nano(picture, "dog. pizza"))
    same(found[1], nano(picture, "dog. pizza", threshold=0.05))
    same(found[2], nano(picture, {"umbrella": "shade"}))
    assert found[0].size == (512, 512)


@pytest.mark.long
def test_views_need_not_be_made_before(nano: Pipeline) -> None:
    picture = Picture(np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8))
    limits = nano.limits.replaced({"threshold": 0.0})
    early, late = hold(nano, prepared(picture, nano.views)), hold(nano, picture)
    same(ask(nano, early, parse_queries("dog"), limits), ask(nano, late, parse_queries("dog"), limits))
