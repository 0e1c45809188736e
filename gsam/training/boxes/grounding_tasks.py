"""The tasks of tuning Grounding DINO: its decoder on kept features, or adapters beside it."""

from __future__ import annotations

import abc
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from gsam.inputs.image import canvas, content, make_view
from gsam.models.grounding_dino import GroundingDinoDetector
from gsam.models.grounding_dino.enhancer import Phrases, Picture
from gsam.models.grounding_dino.model import GroundingDino, map_sizes
from gsam.text.packed import Captions
from gsam.training.boxes.grounding_features import on_maps, padded, phrases
from gsam.training.boxes.grounding_loss import ImageTruth, grounding_loss
from gsam.training.boxes.scores import CANDIDATES
from gsam.training.boxes.task import Adapting, BoxTask, Keeping
from gsam.training.boxes.truth import padded_count
from gsam.training.data.entries import Entry
from gsam.training.task import Metrics
from gsam.types import Images, Params

HEADS = r"^(transformer/(decoder|tgt_embed|enc_out)|bbox_embed|class_embed)"
"""Names of the parameters that read what was fused: proposals, decoder and heads."""
CAPTION = "caption/"
"""Beginning of the names of constants that are the caption."""


class Kept(NamedTuple):
    """Images of a batch, fused with the caption."""

    picture: Picture
    words: Any
    """[B, T, D] the caption's tokens beside each."""
    size: Any
    """[B, 2] int32 height and width of the images."""


class Pixels(NamedTuple):
    """Images of a batch."""

    view: Any
    """[B, H, W, 3] uint8."""
    content: Any
    """[B, 2] int32 rows and columns of the view that are image."""
    size: Any
    """[B, 2] int32 height and width of the images."""


class GroundingBatch(NamedTuple):
    """Images of a batch with their boxes."""

    seen: Any
    truth: ImageTruth
    """Arrays [B, ...]."""


class GroundingTask(BoxTask):
    """Tunes Grounding DINO on a caption of all names; BERT is frozen."""

    stage: GroundingDinoDetector
    text = frozenset(f"{CAPTION}{name}" for name in Captions._fields)

    def __init__(
        self,
        stage: GroundingDinoDetector,
        names: Sequence[str],
        caption: Captions[NDArray[Any]],
        train: Sequence[Entry],
        held_out: Sequence[Entry],
        *,
        batch_size: int = 4,
        seed: int = 0,
    ) -> None:
        """Set the task up as `BoxTask`.

        Args:
            stage: The model with its parameters.
            names: The classes.
            caption: They, encoded, see `caption_of`.
            train: Images to learn from.
            held_out: Images to score.
            batch_size: Images of a batch.
            seed: Seed of the order of images.
        """
        super().__init__(stage, names, train, held_out, batch_size=batch_size, seed=seed)
        crowds = [sum(one.crowd for one in entry.objects) for entry in train]
        counts = [len(entry.objects) - crowd for entry, crowd in zip(train, crowds, strict=True)]
        self.count = padded_count(min(max(counts, default=1), stage.config.queries))
        self.crowds = padded_count(max(crowds, default=0))
        self.constants = {f"{CAPTION}{k}": jnp.asarray(v) for k, v in caption._asdict().items()}

    @abc.abstractmethod
    def fused(self, model: GroundingDino, caption: Captions[jax.Array], seen: Any) -> tuple[Picture, Phrases]:
        """Give a batch of images fused with the caption; pure."""

    def init_params(self, seed: int) -> Params:
        """Return the decoder and its heads."""
        return {k: v for k, v in self.stage.params.items() if re.search(HEADS, k)}

    def batch(self, rng: np.random.Generator, step: int) -> GroundingBatch:
        """Return the images of a step."""
        seen, truths = zip(*(self.example(rng, row) for row in self.rows(step)), strict=True)
        return GroundingBatch(self.together(seen), ImageTruth(*(np.stack(part) for part in zip(*truths, strict=True))))

    def loss(
        self, params: Params, constants: Params, batch: GroundingBatch, progress: jax.Array
    ) -> tuple[jax.Array, Metrics]:
        """Return Grounding DINO's loss; see `grounding_loss`."""
        model, caption = self.stage.spec.bind(self.whole(params, constants)), caption_in(constants)
        picture, text = self.fused(model, caption, batch.seen)
        alive, logits, boxes = model.every(picture, text)
        return grounding_loss(logits, boxes, alive, text.real, self.words(caption), batch.truth)

    def words(self, caption: Captions[jax.Array]) -> jax.Array:
        """Tell which tokens are words of each name: [C, T] bool."""
        return caption.query == 1 + jnp.arange(len(self.class_names))[:, None]

    def find(self, params: Params, constants: Params, seen: Any) -> tuple[jax.Array, ...]:
        """Detect the names in a batch of images."""
        model, caption = self.stage.spec.bind(self.whole(params, constants)), caption_in(constants)
        logits, boxes = model.read(*self.fused(model, caption, seen))
        count = len(boxes)
        valid = jnp.ones((count, len(self.class_names)), bool)
        query = jnp.broadcast_to(caption.query, (count, 1, len(caption.query)))
        scores, n = jax.nn.sigmoid(logits)[None], min(CANDIDATES, boxes.shape[1])
        found, labels = self.stage.rank(scores, boxes[None], Images({}, {}, seen.size), query, valid, n)
        return found.xyxy, labels.score, labels.index, found.valid

    def truth(self, boxes: NDArray[np.float32], entry: Entry, size: tuple[int, int]) -> ImageTruth:
        """Lay out the boxes [N, 4] in pixels of an image of ``size``; the smallest of too many, and
        those without area, are left out.
        """
        at = (boxes / np.array([size[1], size[0]] * 2)).astype(np.float32)
        area = np.clip(at[:, 2:] - at[:, :2], 0, None).prod(-1)
        crowd = np.array([one.crowd for one in entry.objects], bool)
        real = np.flatnonzero(~crowd & (area > 0))
        kept = np.sort(real[np.argsort(-area[real], kind="stable")][: self.count])
        crowds = at[crowd][: self.crowds]
        out = ImageTruth(
            np.zeros((self.count, 4), np.float32),
            np.full(self.count, -1, np.int32),
            np.zeros((self.crowds, 4), np.float32),
        )
        out.boxes[: len(kept)], out.labels[: len(kept)], out.crowds[: len(crowds)] = (
            at[kept],
            entry.labels[kept],
            crowds,
        )
        return out


