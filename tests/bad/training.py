"""Rows 62: folders, settings and losses that a training run cannot go on with."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

from tests.bad.table import Row, Run, error
from tests.helpers.line import Line


def trained(folder: Path, task: Line | None = None, *, data: str = "aa", resume: bool = True, **change: Any) -> Any:
    """Train for four steps, which takes a moment, or as ``change`` says."""
    from gsam.training.schedule import TrainConfig
    from gsam.training.trainer import train

    config = TrainConfig(**{"steps": 4, "save_steps": 2, **change})
    return train(task or Line(), config, folder / "run", settings={"data": data}, resume=resume, quiet=True)


def begun(spoil: Callable[[Path], object] = lambda run: None, **then: Any) -> Callable[[Path], Run]:
    """Train, spoil what the run left, and train again in its folder."""

    def make(folder: Path) -> Run:
        trained(folder)
        spoil(folder / "run")
        return lambda: trained(folder, **then)

    return make


def fresh(task: Line | None = None, **change: Any) -> Callable[[Path], Run]:
    """Train in an empty folder."""
    return lambda folder: lambda: trained(folder, task and dataclasses.replace(task), **change)


def locked(folder: Path) -> Run:
    """Train where somebody else does."""
    from gsam.dataset.lock import hold
    from gsam.training.run import LOCK

    def run() -> Any:
        with hold(folder / "run" / LOCK):
            return trained(folder)

    return run


def full(folder: Path) -> Run:
    """Train on a disk that is full when the second checkpoint is due."""
    from orbax.checkpoint import CheckpointManager

    whole = CheckpointManager.save

    def save(self: Any, step: int, *values: Any, **options: Any) -> Any:
        if step == 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        return whole(self, step, *values, **options)

    def run() -> Any:
        with mock.patch.object(CheckpointManager, "save", save):
            return trained(folder)

    return run


def file(folder: Path) -> Run:
    """Train into a file."""
    (folder / "run").write_text("")
    return lambda: trained(folder)


def damage(run: Path) -> None:
    """Overwrite the newest checkpoint."""
    for path in (run / "checkpoints" / "4").rglob("*"):
        with contextlib.suppress(IsADirectoryError):
            path.write_bytes(b"nonsense")


def one_was_skipped(state: Any) -> None:
    assert (int(state.step), int(state.skipped)) == (4, 1)


def finished(state: Any) -> None:
    assert int(state.step) == 4


def the_first_is_there(caught: Exception) -> None:
    run = Path(str(caught).split("/checkpoints")[0])
    assert [p.name for p in (run / "checkpoints").iterdir()] == ["2"]


ROWS: list[Row] = [
    error("60a", "training into a folder that holds a run, without resuming it", begun(resume=False),
          "UsageError training_exists", "resume it, or choose another folder", 2, None),
    error("60b", "training that is resumed with other data or flags", begun(data="bb", learning_rate=0.5),
          "UsageError training_changed", 'learning_rate was 0.001, now 0.5; data was "aa", now "bb"', 2, None),
    error("60c", "training whose run.json is none", begun(lambda run: (run / "run.json").write_text("{")),
          "UsageError training_unreadable", "cannot be read", 2, None),
    error("60d", "training whose newest checkpoint is damaged", begun(damage), "CheckpointError training_unreadable",
          "remove this folder to go on from an earlier checkpoint", 1, None),
    Row("60e", "training that is resumed when it had ended: nothing is done again", begun(), check=finished,
        http=None),
    error("60f", "ten steps of training in a row that are not finite", fresh(Line(poison=tuple(range(2, 20))),
          steps=20), "GsamError training_not_finite", "their images: 2.png, 3.png", 1, None),
    Row("60g", "one step of training that is not finite: it changes nothing", fresh(Line(poison=(2,))),
        check=one_was_skipped, http=None),
    error("60h", "a full disk while training saves: the last checkpoint stays", full, "OutputError output_failed",
          "No space left on device.*; that of step 2 is whole: make room", 1, None, the_first_is_there),
    error("60i", "training into a file", file, "OutputError output_failed", "choose another folder", 1, None),
    error("60j", "training into a folder that another process trains in", locked, "UsageError output_locked",
          "locked by another run", 2, None),
    error("60k", "an early stop by a figure that is none of the evaluation's", fresh(watch="ap", patience=2,
          evaluate_steps=2), "UsageError watch_unknown", "but bias, iou", 2, None),
]  # fmt: skip
"""The rows of training."""
