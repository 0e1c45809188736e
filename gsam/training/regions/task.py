"""The tasks of tuning CLIP or SigLIP: the heads on kept features, or adapters of the encoder."""

from __future__ import annotations

import abc
import dataclasses
import functools
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpy.typing import NDArray

from gsam.models.region_classifier import RegionClassifier
from gsam.ops.regions import similarity
from gsam.training.kept_features import KeptFeatures
from gsam.training.lora import Lora
from gsam.training.order import rows_of
from gsam.training.regions.crops import normalised
from gsam.training.task import Metrics
from gsam.types import Params

TEXT = "text"
"""Name of the constant with the text encoder's output."""
SMOOTHING = 0.05
"""Share of the target that all names have together."""


@dataclasses.dataclass(frozen=True)
class Crops:
    """Labelled crops of a data set, by image."""

    keys: Sequence[str]
    """Name of each image in the store."""
    images: Sequence[str]
    """Id of each image, for messages."""
    places: NDArray[np.int32]
    """[N, 2] image and row in it of each crop."""
    labels: NDArray[np.int32]
    """[N] index of the name."""

    def __len__(self) -> int:
        return len(self.labels)


class CropBatch(NamedTuple):
    """A batch of crops."""

    seen: Any
    """[B, D] kept features, or [B, S, S, 3] uint8 crops."""
    labels: Any
    """[B] int32."""
    light: Any
    """[B, 2] float32: factor and shift, in grey levels, of a crop's pixels."""
    wording: Any
    """[] int32."""


class CropTask(abc.ABC):
    """Tunes a classifier on labelled crops; see `gsam.training.task.Task`.

    The text encoder is run once: what its head reads is a constant, of the names in several
    wordings, of which each step draws one.
    """

    constants: Params

    def __init__(
        self,
        stage: RegionClassifier,
        names: Sequence[str],
        text: NDArray[np.float32],
        store: KeptFeatures,
        train: Crops,
        held_out: Crops,
        *,
        variants: int = 4,
        batch_size: int = 64,
        seed: int = 0,
    ) -> None:
        """Set the task up.

        Args:
            stage: The model with its parameters.
            names: The classes.
            text: [W, C + K, D] of the text encoder before its head, for W wordings of C names and
                K negatives, which are never right; the first wording is evaluated.
            store: Where features or crops are.
            train: Crops to learn from.
            held_out: Crops to score.
            variants: Kept variants of a crop, of which the first has the box as it is.
            batch_size: Crops of a batch.
            seed: Seed of the order.
        """
        self.stage, self.class_names, self.store = stage, tuple(names), store
        self.train, self.held_out, self.variants = train, held_out, variants
        self.batch_size, self.seed, self.wordings = batch_size, seed, len(text)
        self.constants = {TEXT: jnp.asarray(text, jnp.float32)}

    @abc.abstractmethod
    def init_params(self, seed: int) -> Params:
        """Return what is trained."""

    @abc.abstractmethod
    def whole(self, params: Params, constants: Params) -> Params:
        """Give all of the model's parameters that are read; pure."""

    @abc.abstractmethod
    def embed(self, model: Any, whole: Params, batch: CropBatch) -> jax.Array:
        """Give unit vectors [B, P] of the crops; pure."""

    def heads(self) -> Params:
        """Pick the parameters of the heads out of all."""
        return {k: v for k, v in self.stage.params.items() if re.fullmatch(self.stage.head, k)}

    def batch(self, rng: np.random.Generator, step: int) -> CropBatch:
        """Return the crops of a step."""
        rows = rows_of(step, self.batch_size, len(self.train), self.seed)
        drawn = rng.integers(self.variants, size=len(rows))
        seen = np.stack([self.example(rng, self.train, int(i), int(v)) for i, v in zip(rows, drawn, strict=True)])
        light = np.stack([rng.uniform(0.8, 1.2, len(rows)), rng.uniform(-20, 20, len(rows))], -1).astype(np.float32)
        return CropBatch(seen, self.train.labels[rows], light, np.int32(rng.integers(self.wordings)))

    def example(self, rng: np.random.Generator, crops: Crops, index: int, variant: int) -> NDArray[Any]:
        """Make one example of a batch."""
        return self.kept(crops, index, variant)

    def kept(self, crops: Crops, index: int, variant: int) -> NDArray[Any]:
        """Read a variant of a crop, or its features."""
        image, row = crops.places[index]
        return self.store.get(crops.keys[image], "crops", int(row) * self.variants + variant)

    def loss(
        self, params: Params, constants: Params, batch: CropBatch, progress: jax.Array
    ) -> tuple[jax.Array, Metrics]:
        """Return the cross entropy of the names: by softmax for CLIP, by sigmoids for SigLIP."""
        logits = self._logits(params, constants, batch)
        wanted = jax.nn.one_hot(batch.labels, logits.shape[-1])
        if self.stage.exclusive:
            smooth = (1 - SMOOTHING) * wanted + SMOOTHING / logits.shape[-1]
            cost = optax.softmax_cross_entropy(logits, smooth)
        else:
            cost = optax.sigmoid_binary_cross_entropy(logits, wanted).sum(-1)
        right = (logits.argmax(-1) == batch.labels).astype(jnp.float32).mean()
        return cost.mean(), {"right": right}

    def _logits(self, params: Params, constants: Params, batch: CropBatch) -> jax.Array:
        whole = self.whole(params, constants)
        model = self.stage.spec.bind(whole)
        text = constants[TEXT][batch.wording].astype(whole[self.stage.last].dtype)  # [C, D]
        seen = self.embed(model, whole, batch)
        logits: jax.Array = model.logits(similarity(seen[None], model.text_head(text)[None])[0])
        return logits.astype(jnp.float32)

    def names(self, step: int) -> Sequence[str]:
        """Name the images that the crops of a step are of."""
        rows = rows_of(step, self.batch_size, len(self.train), self.seed)
        return list(dict.fromkeys(self.train.images[i] for i in self.train.places[rows, 0]))

    def evaluate(self, params: Params) -> dict[str, float]:
        """Return the share of held-out crops that are named right, and the mean over classes."""
        if not len(self.held_out):
            return {}
        right = self.answers(params).argmax(-1) == self.held_out.labels
        classes = [right[self.held_out.labels == k].mean() for k in np.unique(self.held_out.labels)]
        return {"accuracy": float(right.mean()), "by class": float(np.mean(classes))}

    def answers(self, params: Params) -> NDArray[np.float32]:
        """Give the probabilities of the names for every held-out crop.

        Args:
            params: Trained parameters, float32.

        Returns:
            [N, C] float32.
        """
        out: list[NDArray[np.float32]] = []
        params, constants = jax.device_put(({k: np.asarray(v) for k, v in params.items()}, self.constants))
        for start in range(0, len(self.held_out), self.batch_size):
            rows = np.arange(start, start + self.batch_size).clip(max=len(self.held_out) - 1)
            seen = np.stack([self.kept(self.held_out, int(i), 0) for i in rows])
            plain = np.tile(np.array([1, 0], np.float32), (len(rows), 1))
            batch = CropBatch(seen, self.held_out.labels[rows], plain, np.int32(0))
            found = np.asarray(self._answer(params, constants, batch))
            out.append(found[: min(self.batch_size, len(self.held_out) - start)])
        return np.concatenate(out)

    @functools.cached_property
    def _answer(self) -> Any:
        def run(params: Params, constants: Params, batch: CropBatch) -> jax.Array:
            logits = self._logits(params, constants, batch)[:, : len(self.class_names)]
            usable = jnp.ones(logits.shape, bool)
            return self.stage.probabilities(logits, usable)

        return jax.jit(run)


