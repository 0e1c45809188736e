"""Arrays that are kept in bounded memory come back as they were."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from gsam.tracking.spill_cache import SpillCache


def test_what_does_not_fit_comes_back_from_the_file() -> None:
    shelf = SpillCache(room=3000)
    rng = np.random.default_rng(0)
    arrays = {
        i: rng.standard_normal((10, 10 + i % 2)).astype((np.float32, ml_dtypes.bfloat16)[i % 2]) for i in range(40)
    }
    for key, value in arrays.items():
        shelf[key] = value
    assert shelf._held <= 3000
    assert len(shelf) == 40
    for key in rng.permutation(40):
        np.testing.assert_array_equal(shelf[int(key)], arrays[int(key)])
        assert shelf[int(key)].dtype == arrays[int(key)].dtype
        assert shelf._held <= 3000


def test_space_in_the_file_is_used_again() -> None:
    shelf = SpillCache(room=1000)
    for i in range(200):
        shelf[i] = np.full(100, i, np.float32)
        if i >= 5:
            shelf.pop(i - 5)
    assert len(shelf) == 5
    assert shelf._end <= 10 * 400
    np.testing.assert_array_equal(shelf[197], np.full(100, 197, np.float32))
    assert 3 not in shelf
    with pytest.raises(KeyError):
        shelf[3]


def test_replaced_and_cleared() -> None:
    shelf = SpillCache(room=500)
    for i in range(4):
        shelf["a"], shelf["b"] = np.full(100, i, np.float32), np.full(50, -i, np.float32)
    np.testing.assert_array_equal(shelf["a"], np.full(100, 3, np.float32))
    np.testing.assert_array_equal(shelf["b"], np.full(50, -3, np.float32))
    assert "b" in shelf
    shelf.clear()
    assert len(shelf) == 0
    assert "b" not in shelf
