"""Simulated prompts for objects whose masks are known: boxes that are a little off, and clicks."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Generic, TypeVar

import jax
import numpy as np
from numpy.typing import NDArray

from gsam.errors import UsageError
from gsam.models.promptable import PromptableSegmenter
from gsam.nn.prompt import ABSENT, BOTTOM_RIGHT, FOREGROUND, PAD, TOP_LEFT
from gsam.training.segmenter.parts import POINTS

A = TypeVar("A", np.ndarray, jax.Array)
"""NumPy's arrays while a batch is made, JAX's in the compiled step."""

KINDS: Mapping[str, tuple[float, frozenset[str]]] = {
    "box": (0.5, frozenset({"box"})),
    "click": (0.25, frozenset({"foreground"})),
    "both": (0.25, frozenset({"box", "foreground"})),
}
"""Kinds of first prompts: their share, and what a model must take for them."""
SPREAD = 0.1
"""Standard deviation by which the sides of a box move, as a share of its width and height."""
FARTHEST = 20 / 1024
"""Farthest that a side of a box moves, as a share of the view's side; both numbers are SAM's."""


@dataclasses.dataclass(frozen=True)
class Rules:
    """The prompts of every image, in a fixed order of kinds so that one program answers them."""

    kinds: tuple[str, ...]
    """Among `KINDS`."""
    objects: int
    """Number of prompts per image."""
    lone: int
    """The first of them, which are a lone click and may be answered by several masks."""
    corrections: int
    """Clicks that correct an answer, at most."""
    side: int
    """The view's, in pixels."""
    pads_boxes: bool
    background: bool
    """Whether clicks may say what is not meant."""
    masks: bool
    """Whether an earlier answer is a prompt too."""
    always_several: bool
    """Whether every prompt is answered by several masks, of which the best counts."""

    @property
    def points(self) -> int:
        """Rows of a prompt: those of `POINTS`, and one per correction."""
        return POINTS + self.corrections


def rules_for(
    stage: PromptableSegmenter,
    kinds: Sequence[str] | None = None,
    objects: int = 8,
    corrections: int = 7,
    *,
    always_several: bool = False,
) -> Rules:
    """Decide on the prompts that a model learns from.

    Args:
        stage: The model, which says what it takes.
        kinds: Among `KINDS`; None for all that it takes.
        objects: Number of prompts per image.
        corrections: Clicks that correct an answer, at most; none for a model that takes no clicks.
        always_several: See `Rules`.

    Returns:
        The rules.

    Raises:
        UsageError: A kind is none (``prompts_unknown``), or none for this model
            (``prompts_not_taken``).
    """
    takes = stage.prompt_types
    able = [kind for kind, (_, needs) in KINDS.items() if needs <= takes]
    if unknown := [kind for kind in kinds or () if kind not in KINDS]:
        raise UsageError(f"no kind of prompts {unknown[0]!r}; there are {', '.join(KINDS)}", "prompts_unknown")
    if refused := [kind for kind in kinds or () if kind not in able]:
        raise UsageError(f"this model takes no prompts of kind {refused[0]}; it takes {', '.join(able)}",
                         "prompts_not_taken")  # fmt: skip
    chosen = tuple(kind for kind in KINDS if kind in (kinds or able))
    if len(chosen) > 1 and objects < 2:
        raise UsageError("one prompt per image is of one kind: name it (--prompts box), or take two or more objects",
                         "prompts_unknown")  # fmt: skip
    lone = 0
    if "click" in chosen:
        share = KINDS["click"][0] / sum(KINDS[kind][0] for kind in chosen)
        lone = objects if chosen == ("click",) else min(max(round(objects * share), 1), objects - 1)
    if "foreground" not in takes:
        corrections = 0
    if stage.max_points is not None:
        corrections = max(min(corrections, stage.max_points - 3), 0)
    return Rules(
        chosen,
        objects,
        lone,
        corrections,
        stage.view.size,
        stage.pads_boxes,
        "background" in takes,
        "mask" in takes,
        always_several,
    )


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Prompts(Generic[A]):
    """Q prompts on each of B images."""

    points: A
    """[B, Q, P, 2] float32 pixels of the view: two corners, a click, padding, room for corrections.
    """
    labels: A
    """[B, Q, P] int32 as in `gsam.nn.prompt`."""
    boxes: A
    """[B, Q, 4] float32 pixels of the view."""
    boxed: A
    """[B, Q] bool: there is a box."""
    truth: A
    """[B, Q, h, w] float32: the share of each low-resolution pixel that is mask."""
    content: A
    """[B, 2] float32: rows and columns of the low-resolution pixels that are image."""
    rounds: A
    """[] int32: how many corrections follow in this step."""
    seed: A
    """[] uint32, for the corrections."""


