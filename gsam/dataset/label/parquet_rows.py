"""Images in Parquet files: bytes, the hub's struct of bytes and path, paths or addresses."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from gsam.dataset.label.listing import Entry
from gsam.dataset.label.manifests import ID, IMAGE, QUERY, Columns, asked_of, clean, entry_of
from gsam.dataset.label.stores import is_store, located, reached
from gsam.errors import ImageError, UsageError

SUFFIXES = (".parquet",)
BYTES = ("image", "bytes", "jpg", "jpeg", "png", "webp", "img", "image_bytes")
"""Names that a column of images' bytes may have."""
TOGETHER = 64
"""Rows that are read at a time."""


def list_parquet(name: str, path: str, columns: Columns, allow_urls: bool) -> Iterator[Entry]:
    """List the images of a Parquet file; a file that is damaged is an entry with its problem.

    Args:
        name: The beginning of the images' ids, where no column has them.
        path: The file, or its address on a store.
        columns: The columns to take.
        allow_urls: Whether images may be at http and https addresses.

    Raises:
        UsageError: pyarrow is missing (``extra_missing``), or no column has images
            (``manifest_invalid``).
    """
    damaged = _errors()
    try:
        with _opened(path) as file:
            image, kind = _image_column(file.schema_arrow, columns, path)
            ids = _column(file.schema_arrow, (columns.id,) if columns.id else ID)
            if columns.id and ids is None:
                raise UsageError(f"{path} has no column {columns.id}", "manifest_invalid")
            query = _column(file.schema_arrow, QUERY)
            if kind == "path":
                wanted = list(dict.fromkeys(c for c in (image, ids, query) if c))
                names = Columns(image, ids)
                rows = (row for batch in file.iter_batches(1024, columns=wanted) for row in batch.to_pylist())
                for number, row in enumerate(rows, 1):
                    yield entry_of(row, names, path, number, allow_urls)
                return
            number = 0
            for batch in file.iter_batches(1024, columns=[c for c in (ids, query) if c]):
                for row in batch.to_pylist() if batch.num_columns else [{}] * batch.num_rows:
                    own = row.get(ids) if ids else None
                    asked = asked_of(row[query]) if query else None
                    given = clean(str(own)) if own is not None else f"{name}/{number}"
                    yield Entry(given, path, asked, row=number, column=image)
                    number += 1
    except damaged as error:
        yield Entry(name, path, problem=f"is damaged: {' '.join(str(error).split())}")


def read_rows(entries: Sequence[Entry]) -> Iterator[tuple[Entry, bytes | ImageError]]:
    """Read images of one Parquet file, a few rows in memory at a time.

    Args:
        entries: Of one file and column, their rows rising.

    Yields:
        Each entry with the bytes of its image, or why there are none.
    """
    wanted = iter(entries)
    entry = next(wanted, None)
    assert entry is not None
    column, path = entry.column, entry.path
    try:
        with _opened(path) as file:
            groups = _groups(file, entries[0].row or 0, entries[-1].row or 0)
            at = groups[0][1] if groups else 0
            for batch in file.iter_batches(TOGETHER, row_groups=[number for number, _ in groups], columns=[column]):
                values = None
                while entry is not None and (entry.row or 0) < at + batch.num_rows:
                    values = batch.column(0) if values is None else values
                    yield entry, _content(values[(entry.row or 0) - at].as_py(), entry)
                    entry = next(wanted, None)
                at += batch.num_rows
                if entry is None:
                    return
    except _errors() as error:
        why = f"{path} is damaged or gone: {' '.join(str(error).split())}"
    else:
        why = f"{path} has fewer rows than before"
    while entry is not None:
        yield entry, ImageError(f"{entry.id}: {why}", "shard_damaged")
        entry = next(wanted, None)


def _groups(file: Any, first: int, last: int) -> list[tuple[int, int]]:
    """Number and first row of the row groups that hold some rows."""
    found, at = [], 0
    for number in range(file.num_row_groups):
        count = file.metadata.row_group(number).num_rows
        if at <= last and at + count > first:
            found.append((number, at))
        at += count
    return found


def _content(value: Any, entry: Entry) -> bytes | ImageError:
    content = value.get("bytes") if isinstance(value, dict) else value
    if isinstance(content, bytes) and content:
        return content
    return ImageError(f"{entry.id}: its row has no image", "image_missing")


def _image_column(schema: Any, columns: Columns, path: str) -> tuple[str, str]:
    """Choose the column of images, and tell whether it has bytes or paths."""
    name = _column(schema, (columns.image,) if columns.image else (*BYTES, *IMAGE))
    if name is None:
        wanted = columns.image or ", ".join(dict.fromkeys((*BYTES, *IMAGE)))
        told = f"{path} has no column of images ({wanted}), but {', '.join(schema.names)}: name one with --image-column"
        raise UsageError(told, "manifest_invalid")
    kind = str(schema.field(name).type)
    if kind in ("binary", "large_binary") or (kind.startswith("struct<") and "bytes: " in kind):
        return name, "bytes"
    if kind in ("string", "large_string"):
        return name, "path"
    raise UsageError(
        f"{path}: column {name} is {kind}; an image is bytes, a struct of bytes or text", "manifest_invalid"
    )


def _column(schema: Any, names: Sequence[str | None]) -> str | None:
    known = {name.casefold(): name for name in reversed(schema.names)}
    return next((known[name.casefold()] for name in names if name and name.casefold() in known), None)


@contextlib.contextmanager
def _opened(path: str) -> Iterator[Any]:
    try:
        import pyarrow.parquet
    except ImportError:
        raise UsageError(
            "reading Parquet needs the extra batch: pip install 'gsam-jax[batch]'", "extra_missing"
        ) from None
    if not is_store(path):
        with pyarrow.parquet.ParquetFile(path) as file:
            yield file
        return
    fs, place = located(path)
    with reached(path, lambda: fs.open(place, "rb")) as remote:
        yield reached(path, lambda: pyarrow.parquet.ParquetFile(remote))


def _errors() -> tuple[type[Exception], ...]:
    """Errors of a file that is damaged or gone."""
    try:
        import pyarrow
    except ImportError:
        return (OSError,)
    return (OSError, pyarrow.ArrowException)
