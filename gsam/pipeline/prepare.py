"""Pictures on the host -> batches for the device."""

from __future__ import annotations

import collections
import functools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar, cast

from gsam.errors import UsageError
from gsam.inputs.image import Picture, Source, open_image
from gsam.pipeline.limits import OPENING
from gsam.runtime.batch import prepared
from gsam.text.queries import Queries, Query, parse_queries
from gsam.types import View

T = TypeVar("T")


def opener(settings: Mapping[str, Any]) -> Callable[[Source], Picture]:
    """`open_image` with what the settings of a call say of opening."""
    return functools.partial(open_image, **{name: settings[name] for name in OPENING if name in settings})


def asked(
    images: Iterable[Source] | Iterable[tuple[Source, Query]], query: Query | None
) -> Iterator[tuple[Source, Queries]]:
    """Every picture with what is asked of it.  Raises `QueryError` at once for a bad query of
    all.
    """
    if isinstance(images, str | bytes | os.PathLike) or len(getattr(images, "shape", range(4))) < 4:
        text = "stream() takes many images, one after the other: a list of them, or for a folder"
        raise UsageError(f"{text} sorted(pathlib.Path('photos').glob('*.jpg'))")
    if query is None:
        return ((source, parse_queries(own)) for source, own in _pairs(images))
    queries = parse_queries(query)
    return ((cast(Source, source), queries) for source in images)


def _pairs(items: Iterable[Any]) -> Iterator[tuple[Source, Query]]:
    for item in items:
        if not isinstance(item, tuple) or len(item) != 2:
            raise TypeError("without a query, stream() takes pairs of a picture and what is asked of it")
        yield item


def read_ahead(
    pairs: Iterable[tuple[T, Queries]], depth: int, views: Sequence[View], opened: Callable[[T], Picture]
) -> Iterator[tuple[tuple[T, Queries], Picture | Exception]]:
    """Each pair with its picture, ``views`` made, or the error it gave; in order, at most ``depth``
    held at a time.
    """
    with ThreadPoolExecutor(4, "gsam-read") as pool:
        waiting: collections.deque[tuple[tuple[T, Queries], Future[Picture]]] = collections.deque()
        items = iter(pairs)
        try:
            while True:
                while len(waiting) < depth and (pair := next(items, None)) is not None:
                    waiting.append((pair, pool.submit(lambda source: prepared(opened(source), views), pair[0])))
                if not waiting:
                    return
                pair, future = waiting.popleft()
                error = future.exception()
                yield pair, error if isinstance(error, Exception) else future.result()
        finally:
            for _, future in waiting:
                future.cancel()
