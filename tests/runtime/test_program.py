"""Programs: compiled once for each set of shapes, counted, with options in one place."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsam.runtime.program import Program
from gsam.runtime.shapes import images_per_call, query_bucket
from gsam.runtime.shard import replicate, shard_batch
from gsam.types import View


def test_a_program_is_compiled_once_for_each_set_of_shapes() -> None:
    program = Program(lambda x, *, twice: 2 * x if twice else x + 1, static=["twice"])
    assert program.compilations == 0
    for _ in range(2):
        assert program(np.float32([1, 2]), twice=True).tolist() == [2, 4]
    assert program.compilations == 1
    program(np.float32([1, 2]), twice=False)
    program(np.float32([1, 2, 3]), twice=False)
    assert program.eval_shape(np.float32([1, 2, 3, 4]), twice=True).shape == (4,)
    assert program.compilations == 3


def test_what_is_donated_is_gone() -> None:
    program = Program(lambda state, x: state + x, donate=["state"])
    state, x = jnp.ones(3), jnp.ones(3)
    assert program(state, x).tolist() == [2, 2, 2]
    assert (state.is_deleted(), x.is_deleted()) == (True, False)


def test_memory_is_released_after_compiling(monkeypatch: pytest.MonkeyPatch) -> None:
    released: list[int] = []
    monkeypatch.setattr("gsam.runtime.program.release_host_memory", lambda: released.append(1))
    program = Program(lambda x: x + 1)
    for size in (1, 1, 2, 1):
        program(np.zeros(size, np.float32))
    assert len(released) == program.compilations == 2


def test_options_are_of_the_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr("gsam.runtime.program.jax.jit", lambda *_, **given: seen.append(given["compiler_options"]))
    Program(abs, "gpu")
    Program(abs, "cpu", options={"a": "b"})
    assert seen == [{}, {"xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED", "a": "b"}]


def test_buckets() -> None:
    assert [query_bucket(n) for n in (0, 1, 16, 17, 128, 129, 512)] == [16, 16, 16, 128, 128, 512, 512]
    with pytest.raises(ValueError, match="513 queries, at most 512"):
        query_bucket(513)


def test_large_views_go_alone_on_a_cpu() -> None:
    cpu: Any = SimpleNamespace(platform="cpu")
    gpu: Any = SimpleNamespace(platform="gpu")
    small, large = View(224), View(1024)
    assert images_per_call(8, [small], [cpu]) == images_per_call(8, [large], [gpu]) == 8
    assert images_per_call(8, [small, large], [cpu]) == 1
    assert images_per_call(8, [large], [cpu] * 4) == 4
    assert images_per_call(2, [large], [cpu] * 4) == 2


def test_a_batch_is_cut_where_it_divides() -> None:
    devices = jax.local_devices()
    assert len(devices) == 4
    many, few, scalar = shard_batch((np.zeros((8, 2)), np.zeros(3), np.float32(1)), devices)
    assert many.addressable_shards[0].data.shape == (2, 2)
    assert few.sharding.is_fully_replicated
    assert scalar.sharding.is_fully_replicated
    assert replicate(np.zeros((8, 2)), devices).sharding.is_fully_replicated
    assert shard_batch(np.zeros((8, 2)), devices[:1]).sharding.device_set == {devices[0]}
