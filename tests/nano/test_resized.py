"""Parameters of another image size: tables of positions are interpolated."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from gsam import bind
from gsam.models import owl_vit, sam
from gsam.nano.resized import resized


def test_a_table_keeps_what_it_says_of_places() -> None:
    y, x = np.mgrid[:6, :6] / 6 + 1 / 12  # the middle of each cell in 0..1
    table = np.concatenate([[[9.0, 9.0]], np.stack([y, x], -1).reshape(-1, 2)]).astype(np.float32)
    found = np.asarray(resized({"table": table}, {"table": np.zeros((82, 2))})["table"])  # type: ignore[dict-item]
    assert found[0].tolist() == [9.0, 9.0]
    inner = found[1:].reshape(9, 9, 2)[1:-1, 1:-1]  # nothing is known beyond the outer middles
    y, x = np.mgrid[:9, :9] / 9 + 1 / 18
    np.testing.assert_allclose(inner, np.stack([y, x], -1)[1:-1, 1:-1], atol=1e-6)


def test_relative_positions_keep_their_distance() -> None:
    params = {"grid": np.zeros((1, 8, 8, 3), np.float32), "near": np.arange(-7.0, 8.0, dtype=np.float32)[:, None]}
    shapes = {"grid": np.zeros((1, 16, 16, 3)), "near": np.zeros((15, 1))}
    kept = resized(params, shapes)  # type: ignore[arg-type]
    assert kept["near"] is params["near"]  # type: ignore[comparison-overlap]
    found = resized(params, shapes | {"near": np.zeros((31, 1))})  # type: ignore[arg-type]
    np.testing.assert_allclose(np.asarray(found["near"])[1:-1, 0], np.arange(-14, 15) / 2, atol=1e-6)


@pytest.mark.parametrize("family", [owl_vit, sam])
def test_models_of_two_sizes(family) -> None:  # type: ignore[no-untyped-def]
    small = family.VARIANTS["nano_owl" if family is owl_vit else "nano_sam"]
    large = dataclasses.replace(small, image_size=2 * small.image_size)
    spec = family.spec(large)
    params = bind.random_params(family.spec(small), 0)
    found = resized(params, spec.shapes)
    spec.check(found)
    assert all(found[name] is params[name] for name in params if params[name].shape == spec.shapes[name].shape)


def test_another_model_is_refused() -> None:
    with pytest.raises(ValueError, match=r"kernel is \(3, 4\) and should be \(3, 5\): no table of positions"):
        resized({"kernel": np.zeros((3, 4), np.float32)}, {"kernel": np.zeros((3, 5))})  # type: ignore[dict-item]
