"""The prompts at which a student is farthest from its teacher, for the results page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import jax
import numpy as np
from numpy.typing import NDArray

from gsam.inputs.image import content
from gsam.results.masks.low_res import LowResMasks
from gsam.training.distillation.answers import Answer
from gsam.training.distillation.task import Distillation
from gsam.training.report import Case
from gsam.training.segmenter.scores import ObjectScore
from gsam.types import Params

ALL = "all"
"""The one class of objects without names."""
WORST = 10
"""Cases, one for each place of an image at most."""


def worst_cases(
    task: Distillation, start: Params, end: Params, before: Sequence[ObjectScore], after: Sequence[ObjectScore]
) -> Iterator[Case]:
    """Answer again where the student agrees least with its teacher after training.

    Args:
        task: The task that was trained.
        start: All parameters of the student before training.
        end: The same after it.
        before: What `Distillation.measure` gave before.
        after: What it gave after.

    Yields:
        At most `WORST` cases, the worst first; the teacher's mask is the truth.
    """
    images = {image.name: image for image in task.held_out}
    earlier = {(s.image, s.row, s.prompt): s.iou for s in before}
    shown: set[tuple[str, int]] = set()
    for one in sorted(after, key=lambda s: s.iou):
        if (one.image, one.row) in shown:
            continue
        shown.add((one.image, one.row))
        image = images[one.image]
        pixels = image.open().pixels
        answers = [task.answers(image, params)[one.prompt] for params in (start, end)]
        first, last = (_mask(task, answer, one.row, pixels, teacher=False) for answer in answers)
        truth = _mask(task, answers[1], one.row, pixels, teacher=True)
        was = earlier.get((one.image, one.row, one.prompt), float("nan"))
        yield Case(one.image, pixels, truth, first, last, ALL, one.prompt, was, one.iou)
        if len(shown) == WORST:
            return


def _mask(
    task: Distillation, answer: Answer, row: int, pixels: NDArray[np.uint8], *, teacher: bool
) -> NDArray[np.bool_]:
    """The best mask of one model for a prompt, [H, W]."""
    stage = task.pair.student
    logits = np.asarray(jax.device_get(answer.best()[teacher]))[0, row]
    size = (pixels.shape[0], pixels.shape[1])
    large = LowResMasks(logits[None], stage.view.size, content(stage.view, size), size, upsample=stage.upsample)
    return large.mask_of(0)
