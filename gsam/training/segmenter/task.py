"""Fine-tuning of a promptable segmenter, as a task of the trainer."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gsam.models.promptable import PromptableSegmenter
from gsam.training.data.entries import Entry
from gsam.training.lora import Lora
from gsam.training.segmenter.examples import Examples
from gsam.training.segmenter.features import ImageFeatures, seen
from gsam.training.segmenter.loss import PromptLoss
from gsam.training.segmenter.parts import Parts, What
from gsam.training.segmenter.prompts import Rules
from gsam.training.segmenter.scores import BOX, CLICK, CLICKS, ObjectScore, Scorer
from gsam.training.task import Batch, Metrics
from gsam.types import Params, PyTree

FIGURES = {BOX: "iou_box", CLICK: "iou_click", CLICKS: "iou_three_clicks"}
"""Names in the log of mean IoU by prompt; ``iou`` is the mean of them."""
INTERIM = 64
"""Held-out images that are scored while training goes on, at most."""


class SegmenterTask:
    """The task of fine-tuning a segmenter, see `gsam.training.task.Task`."""

    def __init__(
        self,
        stage: PromptableSegmenter,
        parts: Parts,
        rules: Rules,
        examples: Examples,
        held_out: Sequence[Entry],
        *,
        what: What,
        lora: Lora | None = None,
        features: ImageFeatures | None = None,
        dtype: Any = jnp.float32,
    ) -> None:
        """Put a task together; nothing is computed yet.

        Args:
            stage: The model before training, its numbers on the host.
            parts: What its parameters are for.
            rules: The prompts.
            examples: The batches.
            held_out: Images that are scored and not trained on; may be empty.
            what: The part that is trained.
            lora: The adapters, for ``what="lora"``.
            features: Kept features, where the encoder is not trained.
            dtype: The type in which held-out images are scored.
        """
        self.stage, self.examples, self.held_out = stage, examples, held_out
        self.lora, self.features, self.dtype = lora, features, dtype
        self.trained = parts.trained(what)
        self.scorer = Scorer(stage, rules, examples.side)
        self._loss = PromptLoss(teachable(stage), rules)
        unread = parts.features - parts.answers if features is not None else frozenset[str]()
        self._absent = sorted(unread - set(self.trained))
        self._encode = jax.jit(stage.features)
        self._last: tuple[Params, list[ObjectScore]] | None = None

    @property
    def batch_size(self) -> int:
        """Images of a batch."""
        return self.examples.batch_size

    @functools.cached_property
    def constants(self) -> Params:
        """The parameters that are read and not trained, as they are."""
        left_out = {*self._absent, *self.trained}
        return {name: value for name, value in self.stage.params.items() if name not in left_out}

    def init_params(self, seed: int) -> Params:
        """Return what is trained: some parameters as they are, or adapters that change nothing."""
        if self.lora is not None:
            return self.lora.init(self.stage.params, seed)
        return {name: jnp.asarray(self.stage.params[name]) for name in self.trained}

    def batch(self, rng: np.random.Generator, step: int) -> Batch:
        """Return images or features with prompts, see `Examples.batch`."""
        return self.examples.batch(rng, step)

    def names(self, step: int) -> Sequence[str]:
        """Return the ids of the images of a step."""
        return self.examples.names(step)

    def loss(self, params: Params, constants: Params, batch: Batch, progress: jax.Array) -> tuple[jax.Array, Metrics]:
        """Return the loss of a batch, see `PromptLoss`."""
        given, prompts = batch
        every = self.whole(params, constants)
        dtype = next(v.dtype for v in every.values() if jnp.issubdtype(v.dtype, jnp.floating))
        if self.features is not None:
            features: PyTree = jax.tree.map(lambda x: x.astype(dtype), given)
        else:
            features = self._loss.stage.features(every, given)
        return self._loss(every, features, prompts)

    def whole(self, params: Params, constants: Params) -> Params:
        """Put all parameters of the model together; those that nothing reads are zeros.  Pure."""
        dtype = next(v.dtype for v in {**constants, **params}.values() if jnp.issubdtype(v.dtype, jnp.floating))
        every = {name: jnp.zeros(self.stage.params[name].shape, dtype) for name in self._absent} | constants
        return every | params if self.lora is None else self.lora.merge(every, params)

    def evaluate(self, params: Params) -> dict[str, float]:
        """Return mean IoU on held-out images, by prompt and over all."""
        if not len(self.held_out):
            return {}
        found = self.score(params, INTERIM)
        figures = {FIGURES[name]: _mean([s.iou for s in found if s.prompt == name]) for name in self.scorer.prompts}
        return {"iou": _mean(list(figures.values())), **figures}

    def score(self, params: Params, images: int | None = None) -> list[ObjectScore]:
        """Score held-out images.

        Args:
            params: What is trained.
            images: The first so many only; None for all.

        Returns:
            A score for each object and prompt.
        """
        if self._last is not None and self._last[0] is params and len(self.held_out) <= INTERIM:
            return self._last[1]
        every = self.model(params)
        entries = (self.held_out[i] for i in range(min(len(self.held_out), images or len(self.held_out))))
        found = list(self.scorer.scores(every, entries, functools.partial(self.features_of, every)))
        self._last = (params, found)
        return found

    def model(self, params: Params) -> Params:
        """Put all parameters of the model on a device, as held-out images are scored with them."""
        trained = {name: jnp.asarray(value) for name, value in params.items()}
        every = {name: jnp.asarray(value) for name, value in self.stage.params.items()}
        merged = every | trained if self.lora is None else jax.jit(self.lora.merge)(every, trained)
        return {k: v.astype(self.dtype) if jnp.issubdtype(v.dtype, jnp.floating) else v for k, v in merged.items()}

    def features_of(self, every: Params, entry: Entry) -> PyTree:
        """Return the features of an image, kept or computed, without the leading axis."""
        if self.features is not None:
            return self.features.get(entry)
        return jax.tree.map(lambda x: x[0], self._encode(every, seen(self.stage, [entry.open()])))


def teachable(stage: PromptableSegmenter) -> PromptableSegmenter:
    """Let a model answer as it is taught: SAM 2 without replacing unstable masks."""
    if not hasattr(stage, "dynamic_multimask"):
        return stage
    return dataclasses.replace(stage, dynamic_multimask=False)  # type: ignore[call-arg]


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else 0.0
