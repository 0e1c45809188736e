"""What a run leaves in its folder, what it says, and how it ends other than by its schedule."""

from __future__ import annotations

import errno
import json
import os
import signal
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

pytest.importorskip("optax")

from gsam.dataset.lock import hold
from gsam.dataset.signals import Interrupted
from gsam.errors import CheckpointError, GsamError, OutputError, UsageError
from gsam.training import loop, progress, tensorboard
from gsam.training.checkpoints import Checkpoints
from gsam.training.run import LOCK, differences, read_run
from gsam.training.schedule import TrainConfig
from gsam.training.trainer import train
from tests.helpers.line import Line, lines

CONFIG = TrainConfig(steps=4, log_every=2)


@pytest.fixture(autouse=True)
def _quiet_signals() -> Iterator[None]:
    """A signal that training hands on does nothing more."""
    before = {s: signal.signal(s, lambda *_: None) for s in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_folder_with_a_run_is_not_overwritten_and_other_settings_are_refused(tmp_path: Path) -> None:
    first = train(Line(), CONFIG, tmp_path, settings={"data": {"sha256": "aa"}, "flip": True}, quiet=True)
    assert (read_run(tmp_path) or {})["settings"]["data"] == {"sha256": "aa"}
    with pytest.raises(UsageError, match="resume it") as caught:
        train(Line(), CONFIG, tmp_path, quiet=True)
    assert caught.value.code == "training_exists"
    other = TrainConfig(steps=4, log_every=2, learning_rate=1e-2, save_steps=1)
    with pytest.raises(UsageError) as caught:
        train(Line(), other, tmp_path, settings={"data": {"sha256": "bb"}}, resume=True, quiet=True)
    assert caught.value.code == "training_changed"
    assert 'learning_rate was 0.001, now 0.01; data.sha256 was "aa", now "bb"; flip was true, now not set' in str(
        caught.value
    )
    task = Line()
    settings = {"data": {"sha256": "aa"}, "flip": True}
    again = train(
        task, TrainConfig(steps=4, log_every=2, save_steps=1), tmp_path, settings=settings, resume=True, quiet=True
    )
    assert (task.seen, task.asked) == ([], [])  # a run that ended is only read
    np.testing.assert_array_equal(first.average["a/kernel"], again.average["a/kernel"])


def test_differences_name_places() -> None:
    assert differences({"a": {"b": 1, "c": [2]}}, {"a": {"b": 1, "c": [3]}, "d": None}) == ["a.c was [2], now [3]"]


def test_another_process_and_a_broken_file_are_refused(tmp_path: Path) -> None:
    with hold(tmp_path / LOCK), pytest.raises(UsageError) as caught:
        train(Line(), CONFIG, tmp_path, quiet=True)
    assert caught.value.code == "output_locked"
    for content in ("{", "[]", "{}"):
        (tmp_path / "run.json").write_text(content)
        with pytest.raises(UsageError) as caught:
            train(Line(), CONFIG, tmp_path, resume=True, quiet=True)
        assert caught.value.code == "training_unreadable"


def test_ten_steps_in_a_row_that_are_not_finite_end_a_run_also_over_resumes(tmp_path: Path) -> None:
    config = TrainConfig(steps=30, save_steps=7, log_every=5)
    sick = {"poison": tuple(range(4, 30))}
    with pytest.raises(Interrupted):
        train(Line(**sick, kill=9), config, tmp_path, quiet=True)
    with pytest.raises(GsamError, match=r"step 14, were not finite; their images: 4.png, 5.png") as caught:
        train(Line(**sick), config, tmp_path, resume=True, quiet=True)
    assert caught.value.code == "training_not_finite"
    assert "13.png" in str(caught.value)
    assert "3.png, " not in str(caught.value)
    told = lines(tmp_path, "skipped")
    assert [t["row"] for t in told] == list(range(1, 11))
    assert told[0]["images"] == ["4.png"]
    assert lines(tmp_path)[0]["loss"] > 0
    assert lines(tmp_path)[1]["loss"] == "nan"
    well = train(Line(poison=(1, 2, 5)), config, tmp_path / "well", quiet=True)
    assert (int(well.skipped), int(well.row)) == (3, 0)


@pytest.mark.parametrize(("mode", "figures"), [("max", (0.5, 0.7, 0.6, 0.65, 0.9)), ("min", (5, 3, 4, 3, 1))])
def test_patience_ends_a_run_with_the_best_parameters(mode: Any, figures: tuple[float, ...], tmp_path: Path) -> None:
    config = TrainConfig(
        steps=50, evaluate_steps=5, log_every=5, watch="iou", watch_mode=mode, patience=2, ema_decay=0.1
    )
    task = Line(figures=figures)
    state = train(task, config, tmp_path, quiet=True)
    assert int(state.step) == 20
    assert float(state.average["b/bias"][0]) == task.asked[1] != task.asked[3]
    assert lines(tmp_path, "end")[0]["iou"] == figures[1]
    again = train(Line(), config, tmp_path, resume=True, quiet=True)
    jax.tree.map(np.testing.assert_array_equal, again.average, state.average)
    with pytest.raises(UsageError, match="no figure 'ap' to watch, but iou") as caught:
        train(Line(figures=figures), TrainConfig(**{**config.__dict__, "watch": "ap"}), tmp_path / "b", quiet=True)
    assert caught.value.code == "watch_unknown"


def test_the_last_parameters_may_be_the_best(tmp_path: Path) -> None:
    config = TrainConfig(steps=7, evaluate_steps=5, watch="iou", patience=2, ema_decay=0.1)
    task = Line(figures=(0.5, 0.7))
    state = train(task, config, tmp_path, quiet=True)
    assert float(state.average["b/bias"][0]) == task.asked[1]
    assert len(task.asked) == 2


def test_a_signal_in_an_evaluation_ends_it_and_a_resumed_run_begins_it_anew(tmp_path: Path) -> None:
    class Slow(Line):
        def evaluate(self, params: Any) -> dict[str, float]:
            if self.kill:
                os.kill(os.getpid(), signal.SIGINT)
                raise AssertionError("the signal came too late")
            return super().evaluate(params)

    config = TrainConfig(steps=6, evaluate_steps=3, log_every=3)
    with pytest.raises(Interrupted) as caught:
        train(Slow(), config, tmp_path, quiet=True)
    assert caught.value.code == 130
    assert len(lines(tmp_path)) == 1
    assert not lines(tmp_path, "evaluate")
    train(Slow(kill=0), config, tmp_path, resume=True, quiet=True)
    assert [row["step"] for row in lines(tmp_path, "evaluate")] == [3, 6]


def test_a_signal_is_answered_with_a_way_to_go_on(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with pytest.raises(KeyboardInterrupt):
        train(Line(kill=2, signal=signal.SIGINT), TrainConfig(steps=200), tmp_path, resume=True)
    said = capfd.readouterr().err
    with Checkpoints(tmp_path / "checkpoints") as saved:
        step = saved.latest
    assert f"stopped at step {step}, which is saved in {tmp_path}; the same command goes on from there" in said
    train(Line(), TrainConfig(steps=200), tmp_path, resume=True)
    assert f"going on from step {step}" in capfd.readouterr().err


def test_progress_tells_step_loss_speed_and_time_left(capfd: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with progress.Progress(100, None, 8) as shown:
        for step in range(1, 60):
            shown.show(step, step / 100, 0.25)
            now[0] += 2.0
    told = capfd.readouterr().err.splitlines()
    assert told[0] == "gsam: step 1/100, loss 0.25"
    assert told[1] == "gsam: step 11/100, loss 0.25, 4 images/s, 3 min left"
    assert len(told) == 6
    assert [progress.duration(s) for s in (42, 600, 11100)] == ["42 s", "10 min", "3 h 05 min"]


def test_a_full_disk_ends_a_run_and_leaves_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Checkpoints.save

    def full(self: Checkpoints, step: int, state: Any, notes: Any, **options: Any) -> None:
        if step == 4:

            def fails(*_: Any, **__: Any) -> None:
                (self.folder / "4.orbax-checkpoint-tmp").mkdir()
                raise OSError(errno.ENOSPC, "No space left on device")

            self._manager.save = fails
        whole(self, step, state, notes, **options)

    monkeypatch.setattr(Checkpoints, "save", full)
    config = TrainConfig(steps=6, save_steps=2)
    with pytest.raises(OutputError, match=r"step 4 .*No space left on device.* that of step 2 is whole") as caught:
        train(Line(), config, tmp_path, quiet=True)
    assert str(tmp_path) in str(caught.value)
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["2"]
    monkeypatch.undo()
    assert int(train(Line(), config, tmp_path, resume=True, quiet=True).step) == 6


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    train(Line(), TrainConfig(steps=4, save_steps=2), tmp_path, quiet=True)
    for file in (tmp_path / "checkpoints" / "4").rglob("*"):
        if file.is_file():
            file.write_bytes(b"nonsense")
    with pytest.raises(CheckpointError, match=r"checkpoints/4 cannot be read .*: remove this folder"):
        train(Line(), TrainConfig(steps=4, save_steps=2), tmp_path, resume=True, quiet=True)


def test_batches_are_made_ahead_in_order_and_no_more_than_the_run_needs(tmp_path: Path) -> None:
    task = Line()
    train(task, TrainConfig(steps=5), tmp_path, quiet=True)
    assert task.seen == [0, 1, 2, 3, 4]
    broken = Line(poison=None)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        train(broken, TrainConfig(steps=5), tmp_path / "broken", quiet=True)
    assert len(broken.seen) == 1
    assert loop.AHEAD >= 1


def test_constants_are_arguments_and_bfloat16_keeps_float32_masters(tmp_path: Path) -> None:
    seen = {}

    class Typed(Line):
        def loss(self, params: Any, constants: Any, batch: Any, progress: Any) -> Any:
            assert isinstance(constants["slope"], jax.core.Tracer)
            seen.update({k: v.dtype.name for k, v in (params | constants).items()})
            return super().loss(params, constants, batch, progress)

    config = TrainConfig(steps=3, dtype="bfloat16", muon=False)
    state = train(Typed(), config, tmp_path, quiet=True)
    assert seen["a/kernel"] == seen["slope"] == "bfloat16"
    assert seen["rows"] == "int32"
    assert {v.dtype.name for v in state.params.values()} == {"float32"}
    unsaid = TrainConfig(steps=3, muon=False)
    train(Line(), unsaid, tmp_path, resume=True, quiet=True)  # goes on in the type that it began in
    assert (read_run(tmp_path) or {})["config"]["dtype"] == "bfloat16"


def test_a_run_may_change_its_number_of_devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = TrainConfig(steps=12, learning_rate=1e-2, log_every=1)
    every = jax.local_devices()
    monkeypatch.setattr(jax, "local_devices", lambda: every[:1])
    one = train(Line(), config, tmp_path / "one", quiet=True)
    with pytest.raises(Interrupted):
        train(Line(kill=6), config, tmp_path / "two", quiet=True)
    monkeypatch.setattr(jax, "local_devices", lambda: every[:2])
    two = train(Line(), config, tmp_path / "two", resume=True, quiet=True)
    assert len(two.params["a/kernel"].sharding.device_set) == 2
    for name, value in one.average.items():
        np.testing.assert_allclose(np.asarray(two.average[name]), value, atol=1e-5)
    for a, b in zip(lines(tmp_path / "one"), lines(tmp_path / "two"), strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-4)


def test_a_batch_that_devices_cannot_share_is_told_of(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    state = train(Line(batch_size=6), TrainConfig(steps=1), tmp_path)
    assert int(state.step) == 1
    assert "4 devices cannot share batches of 6, and each computes them whole: take a multiple of 4" in (
        capfd.readouterr().err
    )


def test_an_older_versions_run_goes_on_with_what_is_default_now(tmp_path: Path) -> None:
    train(Line(), CONFIG, tmp_path, quiet=True)
    told = read_run(tmp_path)
    assert told is not None
    del told["config"]["watch_mode"], told["config"]["final_fraction"]
    (tmp_path / "run.json").write_text(json.dumps(told))
    assert int(train(Line(), CONFIG, tmp_path, resume=True, quiet=True).step) == 4


def test_tensorboard_files_hold_the_curves_and_are_written_anew(tmp_path: Path) -> None:
    train(Line(), TrainConfig(steps=6, log_every=2, evaluate_steps=3), tmp_path, quiet=True)
    (file,) = (tmp_path / "tensorboard").iterdir()
    events = list(records(file.read_bytes()))
    assert b"brain.Event:2" in events[0]
    assert sum(b"train/loss" in e for e in events) == 3
    assert sum(b"evaluate/bias" in e for e in events) == 3
    train(Line(), TrainConfig(steps=6, log_every=2, evaluate_steps=3), tmp_path, resume=True, quiet=True)
    (again,) = (tmp_path / "tensorboard").iterdir()
    assert [e[9:] for e in records(again.read_bytes())] == [e[9:] for e in events]  # but for their times
    assert tensorboard._checksum(b"123456789") == struct.pack(
        "<I", ((0xE3069283 >> 15 | 0xE3069283 << 17) + 0xA282EAD8) & 0xFFFFFFFF
    )


@pytest.mark.long
def test_tensorboard_reads_them(tmp_path: Path) -> None:
    pb = pytest.importorskip("tensorboardX.proto.event_pb2")
    with tensorboard.Events(tmp_path) as events:
        events.add(300, {"train/loss": 0.25, "train/rate": 1e-3})
    (file,) = tmp_path.iterdir()
    event = pb.Event.FromString(list(records(file.read_bytes()))[1])
    assert (event.step, event.wall_time > 1e9) == (300, True)
    assert {v.tag: v.simple_value for v in event.summary.value} == pytest.approx(
        {"train/loss": 0.25, "train/rate": 1e-3}
    )


def records(content: bytes) -> Iterator[bytes]:
    """The events of a file, their checksums checked."""
    while content:
        (length,) = struct.unpack("<Q", content[:8])
        data = content[12 : 12 + length]
        assert content[8:12] == tensorboard._checksum(content[:8])
        assert content[12 + length : 16 + length] == tensorboard._checksum(data)
        yield data
        content = content[16 + length :]
