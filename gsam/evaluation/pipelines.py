"""A pipeline over the images of a truth: where they are, and what it finds in them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, MutableMapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from gsam.dataset.sources import Item
from gsam.dataset.stream import stream
from gsam.errors import UsageError
from gsam.evaluation.average_precision import program_of
from gsam.evaluation.compared import Truth, check_asked, compare
from gsam.evaluation.report import Report
from gsam.evaluation.sides import image_places, read_truth
from gsam.text.queries import MAX_QUERIES, Queries, Query, parse_queries
from gsam.types import Json, JsonMapping

if TYPE_CHECKING:
    from gsam.pipeline import Pipeline

T = TypeVar("T")
TOGETHER = 64
"""Images that are asked for one group of classes before the next."""


@dataclasses.dataclass(frozen=True)
class Task:
    """The images of a truth, and the questions that a pipeline is asked of them."""

    truth: Truth
    items: Sequence[Item]
    groups: Sequence[Queries]
    asked: Sequence[str] | None
    """The only classes that are scored; None for all."""


def task_of(truth: Truth, path: Path, query: Query | None = None, images: Path | None = None) -> Task:
    """Say what a pipeline is to do, and refuse what would fail after hours.

    Args:
        truth: The truth, its images read (`gsam.evaluation.compared.Truth.held`).
        path: Its file or folder.
        query: What to ask for, and all that is scored; by default the classes of the truth.
        images: The folder of the images, see `items_of`.

    Raises:
        UsageError: The truth has none of the classes asked for (``nothing_to_compare``), or none of
            its images is there (``images_missing``).
        QueryError: Nothing is asked for, or what cannot be read.
    """
    labels = labels_of(truth)
    if query is None:
        return Task(truth, items_of(truth, path, images), groups_of(labels), None)
    queries = parse_queries(query)
    check_asked(labels, queries.categories)
    return Task(truth, items_of(truth, path, images), [queries], queries.categories)


def score(
    pipe: Pipeline,
    truth: str | Path,
    query: Query | None = None,
    *,
    images: str | Path | None = None,
    lvis: bool | None = None,
    program: str | None = None,
    batch_size: int | None = None,
    on_error: Callable[[str, Exception], None] | None = None,
) -> Report:
    """Run a pipeline over the images of a truth, and score it.

    Args:
        pipe: The pipeline.
        truth: A data set of true masks, of any format that `gsam.evaluation.sides.read_truth`
            reads.
        query: What to ask for, and all that is scored; by default the classes of the truth.
        images: The folder of the images, see `items_of`.
        lvis: Whether the rules of LVIS count; by default where the file has its lists.
        program: Computes AP, see `gsam.evaluation.average_precision.average_precision`.
        batch_size: As `gsam.Pipeline.stream` takes it.
        on_error: Called with the name of an image that has no result, and why; it is not scored.
            By default the error is raised.

    Raises:
        UsageError: As `task_of`, `read_truth` and `average_precision` do.
        ImageError: An image cannot be opened, and there is no ``on_error``.
    """
    path = Path(truth)
    true = read_truth(path, images=None if images is None else Path(images), lvis=lvis).held()
    program = program_of(bool(true.frequencies), program)
    task = task_of(true, path, query, None if images is None else Path(images))
    failed = _Failed(on_error)
    found = found_by(pipe, task.items, task.groups, failed, batch_size)
    return Report.of(compare(true, found, task.asked, failed), program)


class _Failed(dict[str, Exception]):
    """Errors by image, each raised or told when it comes."""

    def __init__(self, on_error: Callable[[str, Exception], None] | None) -> None:
        self._on_error = on_error

    def __setitem__(self, name: str, error: Exception) -> None:
        if self._on_error is None:
            raise error
        super().__setitem__(name, error)
        self._on_error(name, error)


def items_of(truth: Truth, path: Path, images: Path | None = None) -> list[Item]:
    """Say where the images of a truth are.

    Args:
        truth: The truth, its images read (`gsam.evaluation.compared.Truth.held`).
        path: Its file or folder, see `gsam.evaluation.sides.image_places`.
        images: The folder that the names are to be looked for in, instead of the usual ones.

    Returns:
        An item an image, by the truth's name for it; also those that are nowhere.

    Raises:
        UsageError: None is there (``images_missing``).
    """
    places = image_places(path, images)
    items = []
    some = False
    for scene in truth:
        name = str(scene["image"])
        files = [place / part for place in places for part in (name, str(scene.get("place", name)))]
        there = next((file for file in files if file.is_file()), None)
        some = some or there is not None
        items.append(Item(there or files[0], name, name))
    if not some:
        what = f"none of its {len(items)} images is there, {items[0].path} for one" if items else "it has no images"
        raise UsageError(f"{path}: {what}: say where they are with --images", "images_missing")
    return items


def groups_of(labels: Sequence[str]) -> list[Queries]:
    """Ask for the classes of a truth: for ``alarm clock`` where one is called ``alarm_clock``.

    Args:
        labels: The classes.

    Returns:
        Queries of at most `gsam.text.queries.MAX_QUERIES` each, to be asked one after the other.

    Raises:
        UsageError: There is no class (``nothing_to_compare``).
    """
    if not labels:
        raise UsageError("the truth has no classes to ask for: give --query", "nothing_to_compare")
    words = {" ".join(label.replace("_", " ").split()) or label: label for label in labels}
    return [parse_queries(dict(group)) for group in _some(list(words.items()), MAX_QUERIES)]


def found_by(
    pipe: Pipeline,
    items: Sequence[Item],
    groups: Sequence[Queries],
    failed: MutableMapping[str, Exception],
    batch_size: int | None = None,
    *,
    stretch: bool = False,
    max_pixels: int | None = None,
) -> Iterator[Json]:
    """Give what a pipeline finds, image by image; pixels are not kept.

    Args:
        pipe: The pipeline.
        items: The images.
        groups: What to find in each; results of several groups are put together.
        failed: Gets the name of every image that has no result, and why.
        batch_size: As `gsam.Pipeline.stream` takes it.
        stretch: As `gsam.Pipeline.stream` takes it.
        max_pixels: As `gsam.Pipeline.stream` takes it.
    """
    for some in _some(items, len(items) if len(groups) == 1 else TOGETHER):
        whole: dict[str, Json] = {}
        for queries in groups:
            for item, answer in stream(pipe, some, queries, batch_size, stretch=stretch, max_pixels=max_pixels):
                if isinstance(answer, Exception):
                    if item.name not in failed:  # in every group
                        failed[item.name] = answer
                elif len(groups) == 1:
                    yield answer.to_dict()
                else:
                    scene = answer.to_dict()
                    whole[item.name] = _joined(whole[item.name], scene) if item.name in whole else scene
        yield from (scene for name, scene in whole.items() if name not in failed)


def labels_of(truth: Truth) -> list[str]:
    """The classes of a truth whose images were read, those that only its segments name too."""
    seen: Iterable[JsonMapping] = (segment for scene in truth for segment in scene["segments"])
    return list(dict.fromkeys([*truth.labels, *(str(segment["label"]) for segment in seen)]))


def _joined(first: JsonMapping, second: JsonMapping) -> Json:
    """Put two scenes of one image together, asked for different things."""
    count = len(first["queries"])
    later = [{**s, "label_id": s["label_id"] + count} for s in second["segments"]]
    names = {"queries": [*first["queries"], *second["queries"]]}
    if "query_labels" in first or "query_labels" in second:
        names["query_labels"] = [label for one in (first, second) for label in one.get("query_labels", one["queries"])]
    segments = sorted([*first["segments"], *later], key=lambda s: -float(s["score"]))
    return {**first, **names, "segments": segments}


def _some(values: Sequence[T], count: int) -> Iterator[Sequence[T]]:
    return (values[i : i + count] for i in range(0, len(values), max(count, 1)))
