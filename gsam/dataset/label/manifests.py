"""Manifests: lists of images as JSON lines, CSV or plain text, with ids and own queries."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
import posixpath
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from gsam.dataset.label.listing import Entry
from gsam.dataset.label.stores import is_store, located, reached
from gsam.errors import UsageError
from gsam.inputs.remote import is_url
from gsam.types import Json

SUFFIXES = (".jsonl", ".ndjson", ".csv", ".tsv", ".txt")
IMAGE = ("image", "path", "file", "file_name", "filename", "file_path", "image_path", "url", "image_url", "uri")
"""Names that a column of images may have, in any case; the first that is there counts."""
ID = ("id", "image_id", "key", "__key__", "custom_id")
QUERY = ("query",)


@dataclasses.dataclass(frozen=True)
class Columns:
    """Names of columns, where they are not the usual ones."""

    image: str | None = None
    id: str | None = None


def read_manifest(source: str, columns: Columns, allow_urls: bool) -> Iterator[Entry]:
    """List the images of a manifest.

    Each row has its image (a path from the manifest's folder, or an address), and may have an id
    and a query; a line of plain text is the image alone.

    Args:
        source: A file, or its address on a store.
        columns: The columns to take.
        allow_urls: Whether images may be at http and https addresses.

    Raises:
        UsageError: It cannot be read (``manifest_unreadable``), a row has no image
            (``manifest_invalid``), or an address is not allowed (``urls_not_allowed``).
    """
    try:
        with _opened(source) as file:
            for number, row in enumerate(_rows(file, source), 1):
                yield entry_of(row, columns, source, number, allow_urls)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"cannot read {source}: {error}", "manifest_unreadable") from None


def entry_of(row: Mapping[str, Any], columns: Columns, source: str, number: int, allow_urls: bool) -> Entry:
    """Read the row of a manifest; its paths are meant from the folder of ``source``."""
    image = _value(row, (columns.image,) if columns.image else IMAGE)
    if not isinstance(image, str) or not image.strip():
        wanted = columns.image or ", ".join(IMAGE)
        raise UsageError(f"{source}, row {number} has no image: {wanted}", "manifest_invalid")
    name = _value(row, (columns.id,) if columns.id else ID)
    if columns.id and name is None:
        raise UsageError(f"{source}, row {number} has no {columns.id}", "manifest_invalid")
    query = _value(row, QUERY)
    return Entry(
        clean(str(image if name is None else name)),
        from_folder_of(source, image, allow_urls),
        asked_of(query),
    )


def asked_of(query: Any) -> str | None:
    """Give the query of a row as one text; a list has names that keep their commas."""
    if isinstance(query, list):
        return "\n".join(f'"{name}"' for name in query) or None
    return str(query) if query else None


def from_folder_of(source: str, image: str, allow_urls: bool) -> str:
    """Give the place of an image that is named in a file.

    Raises:
        UsageError: It is an address, and those are not allowed.
    """
    if is_url(image):
        if not allow_urls:
            raise UsageError(f"{image}: addresses are only fetched with --allow-urls", "urls_not_allowed")
        return image
    if is_store(image):
        return image
    if is_store(source):
        scheme, _, path = source.partition("://")
        return image if image.startswith("/") else f"{scheme}://{posixpath.join(posixpath.dirname(path), image)}"
    return os.path.abspath(Path(source).expanduser().parent / image)


def clean(name: str) -> str:
    """Give an id that is text whatever bytes a file's name had."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _opened(source: str) -> IO[str]:
    if not is_store(source):
        return Path(source).expanduser().open(encoding="utf-8-sig", newline="")
    fs, path = located(source)
    return io.TextIOWrapper(reached(source, lambda: fs.open(path, "rb")), encoding="utf-8-sig", newline="")


def _rows(file: IO[str], source: str) -> Iterator[Mapping[str, Any]]:
    kind = Path(source).suffix.lower()
    if kind in (".csv", ".tsv"):
        return iter(csv.DictReader(file, delimiter="\t" if kind == ".tsv" else ","))
    if kind == ".txt":
        return ({"image": line.strip()} for line in file if line.strip())
    return _objects(file, source)


def _objects(file: IO[str], source: str) -> Iterator[Json]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{source}, line {number} is no JSON: {error}", "manifest_invalid") from None
        if not isinstance(row, dict):
            raise UsageError(f"{source}, line {number} is no object", "manifest_invalid")
        yield row


def _value(row: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    """The first value that is there under one of some names."""
    known = {str(key).casefold(): value for key, value in row.items()}
    found = (row.get(name, known.get(name.casefold())) for name in names)
    return next((value for value in found if value is not None and value != ""), None)
