"""The tasks of tuning an OWL: its heads on kept tokens, or adapters of the whole image side."""

from __future__ import annotations

import abc
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from gsam.inputs.image import content, make_view
from gsam.models.owl_vit import OwlDetector
from gsam.training.boxes.owl_loss import owl_loss
from gsam.training.boxes.scores import CANDIDATES
from gsam.training.boxes.task import BoxTask
from gsam.training.boxes.truth import Truth, mirrored, padded_count, stacked, truth_of
from gsam.training.data.augmentation import augment
from gsam.training.data.entries import Entry
from gsam.training.kept_features import KeptFeatures
from gsam.training.lora import Lora
from gsam.training.matching import cell_centres
from gsam.training.task import Metrics
from gsam.types import Images, Params

HEADS = r"^(class|box|objectness)_head/"
"""Names of the heads' parameters."""
FLIPS = 2
"""Kept variants of an image: as it is, and mirrored."""
QUERIES = "queries"


class Seen(NamedTuple):
    """The image side of a batch."""

    tokens: Any
    """[B, T, D] kept tokens, or the view's pixels [B, S, S, 3]."""
    content: Any
    """[B, 2] int32 rows and columns of the view that are image."""
    size: Any
    """[B, 2] int32 height and width of the images."""


class BoxBatch(NamedTuple):
    """A batch of images with their boxes."""

    seen: Seen
    truth: Any
    """A `Truth` with arrays [B, ...]."""
    wording: Any
    """[] int32: the wording of the names."""


