"""How far training is, and what follows from it: learning rate, averaging, optimiser."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from gsam.training.muon import hidden_matrix, scale_by_muon


@dataclasses.dataclass(frozen=True)
class Plan:
    """How long and how hard to train.  One of ``steps`` and ``minutes`` ends the run.

    With ``steps`` the schedule is a function of the step, and a resumed run repeats an uninterrupted one bit for bit.
    With ``minutes`` it follows the clock (time spent before a resume counts), and only the state is restored exactly.
    """

    steps: int | None = None
    minutes: float | None = None
    seed: int = 0
    rate: float = 1e-3
    warmup: float = 0.03
    """Fraction of the run."""
    floor: float = 0.0
    """Learning rate at the end, as a fraction of ``rate``."""
    weight_decay: float = 0.03
    clip: float = 1.0
    ema: float = 0.999
    log_every: int = 50
    save_minutes: float = 5.0
    evaluate_minutes: float = 10.0

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.minutes is None):
            raise ValueError("a plan has either steps or minutes")


class Clock:
    """Progress in 0..1 of a run under ``plan``; ``spent`` seconds were used before this process."""

    def __init__(self, plan: Plan, spent: float) -> None:
        self.plan, self.spent, self.start = plan, spent, time.monotonic()

    @property
    def seconds(self) -> float:
        return self.spent + time.monotonic() - self.start

    def skip(self, seconds: float) -> None:
        """Take back time that was not training: compilation, evaluation."""
        self.start += seconds

    def progress(self, step: int) -> float:
        if self.plan.steps is not None:
            return min(step / self.plan.steps, 1.0)
        assert self.plan.minutes is not None
        return min(self.seconds / (60.0 * self.plan.minutes), 1.0)


def learning_rate(plan: Plan, progress: jax.Array) -> jax.Array:
    """Linear warm-up, then half a cosine down to the floor: [] -> []."""
    rising = jnp.clip(progress / max(plan.warmup, 1e-9), 0.02, 1.0)
    falling = 0.5 + 0.5 * jnp.cos(jnp.pi * jnp.clip(progress, 0.0, 1.0))
    return plan.rate * rising * (plan.floor + (1.0 - plan.floor) * falling)


def optimiser(plan: Plan) -> Any:
    """Muon and AdamW without their learning rate (the caller multiplies).  Only kernels decay."""

    def decays(params: Mapping[str, jax.Array]) -> dict[str, bool]:
        return {name: name.endswith("kernel") for name in params}

    return optax.chain(
        optax.clip_by_global_norm(plan.clip),
        scale_by_muon(hidden_matrix),
        optax.add_decayed_weights(plan.weight_decay, mask=decays),
    )
