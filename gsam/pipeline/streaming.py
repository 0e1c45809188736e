"""Batches on their way: begun on the device, brought to the host, matched with what was asked."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

from gsam.runtime.shapes import filled, images_per_call

if TYPE_CHECKING:
    from gsam.inputs.image import Picture
    from gsam.pipeline import Pipeline
    from gsam.pipeline.finish import InFlight
    from gsam.pipeline.limits import Limits
    from gsam.results.result import Result
    from gsam.text.queries import Queries

T = TypeVar("T")
AHEAD = 1
"""Batches that are begun while the one before is brought to the host."""
MOST_DUE = 256
"""Items without an answer from which on a batch is computed though it is not full."""


def answers(
    pipe: Pipeline,
    ahead: Iterable[tuple[tuple[T, Queries], Picture | Exception]],
    batch_size: int,
    limits: Limits,
    fixed: bool = False,
) -> Iterator[tuple[T, Result | Exception]]:
    """Compute opened images in batches.

    Args:
        pipe: The pipeline.
        ahead: Items with what is asked of them, each with its image or why there is none.
        batch_size: Images computed together.
        limits: Those of the call.
        fixed: Whether fewer images than that are filled up to it, whatever their number.

    Yields:
        Every item in order, with its result or its error.
    """
    together = images_per_call(batch_size, pipe.whole_views, pipe.devices)
    batch: list[tuple[Picture, Queries]] = []
    begun: collections.deque[InFlight] = collections.deque()
    due: collections.deque[tuple[T, Exception | None]] = collections.deque()
    full = fixed  # a program for fewer images than that would have to be compiled
    for (item, queries), picture in ahead:
        failed = isinstance(picture, Exception)
        due.append((item, picture if isinstance(picture, Exception) else None))
        large = not isinstance(picture, Exception) and limits.tiled(picture.pixels.shape)
        if not isinstance(picture, Exception) and not large:
            batch.append((picture, queries))
        if batch and (large or len(batch) == together or len(due) >= MOST_DUE):
            full = True
            begun.append(pipe.dispatch(batch, limits, together))
            batch = []
        while len(begun) > (0 if large else AHEAD):
            yield from _matched(due, pipe.collect(begun.popleft()))
        if not isinstance(picture, Exception) and large:
            yield from _matched(due, [pipe._by_tiles(picture, queries, limits, together)])
        elif failed and not begun and not batch:
            yield from _matched(due, [])
    if batch:
        few = min(together, filled(len(batch), pipe.devices))
        begun.append(pipe.dispatch(batch, limits, together if full else few))
    while begun:
        yield from _matched(due, pipe.collect(begun.popleft()))
    yield from _matched(due, [])


def results(
    found: Iterable[tuple[T, Result | Exception]], on_error: Callable[[T, Exception], None] | None
) -> Iterator[Result]:
    """Give results alone; errors go to ``on_error``, or are raised."""
    for item, answer in found:
        if not isinstance(answer, Exception):
            yield answer
        elif on_error is None:
            raise answer
        else:
            on_error(item, answer)


def _matched(
    due: collections.deque[tuple[T, Exception | None]], results: Iterable[Result]
) -> Iterator[tuple[T, Result | Exception]]:
    """Give results to the items that are due, and the errors between and after them."""
    for result in results:
        yield from _errors(due)
        yield due.popleft()[0], result
    yield from _errors(due)


def _errors(due: collections.deque[tuple[T, Exception | None]]) -> Iterator[tuple[T, Exception]]:
    while due and (error := due[0][1]) is not None:
        yield due.popleft()[0], error
