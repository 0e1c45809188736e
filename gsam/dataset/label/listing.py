"""List what is to be labelled, one line an image, whatever the number of images."""

from __future__ import annotations

import array
import csv
import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np

from gsam.dataset.sources import collect
from gsam.errors import UsageError
from gsam.types import Json

IMAGE = ("image", "path", "file", "file_name", "filename", "url")
"""Names that a manifest's column of images may have, the first that is there counts."""
MANIFESTS = (".jsonl", ".ndjson", ".csv")


@dataclasses.dataclass(frozen=True)
class Entry:
    """An image to be labelled."""

    id: str
    """Its name in the results, which no other has."""
    path: str
    query: str | None = None
    """Its own query; None for that of all."""

    def to_dict(self) -> Json:
        """Give it as plain values for JSON."""
        return {k: v for k, v in dataclasses.asdict(self).items() if v is not None}


def list_entries(sources: Sequence[str], recursive: bool = True) -> Iterator[Entry]:
    """List the images of folders, files and patterns, and of manifests (``.jsonl``, ``.csv``).

    A row of a manifest has its image (a path, from the manifest's folder), and may have ``id`` and
    ``query``.

    Args:
        sources: Paths and patterns.
        recursive: Whether to look into the folders of folders.

    Raises:
        UsageError: A manifest cannot be read, or a row has no image.
    """
    files = [source for source in sources if not source.lower().endswith(MANIFESTS)]
    for item in collect(files, recursive):
        yield Entry(item.name, os.path.abspath(item.path))
    for source in sources:
        if source.lower().endswith(MANIFESTS):
            yield from _of_manifest(Path(source))


def _of_manifest(path: Path) -> Iterator[Entry]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file) if path.suffix.lower() == ".csv" else _lines(file, path)
            for number, row in enumerate(rows, 1):
                image = next((row[key] for key in IMAGE if row.get(key)), None)
                if not isinstance(image, str):
                    raise UsageError(f"{path}, row {number} has no image: {', '.join(IMAGE)}", "manifest_invalid")
                name = str(row.get("id") or image)
                query = row.get("query")
                yield Entry(name, os.path.abspath(path.parent / image), str(query) if query else None)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"cannot read {path}: {error}", "manifest_unreadable") from None


def _lines(file: IO[str], path: Path) -> Iterator[Json]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise UsageError(f"{path}, line {number} is no JSON: {error}", "manifest_invalid") from None
        if not isinstance(row, dict):
            raise UsageError(f"{path}, line {number} is no object", "manifest_invalid")
        yield row


@dataclasses.dataclass(frozen=True)
class Listing:
    """Entries in a file, and where its parts begin."""

    count: int
    sha256: str
    offsets: list[int]
    """Byte of the file at which each part begins, and the end."""


def write_listing(entries: Iterable[Entry], file: IO[bytes], part_size: int) -> Listing:
    """Write entries, a line of JSON each.

    Args:
        entries: In their order.
        file: Opened for writing; it is read again where two ids are the same.
        part_size: Entries of a part.

    Raises:
        UsageError: Two entries have one id, or there are none.
    """
    digest, offsets, at, count = hashlib.sha256(), [0], 0, 0
    hashes = array.array("Q")
    for entry in entries:
        if count and count % part_size == 0:
            offsets.append(at)
        line = json.dumps(entry.to_dict(), ensure_ascii=False).encode("utf-8", "surrogateescape") + b"\n"
        file.write(line)
        digest.update(line)
        hashes.append(_hash(entry.id))
        at, count = at + len(line), count + 1
    file.flush()
    if not count:
        raise UsageError("no image is there to be labelled", "nothing_to_label")
    _refuse_repeated(np.frombuffer(hashes, np.uint64), file)
    return Listing(count, digest.hexdigest(), [*offsets, at])


def read_part(path: Path, offsets: Sequence[int], part: int) -> list[Entry]:
    """Read the entries of a part."""
    with path.open("rb") as file:
        file.seek(offsets[part])
        lines = file.read(offsets[part + 1] - offsets[part]).splitlines()
    return [Entry(**json.loads(line.decode("utf-8", "surrogateescape"))) for line in lines]


def _refuse_repeated(hashes: np.ndarray, file: IO[bytes]) -> None:
    ordered = np.sort(hashes)
    repeated = set(ordered[1:][ordered[1:] == ordered[:-1]].tolist())
    if not repeated:
        return
    file.seek(0)
    seen: dict[str, int] = {}
    for number, line in enumerate(file, 1):
        name = json.loads(line.decode("utf-8", "surrogateescape"))["id"]
        value = _hash(name)
        if value in repeated:
            if name in seen:
                text = f"two images have the id {name!r}, entries {seen[name]} and {number}: ids must differ"
                raise UsageError(text, "id_repeated")
            seen[name] = number


def _hash(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8).digest(), "big")
