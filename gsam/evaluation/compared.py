"""A data set of true masks beside one of found masks, image by image."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from gsam.errors import UsageError
from gsam.results.formats.dataset import DataSet
from gsam.types import Json, JsonMapping


@dataclasses.dataclass(frozen=True)
class ComparedImage:
    """The segments of one image."""

    name: str
    size: tuple[int, int]
    """Height and width."""
    true: Sequence[Json]
    found: Sequence[Json]


@dataclasses.dataclass(frozen=True)
class Compared:
    """Two data sets of the same images; masks are held as run lengths."""

    labels: Sequence[str]
    """Classes of the truth."""
    images: Sequence[ComparedImage]
    missing: Sequence[str]
    """Images of the truth that the other set lacks: nothing was found in them."""
    unknown: Sequence[str]
    """Labels and images that the truth lacks; they are left out."""


def compare(truth: DataSet, found: Iterable[JsonMapping]) -> Compared:
    """Put two data sets beside each other, by the names of images and of classes.

    Names of images are compared whole, else without folders and suffixes where that tells them
    apart; those of classes without regard to case.

    Args:
        truth: What is there.
        found: What was found.

    Raises:
        UsageError: They have no image in common (``nothing_to_compare``).
    """
    true = {str(scene["image"]): scene for scene in truth}
    labels = list(dict.fromkeys([*truth.labels, *(s["label"] for scene in true.values() for s in scene["segments"])]))
    known = {label.casefold(): label for label in labels}
    stems: dict[str, list[str]] = {}
    for name in true:
        stems.setdefault(PurePosixPath(name).stem, []).append(name)
    unknown: dict[str, None] = {}
    by_name: dict[str, list[Json]] = {}
    for scene in found:
        name = str(scene["image"])
        same = [name] if name in true else stems.get(PurePosixPath(name).stem, [])
        if len(same) != 1:
            unknown[name] = None
            continue
        kept = by_name.setdefault(same[0], [])
        for segment in scene["segments"]:
            label = known.get(segment["label"].casefold())
            if label is None:
                unknown[segment["label"]] = None
            else:
                kept.append({**segment, "label": label})
    if not by_name:
        raise UsageError("the two data sets have no image in common", "nothing_to_compare")
    images = [
        ComparedImage(name, (scene["height"], scene["width"]), scene["segments"], by_name.get(name, []))
        for name, scene in true.items()
    ]
    return Compared(labels, images, [name for name in true if name not in by_name], list(unknown))


def score_of(segment: JsonMapping) -> float:
    """The score of a segment, 1 where it has none."""
    score = segment.get("score")
    return 1.0 if score is None else float(score)
