"""The schedule of training: its length, progress, learning rate and optimiser."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from typing import Literal

import jax
import jax.numpy as jnp
import optax

from gsam.training.muon import hidden_matrix, scale_by_muon


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Length, learning rate and rhythm of a training run, which ``steps`` or ``minutes`` end.

    With ``steps`` the schedule is a function of the step, and a resumed run repeats an
    uninterrupted one bit for bit.  With ``minutes`` it follows the clock (time spent before a
    resume counts), and only the state is restored exactly.  With ``patience``, evaluate by steps
    too, so that a run ends at the same step whatever the clock says.

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
        muon: Update matrices by Muon and the rest by AdamW; False for AdamW alone, which is what a
            trained model is best tuned with.
        dtype: ``"float32"`` or ``"bfloat16"``: what the loss computes in.  The parameters that
            are updated stay float32.  None is float32 on CPU and bfloat16 on accelerators.
        log_every: Steps per line of the log, which holds the means over them.
        save_minutes: Minutes between checkpoints.
        save_steps: Steps between checkpoints, in place of ``save_minutes``.
        evaluate_minutes: Minutes between evaluations.
        evaluate_steps: Steps between evaluations, in place of ``evaluate_minutes``.
        watch: The figure of `Task.evaluate` that says which parameters are best.
        watch_mode: ``"max"`` where a higher figure is better, else ``"min"``.
        patience: End after so many evaluations without a better figure, and give the parameters
            of the best one.  None never ends early.

    Raises:
        ValueError: Neither or both of ``steps`` and ``minutes`` are given; a number is out of
            range; there is ``patience`` and nothing to watch.
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
    muon: bool = True
    dtype: Literal["float32", "bfloat16"] | None = None
    log_every: int = 50
    save_minutes: float = 5.0
    save_steps: int | None = None
    evaluate_minutes: float = 10.0
    evaluate_steps: int | None = None
    watch: str | None = None
    watch_mode: Literal["max", "min"] = "max"
    patience: int | None = None

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.minutes is None):
            raise ValueError("training has either steps or minutes")
        for name in ("steps", "save_steps", "evaluate_steps", "patience", "log_every"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        if self.minutes is not None and not 0 < self.minutes < float("inf"):
            raise ValueError(f"minutes must be above 0, not {self.minutes}")
        if self.patience is not None and self.watch is None:
            raise ValueError("patience needs the name of a figure to watch")
        if self.dtype not in (None, "float32", "bfloat16"):
            raise ValueError(f"dtype is float32 or bfloat16, not {self.dtype!r}")


RHYTHM = ("save_minutes", "save_steps")
"""Settings that change nothing about what is learnt."""


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


class Due:
    """Says when something that recurs is due.

    Args:
        steps: Steps between two times; None goes by the clock.
        minutes: Minutes between two times, without ``steps``.
        clock: The run's.
    """

    def __init__(self, steps: int | None, minutes: float, clock: Clock) -> None:
        self.steps, self.minutes, self.clock = steps, minutes, clock
        self.next = clock.seconds + 60.0 * minutes

    def __call__(self, step: int) -> bool:
        """Say whether it is due after ``step`` steps; by the clock, only once."""
        if self.steps is not None:
            return step % self.steps == 0
        if self.clock.seconds <= self.next:
            return False
        self.next = self.clock.seconds + 60.0 * self.minutes
        return True


def learning_rate(config: TrainConfig, progress: jax.Array) -> jax.Array:
    """Linear warm-up, then half a cosine down to the last rate: [] -> []."""
    rising = jnp.clip(progress / max(config.warmup, 1e-9), 0.02, 1.0)
    falling = 0.5 + 0.5 * jnp.cos(jnp.pi * jnp.clip(progress, 0.0, 1.0))
    return config.learning_rate * rising * (config.final_fraction + (1.0 - config.final_fraction) * falling)


def optimiser(config: TrainConfig) -> optax.GradientTransformation:
    """Muon and AdamW, or AdamW, without their learning rate (the caller multiplies).

    Only kernels decay.
    """

    def decays(params: Mapping[str, jax.Array]) -> dict[str, bool]:
        return {name: name.endswith("kernel") for name in params}

    return optax.chain(
        optax.clip_by_global_norm(config.clip_norm),
        scale_by_muon(hidden_matrix) if config.muon else optax.scale_by_adam(b1=0.9, b2=0.999, eps=1e-8),
        optax.add_decayed_weights(config.weight_decay, mask=decays),
    )
