"""The batches that a segmenter learns from: images, or their features, with prompts."""

from __future__ import annotations

import dataclasses
import zlib

import jax
import numpy as np
from numpy.typing import NDArray

from gsam.inputs.image import content
from gsam.models.promptable import PromptableSegmenter
from gsam.ops.bounds import bounds
from gsam.training.data.augmentation import augment
from gsam.training.data.entries import DataSet, Entry
from gsam.training.order import rows_of
from gsam.training.segmenter.features import ImageFeatures, seen
from gsam.training.segmenter.prompts import ImagePrompts, Prompts, Rules, sample
from gsam.training.segmenter.targets import coverage
from gsam.types import PyTree

ZOOM, LIGHT = 1.5, 0.2
"""Strength of crops and of changes of light, see `gsam.training.data.augment`."""
LEFT = 0.2
"""Share of an object that a crop must leave of it."""


@dataclasses.dataclass(frozen=True, eq=False)
class Examples:
    """Batches of a data set.

    With kept features an image is seen as it is or mirrored; without, crops and light vary too.
    """

    data: DataSet
    """Images with at least one mask each."""
    stage: PromptableSegmenter
    rules: Rules
    side: int
    """Side of the decoder's output in pixels."""
    batch_size: int
    seed: int
    features: ImageFeatures | None
    """Where features are kept; None where the encoder is trained too."""
    augment: bool = True

    def batch(self, rng: np.random.Generator, step: int) -> tuple[PyTree, Prompts[np.ndarray]]:
        """Make the batch of a step.

        Args:
            rng: Decides what is left to chance.
            step: Which images: each is seen once before any is seen again.

        Returns:
            Features [B, ...], or `gsam.types.Images`; and the prompts.
        """
        found = [self._example(rng, self.data.images[row]) for row in self._rows(step)]
        own, prompts, truth, parts = zip(*found, strict=True)
        given: PyTree = seen(self.stage, own) if self.features is None else jax.tree.map(_stack, *own)
        scale = self.side / self.stage.view.size
        together = Prompts(
            np.stack([p.points for p in prompts]),
            np.stack([p.labels for p in prompts]),
            np.stack([p.boxes for p in prompts]),
            np.stack([p.boxed for p in prompts]),
            np.stack(truth),
            np.array(parts, np.float32) * np.float32(scale),
            np.asarray(rng.integers(self.rules.corrections + 1), np.int32),
            np.asarray(rng.integers(2**32), np.uint32),
        )
        return given, together

    def names(self, step: int) -> list[str]:
        """Name the images of the batch of a step."""
        return [self.data.images[row].id for row in self._rows(step)]

    def _rows(self, step: int) -> list[int]:
        return [int(row) for row in rows_of(step, self.batch_size, len(self.data), self.seed)]

    def _example(
        self, rng: np.random.Generator, entry: Entry
    ) -> tuple[PyTree, ImagePrompts, NDArray[np.float32], tuple[int, int]]:
        flip = bool(self.augment and rng.random() < 0.5)
        chosen = rng.permutation(usable(entry))[: self.rules.objects]
        masks = entry.masks(chosen.tolist())
        own: PyTree
        if self.features is not None:
            own = self.features.get(entry, flip=flip)
            masks = masks[:, :, ::-1] if flip else masks
        else:
            own, masks = self._augmented(rng, entry.open(), masks, flip)
        rows = np.resize(np.arange(len(masks)), self.rules.objects).tolist()
        part = content(self.stage.view, (masks.shape[1], masks.shape[2]))
        boxes = np.array([bounds(mask) for mask in masks], np.float32)
        prompts = sample(rng, self.rules, masks, boxes, rows, part)
        covered = [coverage(mask, part, self.stage.view.size, self.side) for mask in masks]
        return own, prompts, np.stack([covered[row] for row in rows]), part

    def _augmented(
        self, rng: np.random.Generator, pixels: NDArray[np.uint8], masks: NDArray[np.bool_], flip: bool
    ) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        if not self.augment:
            return pixels, masks
        image, cut, _ = augment(rng, pixels, masks, None, zoom=ZOOM, flip=float(flip), light=LIGHT)
        assert cut is not None
        before, left = masks.sum((1, 2)), cut.sum((1, 2))
        return image, cut[left >= np.maximum(LEFT * before, 1)]


def usable(entry: Entry) -> NDArray[np.int64]:
    """List the objects of an image that can be learnt from: those with a mask, and no crowds."""
    found = [i for i, one in enumerate(entry.objects) if one.rle is not None and not one.crowd]
    return np.array(found, np.int64)


def some(entry: Entry, most: int) -> list[int]:
    """Choose objects of an image, the same ones always.

    Args:
        entry: The image.
        most: Number of objects, at most.

    Returns:
        Their indices, in order.
    """
    rng = np.random.default_rng(zlib.crc32(entry.id.encode("utf-8", "surrogateescape")))
    return sorted(rng.permutation(usable(entry))[:most].tolist())


def _stack(*arrays: np.ndarray) -> np.ndarray:
    return np.stack(arrays)
