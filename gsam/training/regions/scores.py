"""Accuracy of a classifier on held-out regions, by class, and the regions it gets most wrong."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gsam.evaluation.matching import mask_of_box
from gsam.training.data.entries import Entry
from gsam.training.regions.crops import usable
from gsam.training.report import Case, Score

WORST = 10
"""Regions that are shown."""


def class_scores(
    names: Sequence[str], labels: NDArray[np.int32], before: NDArray[np.float32], after: NDArray[np.float32]
) -> list[Score]:
    """Compute the share of each class's regions that are named right.

    Args:
        names: The classes.
        labels: [N] true names.
        before: [N, C] probabilities before training.
        after: [N, C] probabilities after it.

    Returns:
        A score for each class that has regions.
    """
    old, new = (found.argmax(-1) == labels for found in (before, after))
    return [
        Score(name, "accuracy", int(mine.sum()), before=float(old[mine].mean()), after=float(new[mine].mean()))
        for index, name in enumerate(names)
        if (mine := labels == index).any()
    ]


def worst_regions(
    names: Sequence[str],
    entries: Sequence[Entry],
    labels: NDArray[np.int32],
    before: NDArray[np.float32],
    after: NDArray[np.float32],
) -> list[Case]:
    """Show the regions whose true name is believed least after training.

    Args:
        names: The classes.
        entries: The held-out images.
        labels: [N] true names of their usable regions, image by image.
        before: [N, C] probabilities before training.
        after: [N, C] probabilities after it.
    """
    where = [(entry, row) for entry in entries for row in usable(entry)]
    own = np.arange(len(labels)), labels
    cases: list[Case] = []
    for index in np.argsort(after[own], kind="stable")[:WORST]:
        entry, row = where[index]
        truth = mask_of_box(entry.objects[row].box, (entry.height, entry.width))
        label = f"{names[labels[index]]} (taken for {names[after[index].argmax()]})"
        told = float(before[own][index]), float(after[own][index])
        cases.append(Case(entry.id, entry.open(), truth, None, None, label, "probability of the name", *told))
    return cases
