from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("optax")

from gsam.errors import OutputError
from gsam.training.kept_features import KeptFeatures
from gsam.training.order import rows_of


def test_arrays_come_back_by_row_and_only_from_the_store_that_made_them(tmp_path: Path) -> None:
    store = KeptFeatures(tmp_path, {"model": "a"})
    tokens = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    store.put("한국.jpg", {"tokens": tokens, "label": np.arange(3, dtype=np.int32)})
    assert (store.has("한국.jpg"), store.has("other"), KeptFeatures(tmp_path, {"model": "b"}).has("한국.jpg")) == (
        True, False, False,
    )  # fmt: skip
    np.testing.assert_array_equal(store.get("한국.jpg", "tokens", row=1).astype(np.float32), tokens[1])
    np.testing.assert_array_equal(store.get("한국.jpg", "label"), [0, 1, 2])
    assert str(store.get("한국.jpg", "tokens").dtype) == "bfloat16"


def test_a_damaged_file_is_made_again_and_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = KeptFeatures(tmp_path, {})
    store.put("a", {"x": np.ones(4, np.float32)})
    store.file("a").write_bytes(store.file("a").read_bytes()[:-2])
    assert not store.has("a")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gsam.training.kept_features.ported.write", full)
    with pytest.raises(OutputError, match="No space left"):
        store.put("a", {"x": np.ones(4, np.float32)})


def test_every_example_is_seen_before_any_is_seen_again() -> None:
    seen = np.concatenate([rows_of(step, 4, 6, 0) for step in range(3)])
    assert sorted(seen[:6]) == sorted(seen[6:]) == list(range(6))
    assert list(seen) == list(np.concatenate([rows_of(step, 4, 6, 0) for step in range(3)]))
    assert sorted(rows_of(0, 12, 6, 0)) == sorted([*range(6), *range(6)])
    assert list(rows_of(0, 6, 6, 0)) != list(rows_of(0, 6, 6, 1))
