"""Images in tar files: WebDataset's and img2dataset's shards, and any other tar of images."""

from __future__ import annotations

import contextlib
import itertools
import lzma
import os
import posixpath
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from gsam.dataset.label.listing import Entry
from gsam.dataset.label.manifests import clean
from gsam.dataset.label.stores import is_store, located, steady
from gsam.dataset.sources import SUFFIXES as IMAGES
from gsam.errors import ImageError

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
MOST_BYTES = 1 << 30
"""An image of more bytes is not read from a stream."""
BROKEN = (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, OSError, ValueError)
"""Errors of a file that is damaged or gone."""


def list_tar(name: str, path: str) -> Iterator[Entry]:
    """List the images of a tar.

    Of an uncompressed file on this machine the headers are read, and every image is an entry; any
    other tar is one entry, and its images show when it is read as a stream.

    Args:
        name: The beginning of the images' ids.
        path: The file, or its address.
    """
    if is_store(path) or not path.lower().endswith(".tar"):
        yield Entry(name, path, shard=True)
        return
    count, seen = 0, Names(name)
    try:
        with tarfile.open(path, "r:") as tar:
            for member in _images(_members(tar)):
                count += 1
                given = seen.unique(member.name)
                if member.issparse():
                    yield Entry(given, path, problem="is stored with holes, which is not supported")
                else:
                    yield Entry(given, path, offset=member.offset_data, size=member.size)
    except BROKEN as error:
        yield Entry(name, path, problem=_told(error, count))
    else:
        if not count:
            yield Entry(name, path, problem="has no image in it")


def stream_tar(shard: Entry) -> Iterator[tuple[Entry, bytes | ImageError]]:
    """Read a tar from its beginning to its end, once.

    Args:
        shard: Its entry.

    Yields:
        Each image's entry and its bytes.  In the end, where the tar is damaged or has no image,
        the shard's own entry with the error.
    """
    count, seen = 0, Names(shard.id)
    try:
        with contextlib.closing(_opened(shard.path)) as file, tarfile.open(fileobj=file, mode="r|*") as tar:
            for member, content in _contents(tar):
                count += 1
                yield Entry(seen.unique(member.name), shard.path), content
    except BROKEN as error:
        code = "image_missing" if isinstance(error, FileNotFoundError) else "shard_damaged"
        yield shard, ImageError(f"{shard.id}: {_told(error, count)}", code)
    else:
        if not count:
            yield shard, ImageError(f"{shard.id}: has no image in it", "shard_empty")


def read_member(entry: Entry) -> bytes:
    """Read the bytes of an image that `list_tar` listed."""
    assert entry.offset is not None
    assert entry.size is not None
    try:
        with open(entry.path, "rb") as file:
            file.seek(entry.offset)
            found = file.read(entry.size)
    except OSError as error:
        raise ImageError(f"{entry.id}: {error.strerror or error}: {entry.path}", "image_missing") from None
    if len(found) < entry.size:
        raise ImageError(f"{entry.id}: {entry.path} ends before it", "shard_damaged")
    return found


def _opened(path: str) -> IO[bytes]:
    if not is_store(path):
        return Path(path).open("rb")
    fs, place = located(path)
    opened: Any = steady(lambda: fs.open(place, "rb"), path)
    return opened


def _contents(tar: tarfile.TarFile) -> Iterator[tuple[tarfile.TarInfo, bytes | ImageError]]:
    """Images with their bytes; a stream has them only where it stands, so a sample's are kept."""
    for _, sample in itertools.groupby(_members(tar), _key):
        kept = [(member, _read(tar, member)) for member in sample if _is_image(member)]
        yield from (pair for pair in kept if pair[0] in _of_sample([m for m, _ in kept]))


def _read(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes | ImageError:
    if member.size > MOST_BYTES:
        return ImageError(f"{member.name}: {member.size:,} bytes, at most {MOST_BYTES:,} are read", "image_too_large")
    file = tar.extractfile(member)
    found = file.read() if file is not None else b""
    if len(found) < member.size:
        raise tarfile.ReadError("unexpected end of data")
    return found


def _members(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    while (member := tar.next()) is not None:
        yield member
        tar.members.clear()  # type: ignore[attr-defined]  # of millions, each is needed once


def _images(members: Iterable[tarfile.TarInfo]) -> Iterator[tarfile.TarInfo]:
    for _, sample in itertools.groupby(members, _key):
        yield from _of_sample([member for member in sample if _is_image(member)])


def _of_sample(images: list[tarfile.TarInfo]) -> list[tarfile.TarInfo]:
    """Leave out ``key.mask.png`` beside ``key.jpg``: it belongs to the same sample."""
    plain = [m for m in images if posixpath.basename(m.name).count(".") == 1]
    return plain or images


def _is_image(member: tarfile.TarInfo) -> bool:
    base = posixpath.basename(member.name)
    return member.isreg() and not base.startswith(".") and os.path.splitext(base)[1].lower() in IMAGES


def _key(member: tarfile.TarInfo) -> str:
    """The sample that a file belongs to, as WebDataset has it: its path to the first dot."""
    folder, base = posixpath.split(member.name)
    return posixpath.join(folder, base.partition(".")[0])


class Names:
    """Ids of the images of a shard, each once.

    Args:
        shard: Their beginning.
    """

    def __init__(self, shard: str) -> None:
        self._shard, self._seen = shard, set[str]()

    def unique(self, name: str) -> str:
        """Give the id of an image; a name that was there before gets a number."""
        wanted = found = f"{self._shard}/{clean(name.removeprefix('./'))}"
        number = 1
        while found in self._seen:
            number += 1
            found = f"{wanted}#{number}"
        self._seen.add(found)
        return found


def _told(error: Exception, count: int) -> str:
    why = " ".join(str(error).split()) or type(error).__name__
    return f"is damaged after {count} images: {why}"
