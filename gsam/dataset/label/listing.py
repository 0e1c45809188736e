"""The list of what is to be labelled, one line an image, whatever the number of images."""

from __future__ import annotations

import array
import dataclasses
import hashlib
import json
from collections.abc import Iterable
from typing import IO

import numpy as np

from gsam.errors import UsageError
from gsam.types import Json


@dataclasses.dataclass(frozen=True)
class Entry:
    """An image to be labelled, or a shard of images that show when it is read."""

    id: str
    """Its name in the results, which no other has; of a shard, the beginning of theirs."""
    path: str
    """A file, or the address of one."""
    query: str | None = None
    """Its own query; None for that of all."""
    offset: int | None = None
    """Byte of the file at which the image begins, in a tar."""
    size: int | None = None
    """Bytes of the image, in a tar."""
    row: int | None = None
    """Number of its row from 0, in a Parquet file."""
    column: str | None = None
    """The column that has the image."""
    shard: bool = False
    """Whether it stands for all images of a tar."""
    problem: str | None = None
    """Why it cannot be read, if that is known."""

    def to_dict(self) -> Json:
        """Give it as plain values for JSON."""
        return {k: v for k, v in dataclasses.asdict(self).items() if v not in (None, False)}


@dataclasses.dataclass(frozen=True)
class Listing:
    """Entries in a file, and where its parts begin."""

    count: int
    """Entries."""
    shards: int
    """Entries that stand for any number of images."""
    sha256: str
    offsets: list[int]
    """Byte of the file at which each part begins, and the end."""


def write_listing(entries: Iterable[Entry], file: IO[bytes], part_size: int) -> Listing:
    """Write entries, a line of JSON each.

    Args:
        entries: In their order.
        file: Opened for writing; it is read again where two ids are the same.
        part_size: Entries of a part; a shard is a part of its own.

    Raises:
        UsageError: Two entries have one id, or there are none.
    """
    digest, offsets, at, count = hashlib.sha256(), [0], 0, 0
    hashes = array.array("Q")
    inside = shards = 0  # entries of the part so far
    for entry in entries:
        if inside == part_size or (inside and entry.shard):
            offsets.append(at)
            inside = 0
        line = json.dumps(entry.to_dict(), ensure_ascii=False).encode("utf-8", "surrogateescape") + b"\n"
        file.write(line)
        digest.update(line)
        hashes.append(_hash(entry.id))
        at, count, shards = at + len(line), count + 1, shards + entry.shard
        inside = part_size if entry.shard else inside + 1
    file.flush()
    if not count:
        raise UsageError("no image is there to be labelled", "nothing_to_label")
    _refuse_repeated(hashes, file)
    return Listing(count, shards, digest.hexdigest(), [*offsets, at])


def parse_entries(lines: bytes) -> list[Entry]:
    """Read the entries of a part from its lines of the listing."""
    return [Entry(**json.loads(line.decode("utf-8", "surrogateescape"))) for line in lines.split(b"\n") if line]


def _refuse_repeated(hashes: array.array[int], file: IO[bytes]) -> None:
    ordered = np.frombuffer(hashes, np.uint64)  # sorted in place: there may be many millions
    ordered.sort()
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
