"""The contract between a model that learns and the trainer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import jax
import numpy as np

from gsam.types import Params

Batch = Any
"""A pytree of arrays of fixed shapes: NumPy's on the host, JAX's in the compiled step."""
Metrics = dict[str, jax.Array]
"""Numbers [] to log, by name."""


class Task(Protocol):
    """A model, its loss and its data."""

    @property
    def constants(self) -> Params:
        """Arrays that the loss reads and that are not trained: frozen weights, tables.

        They are an argument of the compiled step, never part of the program.  ``{}`` for none.
        """

    @property
    def batch_size(self) -> int:
        """Examples of a batch, by which images per second are counted."""

    def init_params(self, seed: int) -> Params:
        """Return the parameters to begin with, all of which are trained."""

    def batch(self, rng: np.random.Generator, step: int) -> Batch:
        """Return the examples of ``step``, on the host: arrays [batch_size, ...] or scalars.

        Chance comes from ``rng``.  It is called in a thread, a few steps ahead and in order.
        """

    def loss(self, params: Params, constants: Params, batch: Batch, progress: jax.Array) -> tuple[jax.Array, Metrics]:
        """Return the loss [] and what to log beside it; a pure function that is compiled.

        ``params`` and ``constants`` come in the type that is computed in (`TrainConfig.dtype`).
        ``progress`` [] float32 is the fraction of the run that is done.
        """

    def evaluate(self, params: Params) -> dict[str, float]:
        """Return figures on data not trained on, on the host; ``{}`` for none."""

    def names(self, step: int) -> Sequence[str]:
        """Return what the images of the batch of ``step`` are called, for messages."""
