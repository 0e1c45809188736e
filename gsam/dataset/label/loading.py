"""Entries of a part -> open images: what is read one after the other, and what in many threads."""

from __future__ import annotations

import dataclasses
import functools
import io
import itertools
import time
from collections.abc import Callable, Iterator, Sequence

from gsam.dataset.label.listing import Entry
from gsam.dataset.label.parquet_rows import read_rows
from gsam.dataset.label.stores import StoreError, is_store, located, steady
from gsam.dataset.label.tars import read_member, stream_tar
from gsam.errors import GsamError, ImageError, QueryError
from gsam.inputs.image import Picture, open_image
from gsam.inputs.remote import fetch, is_url
from gsam.text.queries import Queries, parse_queries

AGAIN = ("the server says 429", "the server says 5", "takes too long", "cannot be fetched")
"""Failures to fetch an address that another try may mend."""
WAITS = (1.0, 4.0)
"""Seconds before each further try."""


@dataclasses.dataclass(frozen=True)
class Loaded:
    """An image on its way."""

    entry: Entry
    content: bytes | GsamError | None = None
    """Its bytes where they were read already, or why there are none."""


def load(entries: Sequence[Entry]) -> Iterator[Loaded]:
    """Read what is read one after the other: shards, and rows of Parquet; the rest stays in place.

    Args:
        entries: Those of a part.

    Yields:
        Each image.  A shard gives all of its images, and its own entry where it is damaged.
    """
    for column, some in itertools.groupby(entries, lambda entry: (entry.path, entry.column) if entry.column else None):
        if column is not None:
            yield from itertools.starmap(Loaded, read_rows(list(some)))
            continue
        for entry in some:
            if entry.problem is not None:
                yield Loaded(entry, ImageError(f"{entry.id}: {entry.problem}", "shard_damaged"))
            elif entry.shard:
                yield from itertools.starmap(Loaded, stream_tar(entry))
            else:
                yield Loaded(entry)


def opener(stretch: bool = False, max_pixels: int | None = None) -> Callable[[Loaded], Picture]:
    """Give a function that opens an image, in any thread; raises `gsam.errors.ImageError`.

    Args:
        stretch: As `gsam.inputs.image.open_image` takes it.
        max_pixels: As `gsam.inputs.image.open_image` takes it.
    """
    opened = functools.partial(open_image, stretch=stretch, max_pixels=max_pixels)

    def open_loaded(loaded: Loaded) -> Picture:
        content = _content(loaded)
        return opened(loaded.entry.path if content is None else _Named(content, loaded.entry.id))

    return open_loaded


@functools.lru_cache(4096)
def own_query(text: str) -> Queries | QueryError:
    """Parse the query of an entry."""
    try:
        return parse_queries(text)
    except QueryError as error:
        return error


def _content(loaded: Loaded) -> bytes | None:
    """The bytes of an image; None where a path is to be opened."""
    entry = loaded.entry
    if isinstance(loaded.content, GsamError):
        raise loaded.content
    if loaded.content is not None:
        return loaded.content
    if entry.offset is not None:
        return read_member(entry)
    if is_url(entry.path):
        return _fetched(entry.path)
    return _from_store(entry) if is_store(entry.path) else None


def _fetched(url: str) -> bytes:
    for wait in WAITS:
        try:
            return fetch(url)
        except ImageError as error:
            if not any(text in str(error) for text in AGAIN):
                raise
        time.sleep(wait)
    return fetch(url)


def _from_store(entry: Entry) -> bytes:
    fs, path = located(entry.path)
    try:
        return bytes(steady(lambda: fs.cat_file(path), entry.path))
    except FileNotFoundError:
        raise ImageError(f"{entry.id}: {entry.path} is not there", "image_missing") from None
    except StoreError as error:
        raise ImageError(f"{entry.id}: {error}", error.code) from None


class _Named(io.BytesIO):
    """Bytes that messages call by a name."""

    def __init__(self, content: bytes, name: str) -> None:
        super().__init__(content)
        self.name = name
