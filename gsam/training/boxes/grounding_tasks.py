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
from gsam.training.boxes.task import BoxTask
from gsam.training.boxes.truth import mirrored, padded_count
from gsam.training.data.augmentation import augment
from gsam.training.data.entries import Entry
from gsam.training.kept_features import KeptFeatures
from gsam.training.lora import Lora
from gsam.training.task import Metrics
from gsam.types import Images, Params

HEADS = r"^(transformer/(decoder|tgt_embed|enc_out)|bbox_embed|class_embed)"
"""Names of the parameters that read what was fused: proposals, decoder and heads."""
CAPTION = "caption/"
"""Constants that are the caption."""
FLIPS = 2
"""Kept variants of an image: as it is, and mirrored."""


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
        super().__init__(names, train, held_out, batch_size=batch_size, seed=seed)
        self.stage = stage
        crowds = [sum(one.crowd for one in entry.objects) for entry in train]
        counts = [len(entry.objects) - crowd for entry, crowd in zip(train, crowds, strict=True)]
        self.count = padded_count(min(max(counts, default=1), stage.config.queries))
        self.crowds = padded_count(max(crowds, default=0))
        self.constants = {f"{CAPTION}{k}": jnp.asarray(v) for k, v in caption._asdict().items()}

    @abc.abstractmethod
    def whole(self, params: Params, constants: Params) -> Params:
        """Give all of the model's parameters that are read; pure."""

    @abc.abstractmethod
    def fused(self, model: GroundingDino, caption: Captions[jax.Array], seen: Any) -> tuple[Picture, Phrases]:
        """Give a batch of images fused with the caption; pure."""

    @abc.abstractmethod
    def example(self, rng: np.random.Generator, index: int) -> tuple[Any, ImageTruth]:
        """Make one image of a batch, and its truth."""

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
        words = caption.query == 1 + jnp.arange(len(self.class_names))[:, None]
        return grounding_loss(logits, boxes, alive, text.real, words, batch.truth)

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


class Decoding(GroundingTask):
    """Trains the decoder and its heads on what was fused and kept; nothing before it is run."""

    def __init__(
        self,
        *arguments: Any,
        store: KeptFeatures,
        keys: Sequence[str],
        held_out_keys: Sequence[str],
        **settings: Any,
    ) -> None:
        """Set the task up as `GroundingTask`.

        Args:
            *arguments: Those of `GroundingTask`.
            store: Where the features are, see `fused_store`.
            keys: Name of each training image in the store.
            held_out_keys: Name of each held-out image.
            **settings: Those of `GroundingTask`.
        """
        super().__init__(*arguments, **settings)
        self.store, self.keys, self.held_out_keys = store, keys, held_out_keys

    def whole(self, params: Params, constants: Params) -> Params:
        """Give what is trained, and zeros for what it does not read, which costs nothing."""
        return {k: params[k] if k in params else jnp.zeros(s.shape, s.dtype) for k, s in self.stage.spec.shapes.items()}

    def fused(self, model: GroundingDino, caption: Captions[jax.Array], seen: Kept) -> tuple[Picture, Phrases]:
        """Give what was kept, in the decoder's type."""
        dtype = model.transformer.enc_output.kernel[...].dtype
        picture = Picture(jnp.asarray(seen.picture.tokens).astype(dtype), seen.picture.sizes, seen.picture.shapes)
        text = phrases(caption, len(seen.words), dtype)
        return picture, Phrases(jnp.asarray(seen.words).astype(dtype), text.block, text.position)

    def example(self, rng: np.random.Generator, index: int) -> tuple[Any, ImageTruth]:
        """Read an image's features, mirrored every other time."""
        entry, flip = self.train[index], int(rng.integers(FLIPS))
        boxes = mirrored(entry.boxes, entry.width) if flip else entry.boxes
        size = entry.height, entry.width
        return self._kept(self.keys[index], flip, size), self.truth(boxes, entry, size)

    def seen(self, index: int) -> Any:
        """Read a held-out image's features."""
        entry = self.held_out[index]
        return self._kept(self.held_out_keys[index], 0, (entry.height, entry.width))

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

    def _kept(self, key: str, flip: int, size: tuple[int, int]) -> tuple[Any, Any, tuple[int, int]]:
        return self.store.get(key, "tokens", flip), self.store.get(key, "words", flip), size


class Adapting(GroundingTask):
    """Trains low-rank changes of kernels before the decoder, and the decoder with its heads."""

    def __init__(self, *arguments: Any, lora: Lora, zoom: float = 1.5, light: float = 0.2, **settings: Any) -> None:
        """Set the task up as `GroundingTask`.

        Args:
            *arguments: Those of `GroundingTask`.
            lora: Which kernels change.
            zoom: Images are enlarged by up to this factor.
            light: Strength of changes of brightness and contrast.
            **settings: Those of `GroundingTask`.
        """
        super().__init__(*arguments, **settings)
        self.lora, self.zoom, self.light = lora, zoom, light
        self.constants |= self.stage.params

    def init_params(self, seed: int) -> Params:
        """Return the decoder and its heads, and adapters that change nothing yet."""
        return super().init_params(seed) | self.lora.init(self.stage.params, seed)

    def whole(self, params: Params, constants: Params) -> Params:
        """Put the decoder into the model, and merge the adapters."""
        mine = {k: params.get(k, v) for k, v in constants.items() if not k.startswith(CAPTION)}
        return self.lora.merge(mine, {k: v for k, v in params.items() if k not in mine})

    def fused(self, model: GroundingDino, caption: Captions[jax.Array], seen: Pixels) -> tuple[Picture, Phrases]:
        """Run the image encoder and the fusion."""
        picture = self.stage.encoded(
            model, Images({self.stage.view.key: seen.view}, {self.stage.view.key: seen.content}, seen.size)
        )
        return model.fuse(picture, phrases(caption, len(seen.size), picture.tokens.dtype))

    def example(self, rng: np.random.Generator, index: int) -> tuple[Any, ImageTruth]:
        """Open an image and augment it."""
        entry = self.train[index]
        pixels, _, boxes = augment(rng, entry.open(), None, entry.boxes, zoom=self.zoom, flip=0.5, light=self.light)
        assert boxes is not None
        size = pixels.shape[0], pixels.shape[1]
        return self._view(pixels), self.truth(boxes, entry, size)

    def seen(self, index: int) -> Any:
        """Open a held-out image."""
        return self._view(self.held_out[index].open())

    def together(self, seen: Sequence[Any]) -> Pixels:
        """Lay images of any sizes on one canvas."""
        views, sizes = zip(*seen, strict=True)
        shown: Any = np.array([one.shape[:2] for one in views], np.int32)
        return Pixels(padded(views, canvas(self.stage.view, sizes)), shown, np.array(sizes, np.int32))

    def _view(self, pixels: NDArray[np.uint8]) -> tuple[Any, tuple[int, int]]:
        size, view = (pixels.shape[0], pixels.shape[1]), self.stage.view
        return make_view(pixels, view, content(view, size)), size


def caption_in(constants: Params) -> Captions[jax.Array]:
    """Find the caption among constants."""
    return Captions(*(constants[f"{CAPTION}{name}"] for name in Captions._fields))
