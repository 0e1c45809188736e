"""The schedule of training: progress, learning rate and optimiser."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import optax

from gsam.training.muon import hidden_matrix, scale_by_muon


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Length and learning rate of a training run.  One of ``steps`` and ``minutes`` ends the run.

    With ``steps`` the schedule is a function of the step, and a resumed run repeats an
    uninterrupted one bit for bit.  With ``minutes`` it follows the clock (time spent before a
    resume counts), and only the state is restored exactly.

    Args:
        steps: Batches to learn from.
        minutes: Minutes to train for; compilation and evaluation do not count.
        seed: Of the initial parameters and the order of the data.
        learning_rate: The highest one, after the warm-up.
        warmup: Fraction of the run in which the learning rate rises.
        final_fraction: Learning rate at the end, as a fraction of ``learning_rate``.
        weight_decay: Of kernels, per unit of learning rate.
        clip_norm: Gradients are scaled down to this global norm.
        ema_decay: Of the moving average of the parameters, which is what is evaluated.
        log_every: Steps per line of the log.
        save_minutes: Minutes between checkpoints.
        evaluate_minutes: Minutes between evaluations.

    Raises:
        ValueError: Neither or both of ``steps`` and ``minutes`` are given.
    """

    steps: int | None = None
    minutes: float | None = None
    seed: int = 0
    learning_rate: float = 1e-3
    warmup: float = 0.03
    final_fraction: float = 0.0
    weight_decay: float = 0.03
    clip_norm: float = 1.0
    ema_decay: float = 0.999
    log_every: int = 50
    save_minutes: float = 5.0
    evaluate_minutes: float = 10.0

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.minutes is None):
            raise ValueError("training has either steps or minutes")


class Clock:
    """Progress in 0..1 of a run; ``spent`` seconds were used before this process."""

    def __init__(self, config: TrainConfig, spent: float) -> None:
        self.config, self.spent, self.start = config, spent, time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds of training so far."""
        return self.spent + time.monotonic() - self.start

    def skip(self, seconds: float) -> None:
        """Take back time that was not training: compilation, evaluation."""
        self.start += seconds

    def progress(self, step: int) -> float:
        """The fraction of the run that is done before ``step``."""
        if self.config.steps is not None:
            return min(step / self.config.steps, 1.0)
        assert self.config.minutes is not None
        return min(self.seconds / (60.0 * self.config.minutes), 1.0)


def learning_rate(config: TrainConfig, progress: jax.Array) -> jax.Array:
    """Linear warm-up, then half a cosine down to the last rate: [] -> []."""
    rising = jnp.clip(progress / max(config.warmup, 1e-9), 0.02, 1.0)
    falling = 0.5 + 0.5 * jnp.cos(jnp.pi * jnp.clip(progress, 0.0, 1.0))
    return config.learning_rate * rising * (config.final_fraction + (1.0 - config.final_fraction) * falling)


def optimiser(config: TrainConfig) -> optax.GradientTransformation:
    """Muon and AdamW without their learning rate (the caller multiplies).  Only kernels decay."""

    def decays(params: Mapping[str, jax.Array]) -> dict[str, bool]:
        return {name: name.endswith("kernel") for name in params}

    return optax.chain(
        optax.clip_by_global_norm(config.clip_norm),
        scale_by_muon(hidden_matrix),
        optax.add_decayed_weights(config.weight_decay, mask=decays),
    )
