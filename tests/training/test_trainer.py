from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsam.runtime.shard import shard_batch
from gsam.training.schedule import TrainConfig, learning_rate
from gsam.training.trainer import init_state, train


@dataclasses.dataclass(frozen=True, eq=False)
class Line:
    """Two linears fitted to a line through noise; what goes wrong at which step is up to the
    test.
    """

    poison: int = -1
    kill: int = -1

    def init_params(self, seed: int) -> dict[str, jax.Array]:
        key = jax.random.key(seed)
        return {"a/kernel": jax.random.normal(key, (2, 8)) * 0.3, "b/kernel": jnp.ones((8, 1)), "b/bias": jnp.zeros(1)}

    def batch(self, rng: np.random.Generator, step: int) -> Any:
        if step == self.kill:
            os.kill(os.getpid(), signal.SIGTERM)
        x = rng.normal(size=(16, 2)).astype(np.float32)
        return x, np.full(16, np.nan, np.float32) if step == self.poison else x @ np.float32([1, -2])

    def loss(self, params: Any, batch: Any, progress: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        x, y = batch
        error = (jnp.tanh(x @ params["a/kernel"]) @ params["b/kernel"] + params["b/bias"])[:, 0] - y
        return (error**2).mean(), {"worst": jnp.abs(error).max()}

    def evaluate(self, params: Any) -> dict[str, float]:
        return {"bias": float(params["b/bias"][0])}


@pytest.fixture(autouse=True)
def _promotion() -> Iterator[None]:
    with jax.numpy_dtype_promotion("standard"):  # optax mixes its step counter with floats
        yield


def lines(folder: Path, event: str = "step") -> list[dict[str, Any]]:
    every = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "seconds"} for line in every if line["event"] == event]


@pytest.mark.long
def test_a_killed_and_resumed_run_repeats_the_uninterrupted_one(tmp_path: Path) -> None:
    config = TrainConfig(steps=12, learning_rate=3e-2, log_every=1)
    whole = train(Line(), config, tmp_path / "whole", quiet=True)
    half = train(Line(kill=6), config, tmp_path / "cut", quiet=True)
    assert int(half.step) == 7
    with pytest.raises(FileExistsError, match="resume"):
        train(Line(), config, tmp_path / "cut", quiet=True)
    again = train(Line(), config, tmp_path / "cut", resume=True, quiet=True)
    assert lines(tmp_path / "cut") == lines(tmp_path / "whole")
    assert len(lines(tmp_path / "cut", "end")) == 1
    jax.tree.map(np.testing.assert_array_equal, whole, again)
    losses = [line["loss"] for line in lines(tmp_path / "whole")]
    assert np.mean(losses[-4:]) < np.mean(losses[:4])


def test_a_step_that_is_not_finite_changes_nothing(tmp_path: Path) -> None:
    sick = train(Line(poison=0), TrainConfig(steps=1, log_every=1), tmp_path / "sick", quiet=True)
    start = init_state(Line(), TrainConfig(steps=1))
    assert (int(sick.step), int(sick.skipped)) == (1, 1)
    jax.tree.map(np.testing.assert_array_equal, (sick.params, sick.optimiser), (start.params, start.optimiser))
    well = train(Line(poison=2), TrainConfig(steps=8, learning_rate=1e-2, log_every=1), tmp_path / "well", quiet=True)
    assert int(well.skipped) == 1
    assert np.isfinite(well.params["a/kernel"]).all()
    assert lines(tmp_path / "well")[2]["loss"] == "nan"


def test_the_clock_ends_a_run(tmp_path: Path) -> None:
    state = train(Line(), TrainConfig(minutes=0.01), tmp_path, quiet=True)
    assert int(state.step) > 2
    assert lines(tmp_path, "end")


def test_schedule() -> None:
    config = TrainConfig(steps=100, learning_rate=2.0, warmup=0.1, final_fraction=0.0)
    rates = [float(learning_rate(config, jnp.float32(p))) for p in (0.0, 0.05, 0.1, 0.5, 1.0)]
    assert rates[0] == pytest.approx(0.04)
    assert rates[2] > rates[1] > rates[0]
    assert rates[3] == pytest.approx(1.0, abs=1e-5)
    assert rates[4] == pytest.approx(0.0, abs=1e-6)
    with pytest.raises(ValueError, match="either"):
        TrainConfig()


def test_devices_share_a_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = TrainConfig(steps=6, learning_rate=3e-2, log_every=1)
    many = train(Line(), config, tmp_path / "many", quiet=True)
    assert len(many.params["a/kernel"].sharding.device_set) == len(jax.devices()) > 1
    x, y = shard_batch((np.zeros((16, 2)), np.zeros(3)), jax.local_devices())
    assert (x.sharding.is_fully_replicated, y.sharding.is_fully_replicated) == (False, True)
    again = train(Line(), dataclasses.replace(config, steps=8), tmp_path / "many", resume=True, quiet=True)
    assert int(again.step) == 8
    monkeypatch.setattr(jax, "local_devices", lambda: jax.devices()[:1])
    one = train(Line(), config, tmp_path / "one", quiet=True)
    assert len(one.params["a/kernel"].sharding.device_set) == 1
    for name, value in one.params.items():
        np.testing.assert_allclose(many.params[name], value, atol=1e-5)


def test_without_optax_the_error_says_what_to_install() -> None:
    code = "import sys; sys.modules['optax'] = None; import gsam.training.losses"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 1
    assert "ImportError: training needs the package optax: pip install 'gsam-jax[train]'" in run.stderr
