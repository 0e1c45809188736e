"""The smallest task there is: two linears fitted to a line through noise."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Line:
    """What goes wrong at which step is up to the test."""

    poison: tuple[int, ...] = ()
    """Steps that are not finite."""
    kill: int = -1
    """A signal comes when the batch of this step is made."""
    signal: int = signal.SIGTERM
    figures: tuple[float, ...] = ()
    """What evaluations give, one after the other; figures of the bias where there are none."""
    batch_size: int = 16
    seen: list[int] = dataclasses.field(default_factory=list)
    """Steps whose batch was made."""
    asked: list[float] = dataclasses.field(default_factory=list)
    """The bias at each evaluation."""

    @property
    def constants(self) -> dict[str, jax.Array]:
        return {"slope": jnp.float32([1.0, -2.0]), "rows": jnp.arange(3)}

    def init_params(self, seed: int) -> dict[str, jax.Array]:
        a = np.random.default_rng(seed).normal(0, 0.3, (2, 8)).astype(np.float32)
        return {"a/kernel": jnp.asarray(a), "b/kernel": jnp.ones((8, 1)), "b/bias": jnp.zeros(1)}

    def batch(self, rng: np.random.Generator, step: int) -> Any:
        self.seen.append(step)
        if step == self.kill:
            os.kill(os.getpid(), self.signal)
        x = rng.normal(size=(self.batch_size, 2)).astype(np.float32)
        return x, np.full(self.batch_size, np.nan if step in self.poison else 0.0, np.float32)

    def loss(self, params: Any, constants: Any, batch: Any, progress: jax.Array) -> Any:
        x, noise = (jnp.asarray(y, params["a/kernel"].dtype) for y in batch)
        y = x @ constants["slope"] + noise
        error = (jnp.tanh(x @ params["a/kernel"]) @ params["b/kernel"] + params["b/bias"])[:, 0] - y
        return (error**2).mean(), {"worst": jnp.abs(error).max()}

    def evaluate(self, params: Any) -> dict[str, float]:
        self.asked.append(float(params["b/bias"][0]))
        if not self.figures:
            return {"bias": self.asked[-1], "iou": 1e4 * self.asked[-1] % 1.0}
        return {"iou": self.figures[min(len(self.asked), len(self.figures)) - 1]}

    def names(self, step: int) -> list[str]:
        return [f"{step}.png"]


def lines(folder: Path, event: str = "step") -> list[dict[str, Any]]:
    """The lines of a log about an event, without their times."""
    every = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "seconds"} for line in every if line["event"] == event]
