"""Loading a model compiles nothing: every tensor is placed as it is, whatever its shape."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import jax
import numpy as np
import pytest

from gsam.weights.rules import Layout, Part, convert
from tests.weights.test_rules import Given

COUNT = """
import jax
made = []
def note(event, *_, **__):
    if event == "/jax/core/compile/backend_compile_duration": made.append(event)
jax.monitoring.register_event_duration_secs_listener(note)
import gsam
pipe = gsam.load("nano", dtype="{dtype}")
assert len(pipe.steps) == 4
print(len(made))
"""


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.long
def test_loading_a_pipeline_compiles_nothing(dtype: str) -> None:
    run = subprocess.run([sys.executable, "-c", COUNT.format(dtype=dtype)], capture_output=True, text=True)
    assert run.stdout.strip() == "0", run.stdout + run.stderr


def test_tensors_of_odd_shapes_compile_nothing() -> None:
    made: list[str] = []

    def note(event: str, *_: Any, **__: Any) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            made.append(event)

    jax.monitoring.register_event_duration_secs_listener(note)
    try:
        values = [np.ones((3, 17 + i), np.float16) for i in range(20)]
        shapes = {f"a{i}/kernel": np.zeros(v.shape[::-1]) for i, v in enumerate(values)}
        files = {f"a{i}.weight": Given(v) for i, v in enumerate(values)}
        found = convert(files, shapes, Layout("test", ()), "float32")
        assert not made
        assert {k: v.shape for k, v in found.items()} == {k: s.shape for k, s in shapes.items()}
    finally:
        jax.monitoring.unregister_event_duration_listener(note)


def test_a_part_lets_go_of_the_whole() -> None:
    """A parameter may be the memory that it was read into, without its neighbours."""
    whole = np.arange(12.0).reshape(6, 2)
    part = Part(Given(whole), 1, 3).load()
    assert part.tolist() == [[4.0, 5.0], [6.0, 7.0]]
    assert not np.shares_memory(part, whole)
