"""What `benchmarks.precision` measures, on a few of the shipped scenes."""

from __future__ import annotations

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import gsam
from benchmarks import precision
from gsam.models import sam
from gsam.nano import heldout
from gsam.ops.bounds import bounds

SCENES = Path(__file__).parents[1] / "data" / "heldout"


@pytest.mark.long
def test_bfloat16_gives_the_same_masks() -> None:
    whole = gsam.segmenter("nano_sam")
    half = sam.build(whole.config, {k: v.astype(jnp.bfloat16) for k, v in whole.params.items()})
    shared: list[float] = []
    for example in heldout.read(SCENES)[:4]:
        boxes = np.array([bounds(mask) for mask in example.masks if mask.sum() > 50], np.float32)
        masks = [precision.masks_of(stage, example.rgb, boxes) for stage in (whole, half)]
        assert masks[0].any((1, 2)).all()
        shared += precision.agreement(*masks)
    assert len(shared) >= 8
    assert np.mean(shared) >= 0.98


def test_int8_is_at_most_half_a_step_off() -> None:
    kernel = jnp.asarray(np.random.default_rng(0).normal(size=(3, 40, 7)), jnp.float32)
    whole, step = precision.quantise(kernel)
    assert whole.dtype == jnp.int8
    assert step.shape == (7,)
    assert (jnp.abs(whole.astype(jnp.float32) * step - kernel) <= 0.5001 * step).all()
    assert jnp.abs(whole).max((0, 1)).tolist() == [127] * 7


def test_agreement() -> None:
    a = np.zeros((3, 4, 4), bool)
    b = a.copy()
    a[0, :2], b[0, :1] = True, True
    a[1, 0] = True
    assert precision.agreement(a, b) == [0.5, 0.0, 1.0]


@pytest.mark.parametrize(("cpu", "expected"), [(True, 2.0), (False, 4.0)])
def test_what_pays(cpu: bool, expected: float) -> None:
    rows = [{"seconds": {"float32": 2.0, "bfloat16": 1.0, "int8 weights": 3.0, "int8 x int8": 4.0}}] * 2
    assert precision.pays(rows, cpu)["int8 x int8"] == expected
