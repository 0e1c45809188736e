"""Pictures on the host -> batches for the device."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import jax.numpy as jnp
import numpy as np

from gsam.image import Picture, Source, content, make_view, open_image
from gsam.types import Images, View


def gather(pictures: Sequence[Picture], views: Sequence[View]) -> Images:
    """A batch: every view of every picture, and what of it is picture."""
    sizes = [p.pixels.shape[:2] for p in pictures]
    return Images(
        {v.key: jnp.asarray(np.stack([make_view(p.pixels, v) for p in pictures])) for v in views},
        {v.key: jnp.asarray([content(v, s) for s in sizes], jnp.int32) for v in views},
        jnp.asarray(sizes, jnp.int32),
    )


def read_ahead(sources: Iterable[Source], depth: int) -> Iterator[tuple[Source, Picture | Exception]]:
    """Each source with its picture or the error it gave, in order, at most ``depth`` held at a time."""
    with ThreadPoolExecutor(4, "gsam-read") as pool:
        waiting: collections.deque[tuple[Source, Future[Picture]]] = collections.deque()
        items = iter(sources)
        try:
            while True:
                while len(waiting) < depth and (source := next(items, _END)) is not _END:
                    waiting.append((source, pool.submit(open_image, source)))  # type: ignore[arg-type]
                if not waiting:
                    return
                source, future = waiting.popleft()
                error = future.exception()
                yield source, error if isinstance(error, Exception) else future.result()
        finally:
            for _, future in waiting:
                future.cancel()


_END: object = object()
