from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("optax")

from gsam.dataset.signals import Interrupted
from gsam.runtime.shard import shard_batch
from gsam.training import loop
from gsam.training.schedule import TrainConfig, learning_rate
from gsam.training.step import init_state
from gsam.training.trainer import train
from tests.helpers.line import Line, lines


@pytest.fixture(autouse=True)
def _quiet_signals() -> Iterator[None]:
    """A signal that training hands on does nothing more."""
    before = {s: signal.signal(s, lambda *_: None) for s in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.long
def test_a_stopped_and_resumed_run_repeats_the_uninterrupted_one(tmp_path: Path) -> None:
    config = TrainConfig(steps=12, learning_rate=3e-2, log_every=4, ema_decay=0.5)
    whole = train(Line(), config, tmp_path / "whole", quiet=True)
    with pytest.raises(Interrupted):
        train(Line(kill=6), config, tmp_path / "cut", quiet=True)
    again = train(Line(), config, tmp_path / "cut", resume=True, quiet=True)
    assert lines(tmp_path / "cut") == lines(tmp_path / "whole")
    assert lines(tmp_path / "cut", "end") == lines(tmp_path / "whole", "end")
    jax.tree.map(np.testing.assert_array_equal, whole, again)
    losses = [line["loss"] for line in lines(tmp_path / "whole")]
    assert losses[-1] < losses[0]


def test_a_step_that_is_not_finite_changes_nothing(tmp_path: Path) -> None:
    sick = train(Line(poison=(0,)), TrainConfig(steps=1, log_every=1), tmp_path / "sick", quiet=True)
    start = init_state(Line(), TrainConfig(steps=1))
    assert (int(sick.step), int(sick.skipped)) == (1, 1)
    jax.tree.map(np.testing.assert_array_equal, (sick.params, sick.optimiser), (start.params, start.optimiser))
    well = train(
        Line(poison=(2,)), TrainConfig(steps=8, learning_rate=1e-2, log_every=1), tmp_path / "well", quiet=True
    )
    assert int(well.skipped) == 1
    assert np.isfinite(well.params["a/kernel"]).all()
    assert lines(tmp_path / "well")[2]["loss"] == "nan"


def test_the_clock_ends_a_run(tmp_path: Path) -> None:
    state = train(Line(), TrainConfig(minutes=0.01), tmp_path, quiet=True)
    assert int(state.step) > 2
    assert lines(tmp_path, "end")


def test_a_host_that_is_ahead_of_its_device_writes_the_same_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = TrainConfig(steps=9, learning_rate=3e-2, log_every=2, save_steps=4, evaluate_steps=3)
    one = train(Line(poison=(4,)), config, tmp_path / "one", quiet=True)
    monkeypatch.setattr(loop, "delay", lambda device: 1)
    other = train(Line(poison=(4,)), config, tmp_path / "other", quiet=True)
    for event in ("step", "skipped", "evaluate", "end"):
        assert lines(tmp_path / "one", event) == lines(tmp_path / "other", event)
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_parameters_that_were_given_stay_as_they_are(tmp_path: Path) -> None:
    start = Line().init_params(3)
    before = {k: np.array(v) for k, v in start.items()}
    state = train(Line(), TrainConfig(steps=2, learning_rate=0.1), tmp_path, params=start, quiet=True)
    for name, value in start.items():
        np.testing.assert_array_equal(value, before[name])
    assert (np.asarray(state.params["b/kernel"]) != before["b/kernel"]).any()


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
    monkeypatch.setattr(jax, "local_devices", lambda: jax.devices()[:1])
    one = train(Line(), config, tmp_path / "one", quiet=True)
    assert len(one.params["a/kernel"].sharding.device_set) == 1
    for name, value in one.params.items():
        np.testing.assert_allclose(many.params[name], value, atol=1e-5)
