"""Tuning a detector on boxes with names: what the tasks of all families share."""

from __future__ import annotations

import abc
import functools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from gsam.training.boxes.scores import BoxScores, Found, box_scores
from gsam.training.data.entries import Entry
from gsam.training.order import rows_of
from gsam.training.task import Metrics
from gsam.types import Params


class BoxTask(abc.ABC):
    """Tunes a detector on boxes with names; see `gsam.training.task.Task`.

    What is trained, and how images and truths are laid out, is a family's own.
    """

    constants: Params

    def __init__(
        self,
        names: Sequence[str],
        train: Sequence[Entry],
        held_out: Sequence[Entry],
        *,
        batch_size: int,
        seed: int = 0,
    ) -> None:
        """Set the task up.

        Args:
            names: The classes.
            train: Images to learn from.
            held_out: Images to score.
            batch_size: Images of a batch.
            seed: Seed of the order of images.
        """
        self.class_names, self.train, self.held_out = tuple(names), train, held_out
        self.batch_size, self.seed = batch_size, seed

    @abc.abstractmethod
    def init_params(self, seed: int) -> Params:
        """Return what is trained."""

    @abc.abstractmethod
    def batch(self, rng: np.random.Generator, step: int) -> Any:
        """Return the images of a step with their truths."""

    @abc.abstractmethod
    def loss(self, params: Params, constants: Params, batch: Any, progress: jax.Array) -> tuple[jax.Array, Metrics]:
        """Return the loss and its parts; pure."""

    @abc.abstractmethod
    def seen(self, index: int) -> Any:
        """Make one held-out image, without its truth."""

    @abc.abstractmethod
    def together(self, seen: Sequence[Any]) -> Any:
        """Make a batch of images."""

    @abc.abstractmethod
    def find(self, params: Params, constants: Params, seen: Any) -> tuple[jax.Array, ...]:
        """Detect the names in a batch of images; pure.

        Returns:
            Boxes [B, n, 4] in pixels of the images, scores [B, n], indices of names [B, n], and
            which of them are real [B, n] bool.
        """

    def rows(self, step: int) -> Sequence[int]:
        """Indices of the images of a step."""
        return [int(row) for row in rows_of(step, self.batch_size, len(self.train), self.seed)]

    def names(self, step: int) -> Sequence[str]:
        """Name the images of a step."""
        return [self.train[row].id for row in self.rows(step)]

    def evaluate(self, params: Params) -> dict[str, float]:
        """Return AP50 and recall on the held-out images."""
        if not len(self.held_out):
            return {}
        found = self.scores(params)
        return {"AP50": found.ap50[None], "recall": found.recall[None]}

    def scores(self, params: Params) -> BoxScores:
        """Score the held-out images by class.

        Args:
            params: Trained parameters, float32.
        """
        return box_scores(self.class_names, self.held_out, self.detect(params))

    def detect(self, params: Params) -> list[Found]:
        """Detect the names in every held-out image, as a pipeline with its usual limits does.

        Args:
            params: Trained parameters, float32.
        """
        out: list[Found] = []
        params, constants = jax.device_put(({k: np.asarray(v) for k, v in params.items()}, self.constants))
        for start in range(0, len(self.held_out), self.batch_size):
            rows = range(start, min(start + self.batch_size, len(self.held_out)))
            made = [self.seen(i) for i in rows]
            made += [made[-1]] * (self.batch_size - len(made))
            found = jax.device_get(self._find(params, constants, self.together(made)))
            out += [Found(*(part[i][found[-1][i]] for part in found[:-1])) for i in range(len(rows))]
        return out

    @functools.cached_property
    def _find(self) -> Any:
        return jax.jit(self.find)
