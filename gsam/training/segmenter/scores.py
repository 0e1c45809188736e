"""Scores of a segmenter on images it has not learnt from: one box, one click, three clicks."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from gsam.inputs.image import content
from gsam.models.promptable import PromptableSegmenter
from gsam.nn.prompt import ABSENT, BACKGROUND, BOTTOM_RIGHT, FOREGROUND, PAD, TOP_LEFT
from gsam.results.masks.low_res import LowResMasks
from gsam.training.data.entries import Entry
from gsam.training.segmenter.examples import some
from gsam.training.segmenter.loss import PromptLoss, pick
from gsam.training.segmenter.parts import POINTS
from gsam.training.segmenter.prompts import Rules
from gsam.training.segmenter.targets import coverage, known
from gsam.types import Params, PyTree

BOX, CLICK, CLICKS = "one box", "one click", "three clicks"
ROWS = 8
"""Prompts that one call answers."""
MORE = 2
"""Clicks that correct an answer."""
MOST = 16
"""Objects of an image that are scored, at most."""

FeaturesOf = Callable[[Entry], PyTree]
"""Gives the features of an image, without the leading axis."""


@dataclasses.dataclass(frozen=True)
class ObjectScore:
    """IoU of an answer about one object, at the size of the image."""

    image: str
    row: int
    """Index among the objects of the image."""
    label: int
    prompt: str
    """`BOX`, `CLICK` or `CLICKS`."""
    iou: float


class Scorer:
    """Asks a segmenter about objects whose masks are known, as a user would."""

    def __init__(self, stage: PromptableSegmenter, rules: Rules, side: int) -> None:
        """Compile nothing yet.

        Args:
            stage: The model, as it answers users.
            rules: What it takes.
            side: Side of the decoder's output in pixels.
        """
        self.stage, self.rules, self.side = stage, rules, side
        self._ask = jax.jit(self._answer, static_argnames="several")
        self.prompts = [
            name
            for name, needs in ((BOX, "box"), (CLICK, "foreground"), (CLICKS, "foreground"))
            if needs in stage.prompt_types
        ]
        """Names of the prompts that it is asked."""

    def scores(
        self, params: Params, entries: Iterable[Entry], features: FeaturesOf, most: int = MOST
    ) -> Iterator[ObjectScore]:
        """Score objects of images.

        Args:
            params: All parameters of the model.
            entries: The images.
            features: Gives the features of one, of the same parameters.
            most: Objects of an image, at most; the same ones always.

        Yields:
            A score for each object and prompt.
        """
        for entry in entries:
            if not (rows := some(entry, most)):
                continue
            for name, row, mask, truth in self.answers(params, entry, features(entry), rows):
                yield ObjectScore(entry.id, row, entry.objects[row].label, name, iou(mask, truth))

    def answers(
        self, params: Params, entry: Entry, features: PyTree, rows: list[int]
    ) -> Iterator[tuple[str, int, NDArray[np.bool_], NDArray[np.bool_]]]:
        """Answer every kind of prompt for objects of an image.

        Args:
            params: All parameters of the model.
            entry: The image.
            features: Its features, without the leading axis.
            rows: Indices of its objects.

        Yields:
            The prompt's name, the object's index, and the answer and the truth, [H, W] bool.
        """
        for start in range(0, len(rows), ROWS):
            chosen = rows[start : start + ROWS]
            truth = entry.masks(chosen)
            for name, masks in self._masks(params, features, truth, entry.boxes[chosen]):
                for i, row in enumerate(chosen):
                    yield name, row, masks.mask_of(i), truth[i]

    def _masks(
        self, params: Params, features: PyTree, truth: NDArray[np.bool_], boxes: NDArray[np.float32]
    ) -> Iterator[tuple[str, LowResMasks]]:
        size = truth.shape[1], truth.shape[2]
        part = content(self.stage.view, size)
        large = functools.partial(
            LowResMasks, side=self.stage.view.size, content=part, size=size, upsample=self.stage.upsample
        )
        view = boxes * np.tile(np.array([part[1] / size[1], part[0] / size[0]], np.float32), 2)
        count = len(truth)
        if BOX in self.prompts:
            yield BOX, large(self._call(params, features, *self._boxed(view), boxes=view)[:count])
        if CLICK not in self.prompts:
            return
        low = np.zeros((ROWS, self.side, self.side), np.float32)
        low[:count] = [coverage(mask, part, self.stage.view.size, self.side) for mask in truth]
        seen = known(np.array(part, np.float32) * (self.side / self.stage.view.size), self.side)
        points, labels = self._clicked(low)
        logits = self._call(params, features, points, labels, several=True)
        yield CLICK, large(logits[:count])
        step = self.stage.view.size / self.side
        for number in range(MORE):
            for i in range(count):
                cell, label = next_click(logits[i] > 0, low[i], seen, background=self.rules.background)
                points[i, POINTS + number], labels[i, POINTS + number] = (cell + 0.5) * step - 0.5, label
            logits = self._call(params, features, points, labels, previous=logits)
        yield CLICKS, large(logits[:count])

    def _boxed(self, boxes: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        points, labels = self._empty()
        points[: len(boxes), :2] = boxes.reshape(-1, 2, 2)
        labels[:, :2] = TOP_LEFT, BOTTOM_RIGHT
        if self.rules.pads_boxes:
            labels[:, 3] = PAD
        return points, labels

    def _clicked(self, low: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """A click into the middle of each of the masks [N, h, w]."""
        points, labels = self._empty()
        step = self.stage.view.size / self.side
        for i, mask in enumerate(low):
            points[i, 2] = (deepest(inside(mask)) + 0.5) * step - 0.5
        labels[:, 2:4] = FOREGROUND, PAD
        return points, labels

    def _empty(self) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        shape = (ROWS, POINTS + MORE)
        return np.zeros((*shape, 2), np.float32), np.full(shape, ABSENT, np.int32)

    def _call(
        self,
        params: Params,
        features: PyTree,
        points: NDArray[np.float32],
        labels: NDArray[np.int32],
        *,
        several: bool = False,
        boxes: NDArray[np.float32] | None = None,
        previous: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        given = np.full(ROWS, boxes is not None or previous is not None)
        mask = np.zeros((ROWS, self.side, self.side), np.float32) if previous is None else previous
        around = np.zeros((ROWS, 4), np.float32)
        around[: 0 if boxes is None else len(boxes)] = 0 if boxes is None else boxes
        filled = np.asarray(boxes is not None)
        return np.asarray(self._ask(params, features, points, labels, mask, given, around, filled, several=several))

    def _answer(
        self,
        params: Params,
        features: PyTree,
        points: jax.Array,
        labels: jax.Array,
        mask: jax.Array,
        given: jax.Array,
        boxes: jax.Array,
        filled: jax.Array,
        *,
        several: bool,
    ) -> jax.Array:
        """Pure: the logits [N, h, w] that a user is shown."""
        own = self.stage.box_mask_prompt(boxes)
        given = given if own is not None else given & ~filled
        mask = mask if own is None else jnp.where(filled, own, mask)
        asked = PromptLoss(self.stage, self.rules)
        dtype = next(v.dtype for v in params.values() if jnp.issubdtype(v.dtype, jnp.floating))
        features = jax.tree.map(lambda x: jnp.asarray(x, dtype)[None], features)
        logits, guess = asked.ask(
            params, features, points[None], labels[None], mask[None], given[None], several=several
        )
        return asked.clipped(pick(logits, guess))[0]


def next_click(
    mask: NDArray[np.bool_], truth: NDArray[np.float32], seen: NDArray[np.bool_], *, background: bool = True
) -> tuple[NDArray[np.float32], int]:
    """Choose the click that corrects an answer: into the middle of the larger error.

    Args:
        mask: [h, w] bool: the answer.
        truth: [h, w] float32 in 0..1.
        seen: [h, w] bool: what is image.
        background: Whether clicks may say what is not meant.

    Returns:
        The cell [2] as x y, and its label; a foreground click where nothing is wrong.
    """
    want = inside(truth)
    lacks, spills = want & ~mask & seen, mask & ~want & seen
    deep = [ndimage.distance_transform_edt(np.pad(region, 1)).max() for region in (lacks, spills)]
    if background and deep[1] > deep[0]:
        return deepest(spills), BACKGROUND
    return deepest(lacks if deep[0] else want), FOREGROUND


def inside(truth: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Cut a mask [h, w] of shares at one half; of a tiny one, keep its fullest pixels."""
    return truth > min(0.5, float(truth.max()) * 0.999) if truth.any() else truth > 0


def deepest(region: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Find the pixel of a region [h, w] that is farthest from its edge: [2] as x y."""
    depth = ndimage.distance_transform_edt(np.pad(region, 1))[1:-1, 1:-1]
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    return np.array([x, y], np.float32)


def iou(mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """IoU of two masks; two empty ones agree perfectly."""
    either = int((mask | truth).sum())
    return float((mask & truth).sum() / either) if either else 1.0