@dataclasses.dataclass(frozen=True)
class ImagePrompts:
    """The prompts of one image; fields as in `Prompts`, without B."""

    points: NDArray[np.float32]
    labels: NDArray[np.int32]
    boxes: NDArray[np.float32]
    boxed: NDArray[np.bool_]


def sample(
    rng: np.random.Generator,
    rules: Rules,
    masks: NDArray[np.bool_],
    boxes: NDArray[np.float32],
    rows: Sequence[int],
    content: tuple[int, int],
) -> ImagePrompts:
    """Draw the prompts of one image.

    Args:
        rng: Decides kinds, places and how far boxes are off.
        rules: How many, and of which kinds.
        masks: [K, H, W] bool: the objects that are asked for, none of them empty.
        boxes: [K, 4] float32 x0 y0 x1 y1 in pixels of the image.
        rows: The object of each of Q prompts, an index into ``masks``.
        content: Rows and columns of the view that are image.

    Returns:
        The prompts, in pixels of the view.
    """
    count = rules.objects
    points = np.zeros((count, rules.points, 2), np.float32)
    labels = np.full((count, rules.points), ABSENT, np.int32)
    out = np.zeros((count, 4), np.float32)
    boxed = np.zeros(count, bool)
    scale = np.array([content[1] / masks.shape[2], content[0] / masks.shape[1]], np.float32)
    others = [kind for kind in rules.kinds if kind != "click"]
    shares = np.array([KINDS[kind][0] for kind in others])
    for q, row in enumerate(rows):
        kind = "click" if q < rules.lone else str(rng.choice(others, p=shares / shares.sum()))
        out[q] = jittered(rng, boxes[row] * np.tile(scale, 2), content, rules.side)
        boxed[q] = kind != "click"
        if boxed[q]:
            points[q, :2], labels[q, :2] = out[q].reshape(2, 2), (TOP_LEFT, BOTTOM_RIGHT)
        if kind != "box":
            points[q, 2], labels[q, 2] = click_in(rng, masks[row]) * scale, FOREGROUND
        if kind == "click" or rules.pads_boxes:
            labels[q, 3] = PAD
    return ImagePrompts(points, labels, out, boxed)


def jittered(
    rng: np.random.Generator, box: NDArray[np.float32], content: tuple[int, int], side: int
) -> NDArray[np.float32]:
    """Move each side of a box by chance, as SAM does: `SPREAD`, at most `FARTHEST`.

    Args:
        rng: Decides how far.
        box: [4] x0 y0 x1 y1 in pixels of the view.
        content: Rows and columns of the view that are image, which the box stays in.
        side: The view's, in pixels.

    Returns:
        [4] float32; as it was where nothing would be left of it.
    """
    size = np.tile(box[2:] - box[:2], 2)
    moves = (rng.normal(0.0, SPREAD, 4) * size).clip(-FARTHEST * side, FARTHEST * side)
    moved = (box + moves).clip(0.0, [content[1], content[0]] * 2)
    return (moved if (moved[2:] - moved[:2] >= 1.0).all() else box).astype(np.float32)


def click_in(rng: np.random.Generator, mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Choose a pixel of a mask [H, W], each with the same chance: [2] float32 x y."""
    per_row = mask.sum(1)
    at = int(rng.integers(per_row.sum()))
    ends = np.cumsum(per_row)
    y = int(np.searchsorted(ends, at, side="right"))
    x = np.flatnonzero(mask[y])[at - int(ends[y] - per_row[y])]
    return np.array([x, y], np.float32)
