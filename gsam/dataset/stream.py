"""Images through a pipeline, in batches, each with its result or its error."""

from __future__ import annotations

import collections
import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

from gsam.dataset.sources import Item
from gsam.errors import CheckpointError, QueryError, UsageError
from gsam.text.queries import parse_queries

if TYPE_CHECKING:
    from gsam.inputs.image import Picture
    from gsam.pipeline import Pipeline
    from gsam.results.result import Result
    from gsam.text.queries import Queries, Query

T = TypeVar("T")
NOT_OF_AN_IMAGE = (CheckpointError, QueryError, UsageError, BrokenPipeError)
"""Errors that every other image would meet too."""


def stream(
    pipe: Pipeline,
    items: Iterable[Item],
    query: Query,
    batch_size: int | None = None,
    *,
    stretch: bool = False,
    max_pixels: int | None = None,
) -> Iterator[tuple[Item, Result | Exception]]:
    """Ask a pipeline about images in files.

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
    from gsam.inputs.image import open_image

    queries = parse_queries(query)
    opened = functools.partial(open_image, stretch=stretch, max_pixels=max_pixels)
    for item, answer in answers(pipe, ((item, queries) for item in items), lambda item: opened(item.path), batch_size):
        yield item, answer if isinstance(answer, Exception) else dataclasses.replace(answer, image=item.name)


def answers(
    pipe: Pipeline,
    pairs: Iterable[tuple[T, Queries]],
    opened: Callable[[T], Picture],
    batch_size: int | None = None,
    fixed: bool = False,
) -> Iterator[tuple[T, Result | Exception]]:
    """Ask a pipeline about images, whatever becomes of one of them.

    A batch that fails as a whole is computed again: with half as many images where memory was too
    little, else its first image alone, until the one that fails is found.

    Args:
        pipe: The pipeline.
        pairs: Anything that stands for an image, each with its query; read ahead a little.
        opened: Opens an image, as `gsam.Pipeline.answers` takes it.
        batch_size: Images computed together; None as `gsam.Pipeline.stream` chooses.
        fixed: As for `gsam.Pipeline.answers`.

    Yields:
        All of them in order, each with its result or why it has none.
    """
    source = _Source(pairs)
    while True:
        try:
            for item, answer in pipe.answers(source, opened, batch_size=batch_size, fixed=fixed):
                source.answered()
                yield item, answer
            return
        except NOT_OF_AN_IMAGE:
            raise
        except Exception as error:
            if source.broken or not source.waiting:
                raise
            size = batch_size or len(source.waiting)
            if size > 1 and ("RESOURCE_EXHAUSTED" in str(error) or isinstance(error, MemoryError)):
                batch_size = min(size, len(source.waiting)) // 2 or 1
            else:
                yield _alone(pipe, *source.answered(), opened, batch_size if fixed else 1)


def _alone(
    pipe: Pipeline, item: T, queries: Queries, opened: Callable[[T], Picture], batch_size: int | None
) -> tuple[T, Result | Exception]:
    try:
        return next(iter(pipe.answers([(item, queries)], opened, batch_size=batch_size, fixed=batch_size != 1)))
    except NOT_OF_AN_IMAGE:
        raise
    except Exception as error:
        return item, error


class _Source(Iterable[tuple[T, "Queries"]]):
    """Pairs that are given again, from the first without an answer, whenever they are asked for."""

    def __init__(self, pairs: Iterable[tuple[T, Queries]]) -> None:
        self._pairs = iter(pairs)
        self.waiting: collections.deque[tuple[T, Queries]] = collections.deque()
        self.broken = False
        """Whether the pairs themselves failed."""

    def answered(self) -> tuple[T, Queries]:
        """Take the first that waits for its answer."""
        return self.waiting.popleft()

    def __iter__(self) -> Iterator[tuple[T, Queries]]:
        return itertools.chain(list(self.waiting), self._new())

    def _new(self) -> Iterator[tuple[T, Queries]]:
        self.broken = True  # if taking the next one does not return
        for pair in self._pairs:
            self.broken = False
            self.waiting.append(pair)
            yield pair
            self.broken = True
        self.broken = False
