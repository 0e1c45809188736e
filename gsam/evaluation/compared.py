"""A data set of true masks beside one of found masks, image by image."""

from __future__ import annotations

import dataclasses
from collections.abc import Container, Iterable, Mapping, Sequence
from pathlib import PurePosixPath

from gsam.errors import UsageError
from gsam.results.formats.dataset import DataSet
from gsam.types import Json, JsonMapping

LVIS_MOST = 300
"""Segments of an image that LVIS counts, of all classes together."""


@dataclasses.dataclass
class Truth(DataSet):
    """A data set of true masks, with what only COCO's and LVIS's files tell.

    A scene of LVIS has ``absent``, the labels that were looked for and are not in the image, and
    ``partly``, those of which not every object has a mask.
    """

    frequencies: dict[str, str] = dataclasses.field(default_factory=dict)
    """LVIS: ``r``, ``c`` or ``f`` of each class, rare, common or frequent; else empty."""
    image_ids: dict[str, str] = dataclasses.field(default_factory=dict)
    """COCO's ids of images, as text -> their names; known when the images were read."""
    class_ids: dict[str, str] = dataclasses.field(default_factory=dict)
    """COCO's ids of classes, as text -> their names."""

    def held(self) -> Truth:
        """Read all images now, their masks as run lengths, so that no file is read again."""
        scenes = list(self)
        return dataclasses.replace(self, open=lambda _: iter(scenes))


@dataclasses.dataclass(frozen=True)
class ComparedImage:
    """The segments of one image."""

    name: str
    size: tuple[int, int]
    """Height and width."""
    true: Sequence[Json]
    found: Sequence[Json]
    absent: frozenset[str] | None = None
    """Labels that were looked for and are not there; None where every class was looked for."""
    partly: frozenset[str] = frozenset()
    """Labels of which not every object has a mask."""

    def whole(self, labels: Iterable[str]) -> list[str]:
        """Those of some labels of which it is known where each object is, or that there is none."""
        if self.absent is None:
            return [label for label in labels if label not in self.partly]
        seen = (self.absent | {s["label"] for s in self.true}) - self.partly
        return [label for label in labels if label in seen]


@dataclasses.dataclass(frozen=True)
class Compared:
    """Two data sets of the same images; masks are held as run lengths."""

    labels: Sequence[str]
    """Classes that are scored."""
    images: Sequence[ComparedImage]
    missing: Sequence[str]
    """Images of the truth that the other set lacks: nothing was found in them."""
    unknown: Sequence[str]
    """Labels and images that the truth lacks; they are left out."""
    problems: Sequence[str] = ()
    """Why images were left out, each with its name."""
    frequencies: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """LVIS's of each class; empty of a truth that is none."""


def compare(
    truth: DataSet,
    found: Iterable[JsonMapping],
    asked: Sequence[str] | None = None,
    unscored: Container[str] = (),
) -> Compared:
    """Put two data sets beside each other, by the names of images and of classes.

    Names of images are compared whole, else without folders and suffixes where that tells them
    apart; those of classes without regard to case.

    Args:
        truth: The true masks.
        found: The found ones; taken one by one.
        asked: The only classes that are scored; by default all of the truth.
        unscored: Names of images that are left out, looked at when ``found`` has ended.

    Raises:
        UsageError: They have no image or class in common (``nothing_to_compare``).
    """
    problems: list[str] = []
    true: dict[str, Json] = {}
    for one in truth:
        if str(one["image"]) in true:
            problems.append(f"{one['image']}: an image of this name is in the truth already")
        else:
            true[str(one["image"])] = one
    labels = _scored(truth, true, asked)
    known = {label.casefold(): label for label in labels}
    stems: dict[str, list[str]] = {}
    for name in true:
        stems.setdefault(PurePosixPath(name).stem, []).append(name)
    unknown: dict[str, None] = {}
    by_name: dict[str, list[Json]] = {}
    misfits: set[str] = set()
    for scene in found:
        name = str(scene["image"])
        same = [name] if name in true else stems.get(PurePosixPath(name).stem, [])
        if len(same) != 1:
            unknown[name] = None
            continue
        sizes = [(side["width"], side["height"]) for side in (scene, true[same[0]])]
        kept = by_name.setdefault(same[0], [])
        if sizes[0] != sizes[1]:
            misfits.add(same[0])
            mine, theirs = (f"{width} x {height}" for width, height in sizes)
            problems.append(f"{same[0]}: what was found is of {mine} pixels, the truth of {theirs}")
            continue
        for segment in scene["segments"]:
            label = known.get(segment["label"].casefold())
            if label is None:
                unknown[segment["label"]] = None
            else:
                kept.append({**segment, "label": label})
    names = [name for name in true if name not in misfits and name not in unscored]
    if not by_name or not names:
        why = f": {problems[-1]}" if misfits else ""
        raise UsageError(f"the two data sets have no image in common{why}", "nothing_to_compare")
    images = [_beside(true[name], by_name.get(name, []), set(labels)) for name in names]
    frequencies = truth.frequencies if isinstance(truth, Truth) else {}
    missing = [name for name in names if name not in by_name]
    return Compared(labels, images, missing, list(unknown), problems, frequencies)


def score_of(segment: JsonMapping) -> float:
    """The score of a segment, 1 where it has none."""
    score = segment.get("score")
    return 1.0 if score is None else float(score)


def check_asked(labels: Sequence[str], asked: Sequence[str]) -> list[str]:
    """Give those of a truth's classes that are asked for.

    Raises:
        UsageError: There is none (``nothing_to_compare``).
    """
    wanted = {label.casefold() for label in asked}
    if not (kept := [label for label in labels if label.casefold() in wanted]):
        text = f"the truth has none of the classes asked for: {', '.join(asked)}; it has {', '.join(labels[:20])}"
        raise UsageError(text, "nothing_to_compare")
    return kept


def _scored(truth: DataSet, true: Mapping[str, JsonMapping], asked: Sequence[str] | None) -> list[str]:
    labels = list(dict.fromkeys([*truth.labels, *(s["label"] for scene in true.values() for s in scene["segments"])]))
    if asked is None:
        return labels
    return check_asked(labels, asked)


def _beside(scene: JsonMapping, found: Sequence[Json], labels: set[str]) -> ComparedImage:
    absent: frozenset[str] | None = None if "absent" not in scene else frozenset(scene["absent"])
    partly = frozenset(scene.get("partly", ()))
    true = [s for s in scene["segments"] if s["label"] in labels]
    if absent is not None:  # the rules of LVIS: the best of all classes, then of those that were looked for
        judged = absent | {s["label"] for s in true}
        best = sorted(found, key=score_of, reverse=True)[:LVIS_MOST]
        found = [s for s in best if s["label"] in judged]
    return ComparedImage(scene["image"], (scene["height"], scene["width"]), true, found, absent, partly)