class Head(CropTask):
    """Trains the heads of both encoders on kept features; no encoder is run."""

    def init_params(self, seed: int) -> Params:
        """Return the heads."""
        return self.heads()

    def whole(self, params: Params, constants: Params) -> Params:
        """Give the heads, and zeros for what they do not read, which costs nothing."""
        return {k: params[k] if k in params else jnp.zeros(s.shape, s.dtype) for k, s in self.stage.spec.shapes.items()}

    def embed(self, model: Any, whole: Params, batch: CropBatch) -> jax.Array:
        """Run the image head on kept features."""
        vectors: jax.Array = model.image_head(jnp.asarray(batch.seen).astype(whole[self.stage.last].dtype))
        return vectors


class Adapters(CropTask):
    """Trains low-rank changes of the image encoder's kernels, and the heads."""

    def __init__(self, *arguments: Any, lora: Lora, **settings: Any) -> None:
        """Set the task up as `CropTask`.

        Args:
            *arguments: Those of `CropTask`.
            lora: Which kernels change.
            **settings: Those of `CropTask`.
        """
        super().__init__(*arguments, **settings)
        self.lora = lora
        self.constants |= self.stage.params

    def init_params(self, seed: int) -> Params:
        """Return the heads, and adapters that change nothing yet."""
        return self.heads() | self.lora.init(self.stage.params, seed)

    def whole(self, params: Params, constants: Params) -> Params:
        """Put the heads into the model, and merge the adapters."""
        mine = {k: params.get(k, v) for k, v in constants.items() if k != TEXT}
        return self.lora.merge(mine, {k: v for k, v in params.items() if k not in mine})

    def example(self, rng: np.random.Generator, crops: Crops, index: int, variant: int) -> NDArray[Any]:
        """Read one crop, mirrored every other time."""
        cut = self.kept(crops, index, variant)
        return cut[:, ::-1] if rng.random() < 0.5 else cut

    def embed(self, model: Any, whole: Params, batch: CropBatch) -> jax.Array:
        """Run the image encoder on crops under other light."""
        factor, shift = batch.light[:, 0, None, None, None], batch.light[:, 1, None, None, None]
        lit = jnp.clip(jnp.asarray(batch.seen).astype(jnp.float32) * factor + shift, 0.0, 255.0)
        vectors: jax.Array = model.image(normalised(self.stage, lit, whole[self.stage.last].dtype))
        return vectors
