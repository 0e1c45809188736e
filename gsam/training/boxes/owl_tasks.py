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
from gsam.training.boxes.task import Adapting, BoxTask, Keeping
from gsam.training.boxes.truth import Truth, padded_count, stacked, truth_of
from gsam.training.data.entries import Entry
from gsam.training.matching import cell_centres
from gsam.training.task import Metrics
from gsam.types import Images, Params

HEADS = r"^(class|box|objectness)_head/"
"""Names of the heads' parameters."""
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

    stage: OwlDetector
    text = frozenset({QUERIES})

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
        super().__init__(stage, names, train, held_out, batch_size=batch_size, seed=seed)
        self.wordings = len(queries)
        self.centres = cell_centres(stage.config.image_size // stage.config.patch)
        counts = (sum(not one.crowd for one in entry.objects) for entry in train)
        self.count = padded_count(min(max(counts, default=1), len(self.centres)))
        self.constants = {QUERIES: jnp.asarray(queries, jnp.float32)}

    @abc.abstractmethod
    def tokens(self, whole: Params, seen: Seen) -> jax.Array:
        """Give the tokens [B, T, D] of a batch; pure."""

    def init_params(self, seed: int) -> Params:
        """Return the model's heads."""
        return {k: v for k, v in self.stage.params.items() if re.search(HEADS, k)}

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

    def truth(self, boxes: NDArray[np.float32], entry: Entry, size: tuple[int, int]) -> Truth:
        """Lay out boxes, see `truth_of`."""
        crowd = np.array([one.crowd for one in entry.objects], bool)
        return truth_of(boxes, entry.labels, crowd, size, self.stage.view, self.centres, self.count)


class Heads(Keeping, OwlTask):
    """Trains the heads on tokens that were kept; the image encoder is not run."""

    def tokens(self, whole: Params, seen: Seen) -> jax.Array:
        """Give the kept tokens in the heads' type."""
        return jnp.asarray(seen.tokens).astype(whole["class_head/dense0/kernel"].dtype)

    def kept(self, key: str, flip: int, size: tuple[int, int]) -> tuple[Any, Any, Any]:
        """Read an image's tokens."""
        return self.store.get(key, "tokens", flip), content(self.stage.view, size), size


class Adapters(Adapting, OwlTask):
    """Trains low-rank changes of the image encoder's kernels, and the heads."""

    def tokens(self, whole: Params, seen: Seen) -> jax.Array:
        """Run the image encoder."""
        key = self.stage.view.key
        return self.stage.features(whole, Images({key: seen.tokens}, {key: seen.content}, seen.size))

    def viewed(self, pixels: NDArray[np.uint8]) -> tuple[Any, Any, Any]:
        """Bring an image to OWL's square."""
        size = pixels.shape[0], pixels.shape[1]
        return make_view(pixels, self.stage.view), content(self.stage.view, size), size
