"""The examples in the docstrings of what is public run, on the models that ship."""

from __future__ import annotations

import dataclasses
import doctest
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gsam
from tests.helpers.one_device import one_device
from tests.test_docstrings import public

ROOT = Path(__file__).parents[1]
EXAMPLES = {name: value for name, value in public().items() if ">>>" in (getattr(value, "__doc__", None) or "")}


@pytest.mark.parametrize("name", sorted(EXAMPLES))
@pytest.mark.long
def test_example(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "notebooks").symlink_to(ROOT / "notebooks")
    monkeypatch.chdir(tmp_path)
    one_device(monkeypatch)
    names: dict[str, Any] = {"gsam": gsam, "np": np, "jax": jax, "jnp": jnp, "dataclasses": dataclasses}
    test = doctest.DocTestParser().get_doctest(EXAMPLES[name].__doc__, names, name, None, None)
    told: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    runner.run(test, out=told.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(told)


def test_the_most_used_have_examples() -> None:
    assert len(EXAMPLES) >= 20
    assert {"gsam.load", "gsam.Predictor.predict", "gsam.VideoPredictor", "gsam.MaskGenerator"} <= set(EXAMPLES)
