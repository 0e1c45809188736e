"""One training loop for every model: a task says what the model is, the loop says how it learns.

The order of the data is a function of seed and step, the state is saved whole, and so a run that was killed and resumed
gives the losses it would have given.  A step whose loss or gradient is not finite changes nothing but a counter.
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
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gsam.runtime.shard import replicate, shard_batch
from gsam.training.checkpoints import Checkpoints
from gsam.training.schedule import Clock, Plan, learning_rate, optimiser
from gsam.types import Params


class Task(Protocol):
    """What is trained, and on what."""

    def start(self, seed: int) -> Params:
        """Parameters to begin with."""

    def batch(self, rng: np.random.Generator, step: int) -> Any:
        """On the host: the examples of ``step``, any pytree of arrays of fixed shapes.  Chance comes from ``rng``."""

    def loss(self, params: Params, batch: Any, progress: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Pure: the loss [] and what to log beside it."""

    def evaluate(self, params: Params) -> dict[str, float]:
        """On the host: figures on data not trained on."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class State:
    params: Params
    average: Params
    """The moving average of ``params``: what is evaluated and shipped."""
    optimiser: Any
    step: jax.Array
    skipped: jax.Array
    """Steps whose loss or gradient was not finite, [] int32."""


def begin(task: Task, plan: Plan, start: Params | None = None) -> State:
    """The state before the first step, from parameters ``start`` or the task's own."""
    # Through NumPy, which drops weak types: they would compile the second step anew.
    params = {k: jnp.asarray(np.asarray(v)) for k, v in (start or task.start(plan.seed)).items()}
    average = jax.tree.map(jnp.array, params)
    return State(params, average, optimiser(plan).init(params), jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))


@functools.partial(jax.jit, static_argnums=(0, 1), donate_argnums=2)
def advance(
    task: Task, plan: Plan, state: State, batch: Any, progress: jax.Array
) -> tuple[State, dict[str, jax.Array]]:
    """One step of learning.  ``task`` must be hashable (by identity will do); ``state`` is given away."""
    (loss, told), slope = jax.value_and_grad(task.loss, has_aux=True)(state.params, batch, progress)
    norm = optax.global_norm(slope)
    good = jnp.isfinite(loss) & jnp.isfinite(norm)
    rate = learning_rate(plan, progress)
    updates, moments = optimiser(plan).update(slope, state.optimiser, state.params)
    params = jax.tree.map(lambda p, u: p - rate * u, state.params, updates)
    count = state.step.astype(jnp.float32)
    decay = jnp.minimum(plan.ema, (1.0 + count) / (10.0 + count))
    average = jax.tree.map(lambda e, p: decay * e + (1.0 - decay) * p, state.average, params)
    new = State(params, average, moments, state.step, state.skipped)
    kept = jax.tree.map(lambda a, b: jnp.where(good, a, b), new, state)
    kept = dataclasses.replace(kept, step=state.step + 1, skipped=state.skipped + (~good).astype(jnp.int32))
    return kept, {"loss": loss, "norm": norm, "rate": rate, **told}


class Log:
    """JSON lines in a file, one progress line on stderr."""

    def __init__(self, path: Path, *, quiet: bool) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.file, self.quiet = path.open("a", encoding="utf-8"), quiet

    def write(self, event: str, **values: Any) -> None:
        self.file.write(json.dumps({"event": event, **{k: _plain(v) for k, v in values.items()}}) + "\n")
        self.file.flush()

    def show(self, text: str) -> None:
        if not self.quiet:
            end = "" if sys.stderr.isatty() else "\n"
            print(f"\r{text}" if sys.stderr.isatty() else text, end=end, file=sys.stderr, flush=True)


def _plain(value: Any) -> Any:
    if isinstance(value, (str, bool, int)) or value is None:
        return value
    number = float(value)
    return number if math.isfinite(number) else str(number)


def train(
    task: Task, plan: Plan, out: Path, *, start: Params | None = None, resume: bool = False, quiet: bool = False
) -> State:
    """Run ``plan`` to its end, or until SIGTERM or SIGINT, and leave a checkpoint in ``out/checkpoints``.

    It begins with the parameters ``start``, or with those of the task.  ``out/log.jsonl`` gets one line every
    ``plan.log_every`` steps and one an evaluation.  With ``resume`` the newest checkpoint is taken up; without,
    `FileExistsError` is raised where there is one.  All local devices share each batch: two cores are used better as two
    devices (``JAX_NUM_CPU_DEVICES=2``) than by one program's threads.
    """
    with Checkpoints(out / "checkpoints") as saved:
        if saved.latest is not None and not resume:
            raise FileExistsError(f"{out} holds a run already: resume it, or choose another folder")
        state, spent = begin(task, plan, start), 0.0
        if saved.latest is not None:
            state, notes = saved.restore(state)
            spent = float(notes["seconds"])
        state = replicate(state, jax.local_devices())
        stop = _Stop()
        try:
            return _loop(task, plan, state, Clock(plan, spent), saved, Log(out / "log.jsonl", quiet=quiet), stop)
        finally:
            stop.release()


class _Stop:
    """Remembers that a signal asked for an end."""

    def __init__(self) -> None:
        self.asked = False
        self.before = {s: signal.signal(s, self._ask) for s in (signal.SIGTERM, signal.SIGINT)}

    def _ask(self, number: int, frame: Any) -> None:
        self.asked = True

    def release(self) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)


def _loop(task: Task, plan: Plan, state: State, clock: Clock, saved: Checkpoints, log: Log, stop: _Stop) -> State:
    devices = jax.local_devices()
    step = first = int(state.step)
    told: list[Mapping[str, float]] = []
    next_save = clock.seconds + 60 * plan.save_minutes
    next_look = clock.seconds + 60 * plan.evaluate_minutes
    while not stop.asked and (progress := clock.progress(step)) < 1.0:
        began = time.monotonic()
        batch = shard_batch(task.batch(np.random.default_rng([plan.seed, step]), step), devices)
        state, values = advance(task, plan, state, batch, np.float32(progress))
        told.append({k: float(v) for k, v in values.items()})
        step += 1
        if step - first <= 2:
            clock.skip(time.monotonic() - began)  # compilation
        if step % plan.log_every == 0:
            mean = {k: float(np.mean([t[k] for t in told])) for k in told[0]}
            log.write("step", step=step, progress=progress, seconds=clock.seconds, skipped=state.skipped, **mean)
            log.show(f"step {step} {100 * progress:.1f} % {clock.seconds:.0f} s loss {mean['loss']:.4f}")
            told = []
        if clock.seconds > next_look:
            began = time.monotonic()
            log.write("evaluate", step=step, progress=progress, seconds=clock.seconds, **task.evaluate(state.average))
            clock.skip(time.monotonic() - began)
            next_look = clock.seconds + 60 * plan.evaluate_minutes
        if clock.seconds > next_save:
            saved.save(step, state, {"seconds": clock.seconds})
            next_save = clock.seconds + 60 * plan.save_minutes
    saved.save(step, state, {"seconds": clock.seconds})
    if not stop.asked:
        log.write("end", step=step, seconds=clock.seconds, skipped=state.skipped, **task.evaluate(state.average))
    return state