class OwlTask(BoxTask):
    """Tunes an OWL.

    The text encoder is frozen: the embeddings of the names, in several wordings of which each step
    draws one, are constants.
    """

    def __init__(
        self,
        stage: OwlDetector,
        names: Sequence[str],
        queries: NDArray[np.float32],
        train: Sequence[Entry],
        held_out: Sequence[Entry],
        *,
        batch_size: int = 8,
        seed: int = 0,
    ) -> None:
        """Set the task up as `BoxTask`.

        Args:
            stage: The model with its parameters.
            names: The classes.
            queries: [W, C, D] embeddings of the names in W wordings; the first is evaluated.
            train: Images to learn from.
            held_out: Images to score.
            batch_size: Images of a batch.
            seed: Seed of the order of images.
        """
        super().__init__(names, train, held_out, batch_size=batch_size, seed=seed)
        self.stage, self.wordings = stage, len(queries)
        self.centres = cell_centres(stage.config.image_size // stage.config.patch)
        counts = (sum(not one.crowd for one in entry.objects) for entry in train)
        self.count = padded_count(min(max(counts, default=1), len(self.centres)))
        self.constants = {QUERIES: jnp.asarray(queries, jnp.float32)}

    @abc.abstractmethod
    def whole(self, params: Params, constants: Params) -> Params:
        """Give all of the model's parameters that are read; pure."""

    @abc.abstractmethod
    def tokens(self, whole: Params, seen: Seen) -> jax.Array:
        """Give the tokens [B, T, D] of a batch; pure."""

    @abc.abstractmethod
    def example(self, rng: np.random.Generator, index: int) -> tuple[tuple[Any, Any, Any], Truth]:
        """Make one image of a batch: pixels or tokens, content, size, and its truth."""

    @abc.abstractmethod
    def seen(self, index: int) -> tuple[Any, Any, Any]:
        """Make one held-out image: pixels or tokens, content, size."""

    def batch(self, rng: np.random.Generator, step: int) -> BoxBatch:
        """Return the images of a step."""
        seen, truths = zip(*(self.example(rng, row) for row in self.rows(step)), strict=True)
        wording = np.int32(rng.integers(self.wordings))
        return BoxBatch(self.together(seen), stacked(truths), wording)

    def together(self, seen: Sequence[tuple[Any, Any, Any]]) -> Seen:
        """Stack images."""
        first, contents, sizes = zip(*seen, strict=True)
        return Seen(np.stack(first), np.asarray(contents, np.int32), np.asarray(sizes, np.int32))

    def loss(
        self, params: Params, constants: Params, batch: BoxBatch, progress: jax.Array
    ) -> tuple[jax.Array, Metrics]:
        """Return OWL's loss; see `owl_loss`."""
        whole = self.whole(params, constants)
        model = self.stage.spec.bind(whole)
        queries = constants[QUERIES][batch.wording]
        return owl_loss(
            model,
            self.tokens(whole, batch.seen),
            queries,
            batch.truth.boxes,
            batch.truth.labels,
            batch.truth.ignored,
            self.centres,
            objectness=self.stage.config.objectness,
        )

    def find(self, params: Params, constants: Params, seen: Seen) -> tuple[jax.Array, ...]:
        """Detect the names in a batch of images."""
        whole, queries = self.whole(params, constants), constants[QUERIES][0]
        images = Images({}, {self.stage.view.key: seen.content}, seen.size)
        tokens = self.tokens(whole, seen)
        text = jnp.broadcast_to(queries, (len(tokens), *queries.shape))
        valid = jnp.ones(text.shape[:2], bool)
        n = min(CANDIDATES, tokens.shape[1])
        boxes, labels = self.stage.detect(whole, images, text, valid, n, tokens)
        return boxes.xyxy, labels.score, labels.index, boxes.valid

    def _truth(self, boxes: NDArray[np.float32], entry: Entry, size: tuple[int, int]) -> Truth:
        crowd = np.array([one.crowd for one in entry.objects], bool)
        return truth_of(boxes, entry.labels, crowd, size, self.stage.view, self.centres, self.count)


class Heads(OwlTask):
    """Trains the heads on tokens that were kept; the image encoder is not run."""

    def __init__(
        self,
        *arguments: Any,
        store: KeptFeatures,
        keys: Sequence[str],
        held_out_keys: Sequence[str],
        **settings: Any,
    ) -> None:
        """Set the task up as `OwlTask`.

        Args:
            *arguments: Those of `OwlTask`.
            store: Where the tokens are, see `token_store`.
            keys: Name of each training image in the store.
            held_out_keys: Name of each held-out image.
            **settings: Those of `OwlTask`.
        """
        super().__init__(*arguments, **settings)
        self.store, self.keys, self.held_out_keys = store, keys, held_out_keys

    def init_params(self, seed: int) -> Params:
        """Return the model's heads."""
        return heads(self.stage.params)

    def whole(self, params: Params, constants: Params) -> Params:
        """Give the heads, and zeros for what they do not read, which costs nothing."""
        return {k: params[k] if k in params else jnp.zeros(s.shape, s.dtype) for k, s in self.stage.spec.shapes.items()}

    def tokens(self, whole: Params, seen: Seen) -> jax.Array:
        """Give the kept tokens in the heads' type."""
        return jnp.asarray(seen.tokens).astype(whole["class_head/dense0/kernel"].dtype)

    def example(self, rng: np.random.Generator, index: int) -> tuple[tuple[Any, Any, Any], Truth]:
        """Read an image's tokens, mirrored every other time."""
        entry, flip = self.train[index], int(rng.integers(FLIPS))
        boxes = mirrored(entry.boxes, entry.width) if flip else entry.boxes
        size = entry.height, entry.width
        return self._kept(self.keys[index], flip, size), self._truth(boxes, entry, size)

    def seen(self, index: int) -> tuple[Any, Any, Any]:
        """Read a held-out image's tokens."""
        entry = self.held_out[index]
        return self._kept(self.held_out_keys[index], 0, (entry.height, entry.width))

    def _kept(self, key: str, flip: int, size: tuple[int, int]) -> tuple[Any, Any, Any]:
        return self.store.get(key, "tokens", flip), content(self.stage.view, size), size


class Adapters(OwlTask):
    """Trains low-rank changes of the image encoder's kernels, and the heads."""

    def __init__(self, *arguments: Any, lora: Lora, zoom: float = 1.5, light: float = 0.2, **settings: Any) -> None:
        """Set the task up as `OwlTask`.

        Args:
            *arguments: Those of `OwlTask`.
            lora: Which kernels change.
            zoom: Images are enlarged by up to this factor.
            light: Strength of changes of brightness and contrast.
            **settings: Those of `OwlTask`.
        """
        super().__init__(*arguments, **settings)
        self.lora, self.zoom, self.light = lora, zoom, light
        self.constants |= self.stage.params

    def init_params(self, seed: int) -> Params:
        """Return the heads, and adapters that change nothing yet."""
        return heads(self.stage.params) | self.lora.init(self.stage.params, seed)

    def whole(self, params: Params, constants: Params) -> Params:
        """Put the heads into the model, and merge the adapters."""
        mine = {k: params.get(k, v) for k, v in constants.items() if k != QUERIES}
        return self.lora.merge(mine, {k: v for k, v in params.items() if k not in mine})

    def tokens(self, whole: Params, seen: Seen) -> jax.Array:
        """Run the image encoder."""
        key = self.stage.view.key
        return self.stage.features(whole, Images({key: seen.tokens}, {key: seen.content}, seen.size))

    def example(self, rng: np.random.Generator, index: int) -> tuple[tuple[Any, Any, Any], Truth]:
        """Open an image and augment it."""
        entry = self.train[index]
        pixels, _, boxes = augment(rng, entry.open(), None, entry.boxes, zoom=self.zoom, flip=0.5, light=self.light)
        assert boxes is not None
        size = pixels.shape[0], pixels.shape[1]
        return self._view(pixels), self._truth(boxes, entry, size)

    def seen(self, index: int) -> tuple[Any, Any, Any]:
        """Open a held-out image."""
        return self._view(self.held_out[index].open())

    def _view(self, pixels: NDArray[np.uint8]) -> tuple[Any, Any, Any]:
        size = pixels.shape[0], pixels.shape[1]
        return make_view(pixels, self.stage.view), content(self.stage.view, size), size


def heads(params: Params) -> Params:
    """Pick the parameters of OWL's heads out of all."""
    return {k: v for k, v in params.items() if re.search(HEADS, k)}
