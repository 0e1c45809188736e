"""Images through a pipeline, in batches, each with its result or its error."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gsam.dataset.sources import Item
from gsam.errors import CheckpointError, QueryError, UsageError

if TYPE_CHECKING:
    from gsam.inputs.image import Source
    from gsam.pipeline import Pipeline
    from gsam.pipeline.limits import OpenSettings
    from gsam.results.result import Result
    from gsam.text.queries import Query


NOT_OF_AN_IMAGE = (CheckpointError, QueryError, UsageError, BrokenPipeError)
"""Errors that every other image would meet too."""


def stream(
    pipe: Pipeline,
    items: Sequence[Item],
    query: Query,
    batch_size: int | None = None,
    *,
    stretch: bool = False,
    max_pixels: int | None = None,
) -> Iterator[tuple[Item, Result | Exception]]:
    """Ask a pipeline about images.

    Args:
        pipe: The pipeline.
        items: The images.
        query: What to find in each.
        batch_size: Images computed together; None as `gsam.Pipeline.stream` chooses.
        stretch: As `gsam.Pipeline.stream` takes it.
        max_pixels: As `gsam.Pipeline.stream` takes it.

    Yields:
        Every item in order, with its result or why it has none.
    """
    opening: OpenSettings = {"stretch": stretch, "max_pixels": max_pixels}
    done = 0
    while done < len(items):
        try:
            for answer in _stream(pipe, items[done:], query, batch_size, opening):
                yield answer
                done += 1
        except NOT_OF_AN_IMAGE:
            raise
        except Exception:  # of an image in the batch under way: which one, shows when it is alone
            yield _alone(pipe, items[done], query, opening)
            done += 1


def _stream(
    pipe: Pipeline, items: Sequence[Item], query: Query, batch_size: int | None, opening: OpenSettings
) -> Iterator[tuple[Item, Result | Exception]]:
    failed: dict[Path, Exception] = {}

    def note(source: Source, error: Exception) -> None:
        assert isinstance(source, Path)
        failed[source] = error

    waiting = iter(items)
    paths = [i.path for i in items]
    for result in pipe.stream(paths, query, batch_size=batch_size, on_error=note, **opening):
        item = next(waiting)
        while item.path in failed:  # images that fail are known before any later result comes
            yield item, failed.pop(item.path)
            item = next(waiting)
        yield item, dataclasses.replace(result, image=item.name)
    for item in waiting:
        yield item, failed.pop(item.path)


def _alone(pipe: Pipeline, item: Item, query: Query, opening: OpenSettings) -> tuple[Item, Result | Exception]:
    try:
        ((_, answer),) = _stream(pipe, [item], query, 1, opening)
    except NOT_OF_AN_IMAGE:
        raise
    except Exception as error:
        return item, error
    return item, answer
