"""Pictures on the host -> batches for the device."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, cast

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from gsam.inputs.image import Picture, Source, canvas, content, make_view, open_image
from gsam.text.queries.queries import Queries, Query, parse_queries
from gsam.types import Images, View


def gather(pictures: Sequence[Picture], views: Sequence[View]) -> Images:
    """A batch: every view of every picture, and what of it is picture."""
    sizes = [p.pixels.shape[:2] for p in pictures]
    shapes = {v.key: canvas(v, sizes) for v in views}
    return Images(
        {v.key: jnp.asarray(np.stack([_seen(p, v, shapes[v.key]) for p in pictures])) for v in views},
        {v.key: jnp.asarray([content(v, s) for s in sizes], jnp.int32) for v in views},
        jnp.asarray(sizes, jnp.int32),
    )


def prepared(picture: Picture, views: Sequence[View]) -> Picture:
    """The same picture with its ``views`` made: work that needs no device."""
    return dataclasses.replace(picture, views={v.key: make_view(picture.pixels, v) for v in views})


def _seen(picture: Picture, view: View, shape: tuple[int, int]) -> NDArray[Any]:
    made = picture.views.get(view.key)
    if made is None or made.shape[0] > shape[0] or made.shape[1] > shape[1]:
        return make_view(picture.pixels, view, shape)
    if made.shape[:2] == shape:
        return made
    out = np.full((*shape, 3), round(view.pad), made.dtype)
    out[: made.shape[0], : made.shape[1]] = made
    return out


def asked(
    images: Iterable[Source] | Iterable[tuple[Source, Query]], query: Query | None
) -> Iterator[tuple[Source, Queries]]:
    """Every picture with what is asked of it.  Raises `QueryError` at once for a bad query of all."""
    if query is None:
        return ((source, parse_queries(own)) for source, own in _pairs(images))
    queries = parse_queries(query)
    return ((cast(Source, source), queries) for source in images)


def _pairs(items: Iterable[Any]) -> Iterator[tuple[Source, Query]]:
    for item in items:
        if not isinstance(item, tuple) or len(item) != 2:
            raise TypeError("without a query, stream() takes pairs of a picture and what is asked of it")
        yield item


def fingerprint(pixels: NDArray[np.uint8]) -> bytes:
    """What tells one picture from another."""
    digest = hashlib.blake2b(repr(pixels.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.digest()


def read_ahead(
    pairs: Iterable[tuple[Source, Queries]], depth: int, views: Sequence[View]
) -> Iterator[tuple[tuple[Source, Queries], Picture | Exception]]:
    """Each pair with its picture, ``views`` made, or the error it gave; in order, at most ``depth`` held at a time."""
    with ThreadPoolExecutor(4, "gsam-read") as pool:
        waiting: collections.deque[tuple[tuple[Source, Queries], Future[Picture]]] = collections.deque()
        items = iter(pairs)
        try:
            while True:
                while len(waiting) < depth and (pair := next(items, None)) is not None:
                    waiting.append((pair, pool.submit(lambda source: prepared(open_image(source), views), pair[0])))
                if not waiting:
                    return
                pair, future = waiting.popleft()
                error = future.exception()
                yield pair, error if isinstance(error, Exception) else future.result()
        finally:
            for _, future in waiting:
                future.cancel()
