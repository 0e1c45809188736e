"""One training loop for every model: a task says what the model is, the loop says how it learns.

The order of the data is a function of seed and step, the state is saved whole, and so a run that
was killed and resumed gives the losses it would have given.  A step whose loss or gradient is not
finite changes nothing but a counter.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gsam.runtime.shard import replicate, shard_batch
from gsam.training.checkpoints import Checkpoints
from gsam.training.schedule import Clock, TrainConfig, learning_rate, optimiser
from gsam.types import Params

Batch = Any
"""A pytree of arrays of fixed shapes: NumPy's on the host, JAX's in the compiled step."""
Metrics = dict[str, jax.Array]
"""Numbers [] to log, by name."""
Loggable = str | float | jax.Array | None


class Task(Protocol):
    """A model, its loss and its data."""

    def init_params(self, seed: int) -> Params:
        """Return the parameters to begin with."""

    def batch(self, rng: np.random.Generator, step: int) -> Batch:
        """Return the examples of ``step``, on the host.  Chance comes from ``rng``."""

    def loss(self, params: Params, batch: Batch, progress: jax.Array) -> tuple[jax.Array, Metrics]:
        """Return the loss [] and what to log beside it; a pure function.

        ``progress`` [] is the fraction of the run.
        """

    def evaluate(self, params: Params) -> dict[str, float]:
        """Return figures on data not trained on, on the host."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """All that changes in training."""

    params: Params
    average: Params
    """The moving average of ``params``: what is evaluated and shipped."""
    optimiser: optax.OptState
    step: jax.Array
    """Batches so far, [] int32."""
    skipped: jax.Array
    """Steps whose loss or gradient was not finite, [] int32."""


def init_state(task: Task, config: TrainConfig, params: Params | None = None) -> TrainState:
    """The state before the first step, from ``params`` or the task's own."""
    # Through NumPy, which drops weak types: they would compile the second step anew.
    params = {k: jnp.asarray(np.asarray(v)) for k, v in (params or task.init_params(config.seed)).items()}
    average, zero = jax.tree.map(jnp.array, params), jnp.zeros((), jnp.int32)
    return TrainState(params, average, optimiser(config).init(params), zero, jnp.copy(zero))


@functools.partial(jax.jit, static_argnums=(0, 1), donate_argnums=2)
def train_step(
    task: Task, config: TrainConfig, state: TrainState, batch: Batch, progress: jax.Array
) -> tuple[TrainState, Metrics]:
    """Update the parameters by one batch.

    ``task`` is hashed by identity; the memory of ``state`` is reused.
    """
    (loss, metrics), grads = jax.value_and_grad(task.loss, has_aux=True)(state.params, batch, progress)
    norm = optax.global_norm(grads)
    finite = jnp.isfinite(loss) & jnp.isfinite(norm)
    rate = learning_rate(config, progress)
    updates, moments = optimiser(config).update(grads, state.optimiser, state.params)
    params = jax.tree.map(lambda p, u: p - rate * u, state.params, updates)
    count = state.step.astype(jnp.float32)
    decay = jnp.minimum(config.ema_decay, (1.0 + count) / (10.0 + count))
    average = jax.tree.map(lambda e, p: decay * e + (1.0 - decay) * p, state.average, params)
    updated = TrainState(params, average, moments, state.step, state.skipped)
    new = jax.tree.map(lambda a, b: jnp.where(finite, a, b), updated, state)
    new = dataclasses.replace(new, step=state.step + 1, skipped=state.skipped + (~finite).astype(jnp.int32))
    return new, {"loss": loss, "norm": norm, "rate": rate, **metrics}


class Log:
    """JSON lines in a file, one progress line on stderr."""

    def __init__(self, path: Path, *, quiet: bool) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.file, self.quiet = path.open("a", encoding="utf-8"), quiet

    def write(self, event: str, **values: Loggable) -> None:
        """Add a line."""
        self.file.write(json.dumps({"event": event, **{k: _plain(v) for k, v in values.items()}}) + "\n")
        self.file.flush()

    def show(self, text: str) -> None:
        """Replace the progress line."""
        if not self.quiet:
            end = "" if sys.stderr.isatty() else "\n"
            print(f"\r{text}" if sys.stderr.isatty() else text, end=end, file=sys.stderr, flush=True)


