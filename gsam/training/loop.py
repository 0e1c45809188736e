"""The loop of training: batches in, numbers to the log, states to checkpoints."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
import time
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from gsam.dataset.ahead import Ahead
from gsam.dataset.signals import Interrupted
from gsam.errors import GsamError, UsageError
from gsam.runtime.shard import replicate, shard_batch
from gsam.training.checkpoints import Checkpoints
from gsam.training.interrupt import Stop
from gsam.training.log import Log
from gsam.training.progress import Progress
from gsam.training.schedule import Clock, Due, TrainConfig
from gsam.training.step import TrainState, cast, compile_step
from gsam.training.task import Batch, Metrics, Task
from gsam.types import JsonMapping

AHEAD = 2
"""Batches that wait for the device, at most."""
LIMIT = 10
"""Steps in a row that may be not finite; then training stops."""
NAMED = 12
"""Images that the error then names."""


@dataclasses.dataclass
class Notes:
    """All of a run that is not in its `TrainState`, saved beside it."""

    seconds: float = 0.0
    """Seconds of training so far."""
    sums: dict[str, float] = dataclasses.field(default_factory=dict)
    """Numbers that are to be logged, summed over the steps since the last line."""
    count: int = 0
    """Finite steps since then."""
    evaluated: int = 0
    """The step of the last evaluation."""
    figures: dict[str, float] = dataclasses.field(default_factory=dict)
    """Figures of the last evaluation; of the best one where one is watched."""
    best: float | None = None
    """The best figure that was watched."""
    since: int = 0
    """Evaluations since then."""


class Loop:
    """Trains until the end of the schedule, an early stop or a signal.

    Args:
        task: The model and its data.
        config: The schedule.
        state: The first state, or the one that was saved last.
        notes: Beside it.
        saved: Takes the states.
        log: Takes the numbers.
        progress: Shows them.
        stop: Says that a signal came.
    """

    def __init__(
        self,
        task: Task,
        config: TrainConfig,
        state: TrainState,
        notes: JsonMapping,
        *,
        saved: Checkpoints,
        log: Log,
        progress: Progress,
        stop: Stop,
    ) -> None:
        self.task, self.config = task, config
        self.saved, self.log, self.progress, self.stop = saved, log, progress, stop
        self.devices: Sequence[jax.Device] = jax.local_devices()
        self.state = replicate(state, self.devices)
        self.constants = replicate(cast(task.constants, config.dtype), self.devices)
        self.step = int(state.step)
        self.row = int(state.row)
        self.notes = Notes(**notes)
        self.kept = self.step if notes else None, self.notes.evaluated
        self.clock = Clock(config, self.notes.seconds)
        self.delay = delay(self.devices[0])
        self.pending: list[tuple[int, Metrics]] = []

    def run(self) -> TrainState:
        """Train, and give the last state, which is saved; of an ended run nothing is done again.

        Raises:
            GsamError: Ten steps in a row were not finite (``training_not_finite``).
            UsageError: The figure to watch is none that the task gives (``watch_unknown``).
            OutputError: The disk is full.
        """
        with contextlib.suppress(Interrupted):  # in an evaluation, which a resumed run begins anew
            self._train()
        self._save()
        if self.stop.number is None and not self.log.ended:
            with contextlib.suppress(Interrupted), self.stop.at_once():
                self._end()
        return self.result

    @property
    def result(self) -> TrainState:
        """The state, whose ``average`` is the best one where training looks for it."""
        if self.notes.best is None:
            return self.state
        return dataclasses.replace(self.state, average=self.state.best)

    def _train(self) -> None:
        take = compile_step(self.task, self.config, self.devices)
        evaluate = Due(self.config.evaluate_steps, self.config.evaluate_minutes, self.clock)
        save = Due(self.config.save_steps, self.config.save_minutes, self.clock)
        if self.config.evaluate_steps and self.step and evaluate(self.step) and self.notes.evaluated < self.step:
            self._evaluate()  # a signal came in the middle of it
        first = self.step
        with Ahead(self._batches(), AHEAD) as batches:
            while self.stop.number is None and not self._patience_is_over():
                if (progress := self.clock.progress(self.step)) >= 1.0:
                    break
                began = time.monotonic()
                batch = shard_batch(next(batches), self.devices)
                self.state, metrics = take(self.state, self.constants, batch, np.float32(progress))
                self.pending.append((self.step, metrics))
                self.step += 1
                self._collect(self.delay)
                if self.step == first + 1:
                    self._collect()
                    self.clock.skip(time.monotonic() - began)  # compilation
                    self.progress.pause()
                if self.step % self.config.log_every == 0:
                    self._write(progress)
                if evaluate(self.step):
                    self._evaluate()
                if save(self.step):
                    self._save()
                    self.progress.pause()
        self._collect()
        if self.stop.number is None and self.config.patience is not None and self.notes.evaluated < self.step:
            self._evaluate()  # the last parameters may be the best

    def _batches(self) -> Iterator[Batch]:
        for step in itertools.count(self.step):
            if self.config.steps is not None and step >= self.config.steps:
                return
            yield self.task.batch(np.random.default_rng([self.config.seed, step]), step)

    def _collect(self, keep: int = 0) -> None:
        """Take up the numbers of the steps that were begun, but for the last few."""
        while len(self.pending) > keep:
            step, metrics = self.pending.pop(0)
            numbers = {k: float(v) for k, v in jax.device_get(metrics).items()}
            self.row = int(numbers.pop("row"))
            self.progress.show(step + 1, self.clock.progress(step + 1), numbers["loss"])
            if self.row:
                self._not_finite(step)
                continue
            for name, value in numbers.items():
                self.notes.sums[name] = self.notes.sums.get(name, 0.0) + value
            self.notes.count += 1

    def _not_finite(self, step: int) -> None:
        images = list(self.task.names(step))
        self.log.write("skipped", step + 1, row=self.row, images=images)
        if self.row == 1:
            self.progress.say(f"gsam: step {step + 1} is not finite and changes nothing: {_listed(images)}")
        if self.row < LIMIT:
            return
        seen = dict.fromkeys(name for s in range(step - LIMIT + 1, step + 1) for name in self.task.names(s))
        raise GsamError(
            f"{LIMIT} steps in a row, up to step {step + 1}, were not finite; their images: {_listed(list(seen))}; "
            "look at them and their masks, or lower the learning rate",
            "training_not_finite",
        )

    def _write(self, progress: float) -> None:
        self._collect()
        notes = self.notes
        means = {k: v / notes.count for k, v in notes.sums.items()} or {"loss": math.nan}
        skipped = int(self.state.skipped)
        self.log.write("step", self.step, progress=progress, seconds=self.clock.seconds, skipped=skipped, **means)
        notes.sums, notes.count = {}, 0

    def _evaluate(self) -> None:
        self._collect()
        began = time.monotonic()
        try:
            with self.stop.at_once():
                figures = self.task.evaluate(self.state.average)
        finally:
            self.clock.skip(time.monotonic() - began)
            self.progress.pause()
        self.log.write("evaluate", self.step, seconds=self.clock.seconds, **figures)
        self.notes.evaluated = self.step
        if self.config.patience is None:
            self.notes.figures = figures
            return
        assert self.config.watch is not None
        if self.config.watch not in figures:
            raise UsageError(
                f"there is no figure {self.config.watch!r} to watch, but {', '.join(figures) or 'none at all'}",
                "watch_unknown",
            )
        figure, best = figures[self.config.watch], self.notes.best
        sign = 1.0 if self.config.watch_mode == "max" else -1.0
        if math.isfinite(figure) and (best is None or sign * figure > sign * best):
            self.notes.best, self.notes.since, self.notes.figures = figure, 0, figures
            self.state = dataclasses.replace(self.state, best=jax.tree.map(jnp.copy, self.state.average))
        else:
            self.notes.since += 1

    def _end(self) -> None:
        known = self.notes.best is not None or self.notes.evaluated == self.step
        figures = self.notes.figures if known else self.task.evaluate(self.result.average)
        self.log.write("end", self.step, seconds=self.clock.seconds, skipped=int(self.state.skipped), **figures)

    def _patience_is_over(self) -> bool:
        return self.config.patience is not None and self.notes.since >= self.config.patience

    def _save(self) -> None:
        self._collect()
        now = self.step, self.notes.evaluated
        if now != self.kept:
            self.notes.seconds = self.clock.seconds
            self.saved.save(self.step, self.state, dataclasses.asdict(self.notes), replace=self.step == self.kept[0])
            self.kept = now


def delay(device: jax.Device) -> int:
    """Give the number of steps that the host may be ahead of a device.

    None on CPU, whose devices compute in the threads that callbacks need.
    """
    return 0 if device.platform == "cpu" else 1


def _listed(images: Sequence[str]) -> str:
    more = f" and {len(images) - NAMED} more" if len(images) > NAMED else ""
    return ", ".join(images[:NAMED]) + more if images else "none have names"
