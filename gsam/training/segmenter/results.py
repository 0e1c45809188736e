"""Scores before and after training, side by side, and the answers that are worst."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from gsam.files import atomic_file
from gsam.training.report import Case, Score
from gsam.training.run import writing
from gsam.training.segmenter.scores import ObjectScore
from gsam.training.segmenter.task import SegmenterTask
from gsam.types import Params

BEFORE = "before.json"
WORST = 10


def kept_scores(out: Path, settings: str) -> list[ObjectScore] | None:
    """Read the scores that a run began with.

    Args:
        out: The run's folder.
        settings: What they depend on; others than those that were kept are of no use.

    Returns:
        The scores; None where there are none of these settings.
    """
    try:
        told = json.loads((out / BEFORE).read_bytes())
        return [ObjectScore(*row) for row in told["scores"]] if told["settings"] == settings else None
    except (OSError, ValueError, LookupError, TypeError):
        return None


def keep_scores(out: Path, settings: str, scores: Sequence[ObjectScore]) -> None:
    """Write the scores that a run begins with; see `kept_scores`."""
    rows = [dataclasses.astuple(score) for score in scores]
    with writing(out), atomic_file(out / BEFORE) as file:
        file.write(json.dumps({"settings": settings, "scores": rows}).encode())


def by_class(names: Sequence[str], before: Sequence[ObjectScore], after: Sequence[ObjectScore]) -> list[Score]:
    """Average scores by class and prompt.

    Args:
        names: The classes; an `ObjectScore`'s label is an index into them.
        before: Of the objects before training.
        after: Of the same objects after training.

    Returns:
        A score for each class that has objects, and each prompt.
    """
    groups: dict[tuple[int, str], tuple[list[float], list[float]]] = {}
    for place, scores in enumerate((before, after)):
        for one in scores:
            groups.setdefault((one.label, one.prompt), ([], []))[place].append(one.iou)
    return [
        Score(names[label], prompt, len(new), before=_mean(old), after=_mean(new))
        for (label, prompt), (old, new) in groups.items()
    ]


def means_of(scores: Sequence[ObjectScore]) -> dict[str, float]:
    """Average scores over objects, by prompt."""
    names = dict.fromkeys(one.prompt for one in scores)
    return {name: _mean([one.iou for one in scores if one.prompt == name]) for name in names}


def worst_cases(
    task: SegmenterTask,
    start: Params,
    end: Params,
    before: Sequence[ObjectScore],
    after: Sequence[ObjectScore],
) -> Iterator[Case]:
    """Answer again where the answers after training are worst, once for each object.

    Args:
        task: The task that was trained.
        start: What was trained, before training.
        end: The same after it.
        before: Scores before training.
        after: Scores after it.

    Yields:
        At most `WORST` cases, the worst first.
    """
    earlier = {(s.image, s.row, s.prompt): s.iou for s in before}
    places = {entry.id: i for i, entry in enumerate(task.held_out)}
    old, new = task.model(start), task.model(end)
    shown: set[tuple[str, int]] = set()
    for one in sorted(after, key=lambda s: s.iou):
        if (one.image, one.row) in shown:
            continue
        shown.add((one.image, one.row))
        entry = task.held_out[places[one.image]]
        answers = []
        for every in (old, new):
            found = task.scorer.answers(every, entry, task.features_of(every, entry), [one.row])
            answers.append(next((mask, truth) for name, _, mask, truth in found if name == one.prompt))
        (first, truth), (last, _) = answers
        was = earlier.get((one.image, one.row, one.prompt), float("nan"))
        label = task.examples.data.names[one.label]
        yield Case(entry.id, entry.open(), truth, first, last, label, one.prompt, was, one.iou)
        if len(shown) == WORST:
            return


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else float("nan")
