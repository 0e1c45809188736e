"""Weights that ship as the mean of two."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from gsam.nano.ship import mean_of, ship


def test_a_mean_lies_between(tmp_path: Path) -> None:
    save_file({"a": np.array([1, 4], np.float16), "b": np.array(3, np.float16)}, tmp_path / "old.safetensors")
    found = mean_of({"a": np.array([2, 0], np.float32), "b": np.float32(5)}, tmp_path / "old.safetensors")
    np.testing.assert_array_equal(found["a"], [1.5, 2])
    assert found["b"] == 4


def test_a_mean_of_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="segmentor: there are only"):
        ship(tmp_path, tmp_path, {"segmentor": tmp_path / "old.safetensors"})