class Decoding(Keeping, GroundingTask):
    """Trains the decoder and its heads on what was fused and kept; nothing before it is run."""

    def fused(self, model: GroundingDino, caption: Captions[jax.Array], seen: Kept) -> tuple[Picture, Phrases]:
        """Give what was kept, in the decoder's type."""
        dtype = model.transformer.enc_output.kernel[...].dtype
        picture = Picture(jnp.asarray(seen.picture.tokens).astype(dtype), seen.picture.sizes, seen.picture.shapes)
        text = phrases(caption, len(seen.words), dtype)
        return picture, Phrases(jnp.asarray(seen.words).astype(dtype), text.block, text.position)

    def together(self, seen: Sequence[Any]) -> Kept:
        """Lay images of any sizes on maps that hold them all."""
        config, view = self.stage.config, self.stage.view
        tokens, words, sizes = zip(*seen, strict=True)
        shapes = map_sizes(np.array(canvas(view, sizes)), config)
        shown = [map_sizes(np.array(content(view, size)), config) for size in sizes]
        laid: Any = np.stack([on_maps(one, part, shapes) for one, part in zip(tokens, shown, strict=True)])
        parts: Any = np.array(shown, np.int32)
        picture = Picture(laid, parts, tuple((int(h), int(w)) for h, w in shapes))
        return Kept(picture, np.stack(words), np.array(sizes, np.int32))

    def kept(self, key: str, flip: int, size: tuple[int, int]) -> tuple[Any, Any, tuple[int, int]]:
        """Read what an image and the caption were fused to."""
        return self.store.get(key, "tokens", flip), self.store.get(key, "words", flip), size


class Adapters(Adapting, GroundingTask):
    """Trains low-rank changes of kernels before the decoder, and the decoder with its heads."""

    def fused(self, model: GroundingDino, caption: Captions[jax.Array], seen: Pixels) -> tuple[Picture, Phrases]:
        """Run the image encoder and the fusion."""
        picture = self.stage.encoded(
            model, Images({self.stage.view.key: seen.view}, {self.stage.view.key: seen.content}, seen.size)
        )
        return model.fuse(picture, phrases(caption, len(seen.size), picture.tokens.dtype))

    def together(self, seen: Sequence[Any]) -> Pixels:
        """Lay images of any sizes on one canvas."""
        views, sizes = zip(*seen, strict=True)
        shown: Any = np.array([one.shape[:2] for one in views], np.int32)
        return Pixels(padded(views, canvas(self.stage.view, sizes)), shown, np.array(sizes, np.int32))

    def viewed(self, pixels: NDArray[np.uint8]) -> tuple[Any, tuple[int, int]]:
        """Bring an image to the view, without padding."""
        size, view = (pixels.shape[0], pixels.shape[1]), self.stage.view
        return make_view(pixels, view, content(view, size)), size


def caption_in(constants: Params) -> Captions[jax.Array]:
    """Find the caption among constants."""
    return Captions(*(constants[f"{CAPTION}{name}"] for name in Captions._fields))
