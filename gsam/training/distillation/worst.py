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
        At most `WORST` cases, those of one image after each other; the teacher's mask is the truth.
    """
    earlier = {(s.image, s.row, s.prompt): s.iou for s in before}
    chosen: dict[tuple[str, int], ObjectScore] = {}
    for one in sorted(after, key=lambda s: s.iou):
        if len(chosen) < WORST:
            chosen.setdefault((one.image, one.row), one)
    for image in task.held_out:
        some = [one for one in chosen.values() if one.image == image.name]
        if not some:
            continue
        pixels, was, now = image.open().pixels, task.answers(image, start), task.answers(image, end)
        for one in some:
            first, last = (_mask(task, said[one.prompt], one.row, pixels, teacher=False) for said in (was, now))
            truth = _mask(task, now[one.prompt], one.row, pixels, teacher=True)
            score = earlier.get((one.image, one.row, one.prompt), float("nan"))
            yield Case(one.image, pixels, truth, first, last, ALL, one.prompt, score, one.iou)


def _mask(
    task: Distillation, answer: Answer, row: int, pixels: NDArray[np.uint8], *, teacher: bool
) -> NDArray[np.bool_]:
    """The best mask of one model for a prompt, [H, W]."""
    stage = task.pair.student
    logits = np.asarray(jax.device_get(answer.best()[teacher]))[0, row]
    size = (pixels.shape[0], pixels.shape[1])
    large = LowResMasks(logits[None], stage.view.size, content(stage.view, size), size, upsample=stage.upsample)
    return large.mask_of(0)