def _plain(value: Loggable) -> str | float | None:
    if isinstance(value, (str, bool, int)) or value is None:
        return value
    number = float(value)
    return number if math.isfinite(number) else str(number)


def train(
    task: Task,
    config: TrainConfig,
    out: Path,
    *,
    params: Params | None = None,
    resume: bool = False,
    quiet: bool = False,
) -> TrainState:
    """Train until the end of the schedule, or until SIGTERM or SIGINT.

    All local devices share each batch: two cores are used better as two devices
    (``JAX_NUM_CPU_DEVICES=2``) than by one program's threads.

    Args:
        task: The model and its data.
        config: How long and how hard to train.
        out: Folder for ``checkpoints/`` and ``log.jsonl``, which gets a line every
            ``config.log_every`` steps and per evaluation.
        params: Parameters to begin with; by default the task's.
        resume: Go on from the newest checkpoint in ``out``.
        quiet: Show no progress on stderr.

    Returns:
        The last state, which is saved too.

    Raises:
        FileExistsError: ``out`` holds a run, and ``resume`` is false.
    """
    with Checkpoints(out / "checkpoints") as saved:
        if saved.latest is not None and not resume:
            raise FileExistsError(f"{out} holds a run already: resume it, or choose another folder")
        state, spent = init_state(task, config, params), 0.0
        if saved.latest is not None:
            state, notes = saved.restore(state)
            spent = float(notes["seconds"])
        state = replicate(state, jax.local_devices())
        stop = _Stop()
        try:
            return _loop(task, config, state, Clock(config, spent), saved, Log(out / "log.jsonl", quiet=quiet), stop)
        finally:
            stop.release()


class _Stop:
    """Remembers that a signal asked for an end."""

    def __init__(self) -> None:
        self.asked = False
        self.before = {s: signal.signal(s, self._ask) for s in (signal.SIGTERM, signal.SIGINT)}

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True

    def release(self) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)


def _loop(
    task: Task, config: TrainConfig, state: TrainState, clock: Clock, saved: Checkpoints, log: Log, stop: _Stop
) -> TrainState:
    devices = jax.local_devices()
    step = first = int(state.step)
    steps: list[Mapping[str, float]] = []
    next_save = clock.seconds + 60 * config.save_minutes
    next_evaluation = clock.seconds + 60 * config.evaluate_minutes
    while not stop.asked and (progress := clock.progress(step)) < 1.0:
        began = time.monotonic()
        batch = shard_batch(task.batch(np.random.default_rng([config.seed, step]), step), devices)
        state, metrics = train_step(task, config, state, batch, np.float32(progress))
        steps.append({k: float(v) for k, v in metrics.items()})
        step += 1
        if step - first <= 2:
            clock.skip(time.monotonic() - began)  # compilation
        if step % config.log_every == 0:
            mean = {k: float(np.mean([s[k] for s in steps])) for k in steps[0]}
            log.write("step", step=step, progress=progress, seconds=clock.seconds, skipped=state.skipped, **mean)
            log.show(f"step {step} {100 * progress:.1f} % {clock.seconds:.0f} s loss {mean['loss']:.4f}")
            steps = []
        if clock.seconds > next_evaluation:
            began = time.monotonic()
            log.write("evaluate", step=step, progress=progress, seconds=clock.seconds, **task.evaluate(state.average))
            clock.skip(time.monotonic() - began)
            next_evaluation = clock.seconds + 60 * config.evaluate_minutes
        if clock.seconds > next_save:
            saved.save(step, state, {"seconds": clock.seconds})
            next_save = clock.seconds + 60 * config.save_minutes
    saved.save(step, state, {"seconds": clock.seconds})
    if not stop.asked:
        log.write("end", step=step, seconds=clock.seconds, skipped=state.skipped, **task.evaluate(state.average))
    return state
