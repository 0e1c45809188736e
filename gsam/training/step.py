"""The state of training, and the compiled step that updates it by one batch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from gsam.training.schedule import TrainConfig, learning_rate, optimiser
from gsam.training.task import Batch, Metrics, Task
from gsam.types import Params
from gsam.weights.rules import precision


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """All that changes in training."""

    params: Params
    average: Params
    """The moving average of ``params``: what is evaluated, and the result."""
    best: Params
    """``average`` of the best evaluation so far; ``{}`` without `TrainConfig.patience`."""
    optimiser: optax.OptState
    step: jax.Array
    """Batches so far, [] int32."""
    skipped: jax.Array
    """Steps whose loss or gradient was not finite, [] int32."""
    row: jax.Array
    """The number of such steps in a row, up to the last one, [] int32."""


Step = Callable[[TrainState, Params, Batch, np.float32], tuple[TrainState, Metrics]]
"""State, constants, batch and progress -> state, numbers to log.  The memory of the state is
reused."""


def init_state(task: Task, config: TrainConfig, params: Params | None = None) -> TrainState:
    """The state before the first step.

    Args:
        task: The model.
        config: Names the optimiser and the seed.
        params: Parameters to begin with, which become float32; by default the task's.

    Returns:
        The state, on one device.
    """
    given = task.init_params(config.seed) if params is None else params
    # Through NumPy, which drops weak types (they would compile the second step anew), and copied,
    # as the step takes the memory of its state.
    params = {k: jnp.array(np.asarray(_widened(v))) for k, v in given.items()}
    average, zero = jax.tree.map(jnp.array, params), jnp.zeros((), jnp.int32)
    best = jax.tree.map(jnp.array, params) if config.patience is not None else {}
    moments = optimiser(config).init(params)
    return TrainState(params, average, best, moments, zero, jnp.copy(zero), jnp.copy(zero))


def compile_step(task: Task, config: TrainConfig, devices: Sequence[jax.Device]) -> Step:
    """Give the compiled step of a task.

    A step whose loss or gradient is not finite changes nothing but its counters.

    Args:
        task: The model and its loss.
        config: The schedule; its ``dtype`` is settled.
        devices: Those that share a batch.

    Returns:
        The step; it compiles when first called.
    """

    def step(state: TrainState, constants: Params, batch: Batch, progress: jax.Array) -> tuple[TrainState, Metrics]:
        def loss_of(params: Params) -> tuple[jax.Array, Metrics]:
            loss, metrics = task.loss(cast(params, config.dtype), constants, batch, progress)
            return loss.astype(jnp.float32), {k: jnp.asarray(v, jnp.float32) for k, v in metrics.items()}

        (loss, metrics), grads = jax.value_and_grad(loss_of, has_aux=True)(state.params)
        with jax.numpy_dtype_promotion("standard"):  # optax mixes its counter with floats
            new, rate, norm = _updated(config, state, loss, grads, progress)
        return new, {"loss": loss, "norm": norm, "rate": rate, "row": new.row, **metrics}

    everywhere = NamedSharding(Mesh(np.asarray(devices), ("batch",)), PartitionSpec()) if len(devices) > 1 else None
    return jax.jit(step, donate_argnums=0, out_shardings=everywhere)


def _updated(
    config: TrainConfig, state: TrainState, loss: jax.Array, grads: Params, progress: jax.Array
) -> tuple[TrainState, jax.Array, jax.Array]:
    norm = optax.tree.norm(grads)
    finite = jnp.isfinite(loss) & jnp.isfinite(norm)
    rate = learning_rate(config, progress)
    updates, moments = optimiser(config).update(grads, state.optimiser, state.params)
    params = jax.tree.map(lambda p, u: p - rate * u, state.params, updates)
    count = state.step.astype(jnp.float32)
    decay = jnp.minimum(config.ema_decay, (1.0 + count) / (10.0 + count))
    average = jax.tree.map(lambda e, p: decay * e + (1.0 - decay) * p, state.average, params)
    learnt = dataclasses.replace(state, params=params, average=average, optimiser=moments)
    new = jax.tree.map(lambda a, b: jnp.where(finite, a, b), learnt, state)
    bad = (~finite).astype(jnp.int32)
    counters = {"step": state.step + 1, "skipped": state.skipped + bad, "row": bad * (state.row + 1)}
    return dataclasses.replace(new, **counters), rate, norm


def cast(values: Params, dtype: str | None) -> Params:
    """Give floating arrays in another type; others stay as they are.

    Those of `gsam.weights.rules.EXACT` stay float32, as in a model that is loaded in that type.

    Args:
        values: Arrays by name.
        dtype: ``"bfloat16"``, ``"float32"``, or None for no change.

    Returns:
        The same names.
    """
    if dtype is None:
        return dict(values)
    return {k: v.astype(precision(k, dtype)) if jnp.issubdtype(v.dtype, jnp.floating) else v for k, v in values.items()}


def _widened(value: jax.Array) -> jax.Array:
    return value.astype(jnp.float32) if jnp.issubdtype(value.dtype, jnp.floating) else value
