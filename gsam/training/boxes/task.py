"""Tuning a detector on boxes with names: what the tasks of all families share."""

from __future__ import annotations

import abc
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from gsam.training.boxes.scores import BoxScores, Found, box_scores
from gsam.training.boxes.truth import mirrored
from gsam.training.data.augmentation import augment
from gsam.training.data.entries import Entry
from gsam.training.kept_features import KeptFeatures
from gsam.training.lora import Lora
from gsam.training.order import rows_of
from gsam.training.task import Metrics
from gsam.types import Params

FLIPS = 2
"""Kept variants of an image: as it is, and mirrored."""


class BoxTask(abc.ABC):
    """Tunes a detector on boxes with names; see `gsam.training.task.Task`.

    What is trained, and how images and truths are laid out, is a family's own.
    """

    constants: Params
    """Arrays that stay: the text, and parameters of the model that are not trained."""
    text: frozenset[str]
    """Constants that are no parameters."""

    def __init__(
        self,
        stage: Any,
        names: Sequence[str],
        train: Sequence[Entry],
        held_out: Sequence[Entry],
        *,
        batch_size: int,
        seed: int = 0,
    ) -> None:
        """Set the task up.

        Args:
            stage: The model with its parameters.
            names: The classes.
            train: Images to learn from.
            held_out: Images to score.
            batch_size: Images of a batch.
            seed: Seed of the order of images.
        """
        self.stage = stage
        self.class_names, self.train, self.held_out = tuple(names), train, held_out
        self.batch_size, self.seed = batch_size, seed

    @abc.abstractmethod
    def init_params(self, seed: int) -> Params:
        """Return what is trained."""

    @abc.abstractmethod
    def whole(self, params: Params, constants: Params) -> Params:
        """Give all of the model's parameters that are read; pure."""

    @abc.abstractmethod
    def truth(self, boxes: NDArray[np.float32], entry: Entry, size: tuple[int, int]) -> Any:
        """Lay out the boxes [N, 4] in pixels of an image of ``size`` as the loss reads them."""

    @abc.abstractmethod
    def example(self, rng: np.random.Generator, index: int) -> tuple[Any, Any]:
        """Make one image of a batch, and its truth."""

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


class Keeping(BoxTask):
    """Trains what reads an image's features, which were computed once and kept."""

    def __init__(
        self,
        *arguments: Any,
        store: KeptFeatures,
        keys: Sequence[str],
        held_out_keys: Sequence[str],
        **settings: Any,
    ) -> None:
        """Set the task up as its family's.

        Args:
            *arguments: Those of the family's task.
            store: Where the features are.
            keys: Name of each training image in the store.
            held_out_keys: Name of each held-out image.
            **settings: Those of the family's task.
        """
        super().__init__(*arguments, **settings)
        self.store, self.keys, self.held_out_keys = store, keys, held_out_keys

    @abc.abstractmethod
    def kept(self, key: str, flip: int, size: tuple[int, int]) -> Any:
        """Read a variant of an image of ``size`` from the store."""

    def whole(self, params: Params, constants: Params) -> Params:
        """Give what is trained, and zeros for what it does not read, which costs nothing."""
        return {k: params[k] if k in params else jnp.zeros(s.shape, s.dtype) for k, s in self.stage.spec.shapes.items()}

    def example(self, rng: np.random.Generator, index: int) -> tuple[Any, Any]:
        """Read an image's features, mirrored every other time."""
        entry, flip = self.train[index], int(rng.integers(FLIPS))
        boxes = mirrored(entry.boxes, entry.width) if flip else entry.boxes
        size = entry.height, entry.width
        return self.kept(self.keys[index], flip, size), self.truth(boxes, entry, size)

    def seen(self, index: int) -> Any:
        """Read a held-out image's features."""
        entry = self.held_out[index]
        return self.kept(self.held_out_keys[index], 0, (entry.height, entry.width))


class Adapting(BoxTask):
    """Trains low-rank changes of the image encoder's kernels too, which is run in every step."""

    def __init__(self, *arguments: Any, lora: Lora, zoom: float = 1.5, light: float = 0.2, **settings: Any) -> None:
        """Set the task up as its family's.

        Args:
            *arguments: Those of the family's task.
            lora: Which kernels change.
            zoom: Images are enlarged by up to this factor.
            light: Strength of changes of brightness and contrast.
            **settings: Those of the family's task.
        """
        super().__init__(*arguments, **settings)
        self.lora, self.zoom, self.light = lora, zoom, light
        self.constants |= self.stage.params

    @abc.abstractmethod
    def viewed(self, pixels: NDArray[np.uint8]) -> Any:
        """Bring an image [H, W, 3] to the detector's view."""

    def init_params(self, seed: int) -> Params:
        """Return what the family's task trains, and adapters that change nothing yet."""
        return super().init_params(seed) | self.lora.init(self.stage.params, seed)  # type: ignore[safe-super]

    def whole(self, params: Params, constants: Params) -> Params:
        """Put what is trained into the model, and merge the adapters."""
        mine = {k: params.get(k, v) for k, v in constants.items() if k not in self.text}
        return self.lora.merge(mine, {k: v for k, v in params.items() if k not in mine})

    def example(self, rng: np.random.Generator, index: int) -> tuple[Any, Any]:
        """Open an image and augment it."""
        entry = self.train[index]
        pixels, _, boxes = augment(rng, entry.open(), None, entry.boxes, zoom=self.zoom, flip=0.5, light=self.light)
        assert boxes is not None
        return self.viewed(pixels), self.truth(boxes, entry, (pixels.shape[0], pixels.shape[1]))

    def seen(self, index: int) -> Any:
        """Open a held-out image."""
        return self.viewed(self.held_out[index].open())
