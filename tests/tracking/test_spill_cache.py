"""Arrays that are kept in bounded memory come back as they were."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from gsam.tracking.spill_cache import SpillCache


def test_what_does_not_fit_comes_back_from_the_file() -> None:
    cache = SpillCache(limit=3000)
    rng = np.random.default_rng(0)
    arrays = {
        i: rng.standard_normal((10, 10 + i % 2)).astype((np.float32, ml_dtypes.bfloat16)[i % 2]) for i in range(40)
    }
    for key, value in arrays.items():
        cache[key] = value
    assert cache._bytes <= 3000
    assert len(cache) == 40
    for key in rng.permutation(40):
        np.testing.assert_array_equal(cache[int(key)], arrays[int(key)])
        assert cache[int(key)].dtype == arrays[int(key)].dtype
        assert cache._bytes <= 3000


def test_space_in_the_file_is_used_again() -> None:
    cache = SpillCache(limit=1000)
    for i in range(200):
        cache[i] = np.full(100, i, np.float32)
        if i >= 5:
            cache.pop(i - 5)
    assert len(cache) == 5
    assert cache._end <= 10 * 400
    np.testing.assert_array_equal(cache[197], np.full(100, 197, np.float32))
    assert 3 not in cache
    with pytest.raises(KeyError):
        cache[3]


def test_replaced_and_cleared() -> None:
    cache = SpillCache(limit=500)
    for i in range(4):
        cache["a"], cache["b"] = np.full(100, i, np.float32), np.full(50, -i, np.float32)
    np.testing.assert_array_equal(cache["a"], np.full(100, 3, np.float32))
    np.testing.assert_array_equal(cache["b"], np.full(50, -3, np.float32))
    assert "b" in cache
    cache.clear()
    assert len(cache) == 0
    assert "b" not in cache
