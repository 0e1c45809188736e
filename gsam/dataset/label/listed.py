"""Find what the sources of a data set name: folders, patterns, manifests, shards, stores."""

from __future__ import annotations

import glob
import itertools
import os
import posixpath
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from gsam.dataset.label import manifests, parquet_rows, tars
from gsam.dataset.label.listing import Entry
from gsam.dataset.label.manifests import Columns, clean, read_manifest
from gsam.dataset.label.parquet_rows import list_parquet
from gsam.dataset.label.stores import is_store, located, reached
from gsam.dataset.label.tars import list_tar
from gsam.dataset.sources import SUFFIXES, collect
from gsam.errors import UsageError
from gsam.inputs.remote import is_url, name_of

BRACES = re.compile(r"\{([^{}]*)\}")
ANY = Columns()
RANGE = re.compile(r"(\d+)\.\.(\d+)")


class Found(NamedTuple):
    """A file that a source names."""

    place: str
    """Its path, or its address."""
    name: str
    """Its path in the folder it was found in."""


def list_entries(
    sources: Sequence[str], recursive: bool = True, columns: Columns = ANY, allow_urls: bool = False
) -> Iterator[Entry]:
    """List the images of all sources.

    Args:
        sources: Files, folders, patterns (``*``, ``{00000..00099}``), manifests (``.jsonl``,
            ``.csv``, ``.tsv``, ``.txt``), tars, Parquet files, on this machine or on a store
            (``gs://``); images at http and https addresses.
        recursive: Whether to look into the folders of folders.
        columns: The columns of manifests and Parquet files.
        allow_urls: Whether images may be at http and https addresses.

    Raises:
        UsageError: A source is not there, cannot be read, or is not allowed.
    """
    images: list[str] = []
    others: list[Found] = []
    for source in itertools.chain.from_iterable(map(braces, sources)):
        if is_url(source):
            others.append(Found(_allowed(source, allow_urls), name_of(source)))
        elif is_store(source) and not source.startswith("file://"):
            others += _on_store(source, recursive)
        else:
            path = source.removeprefix("file://")
            others += _here(path, recursive)
            if not _is_special(path) or (glob.has_magic(path) and not os.path.lexists(path)):
                images.append(path)
    for item in collect(images, recursive):
        yield Entry(clean(item.name), os.path.abspath(item.path))
    shards = _named([found.place for found in others if _is_shard(found.place)])
    for found in others:
        yield from _entries(found, shards, columns, allow_urls)


def braces(source: str) -> list[str]:
    """Write out ``{a,b}`` and ``{000..999}`` where no file is called so."""
    found = BRACES.search(source)
    if found is None or os.path.lexists(source):
        return [source]
    numbers = RANGE.fullmatch(found[1])
    if numbers:
        first, last = int(numbers[1]), int(numbers[2])
        inner: Iterable[str] = (f"{number:0{len(numbers[1])}d}" for number in range(first, last + 1))
    elif "," in found[1]:
        inner = found[1].split(",")
    else:
        return [source]
    return [more for one in inner for more in braces(source[: found.start()] + one + source[found.end() :])]


def _entries(found: Found, shards: dict[str, str], columns: Columns, allow_urls: bool) -> Iterator[Entry]:
    place, lower = found.place, found.place.lower()
    if is_url(place) or not _is_special(place):
        yield Entry(clean(found.name), place)
    elif lower.endswith(manifests.SUFFIXES):
        yield from read_manifest(place, columns, allow_urls)
    elif lower.endswith(tars.SUFFIXES):
        yield from list_tar(shards[place], place)
    else:
        yield from list_parquet(shards[place], place, columns, allow_urls)


def _here(source: str, recursive: bool) -> list[Found]:
    """Find the manifests and shards that a local source names; images are found by `collect`."""
    path = Path(source).expanduser()
    if path.is_dir():
        files = [str(p) for p in (path.rglob("*") if recursive else path.iterdir()) if _is_shard(p.name)]
        return [_local(file) for file in _without_metadata(sorted(files))]
    if os.path.lexists(path):
        return [_local(str(path))] if _is_special(source) else []
    matches = sorted(glob.glob(str(path), recursive=True)) if glob.has_magic(source) else []
    if not matches:
        raise UsageError(f"{source}: nothing is there", "source_missing")
    return [_local(match) for match in matches if _is_special(match) and not os.path.isdir(match)]


def _local(path: str) -> Found:
    return Found(os.path.abspath(path), os.path.basename(path))


def _on_store(source: str, recursive: bool) -> list[Found]:
    """Find the images, manifests and shards that a source on a store names."""
    fs, path = located(source)
    scheme = source.partition("://")[0]

    def there(names: Iterable[str], root: str) -> list[Found]:
        return [Found(f"{scheme}://{one.lstrip('/')}", posixpath.relpath(one, root)) for one in names]

    if glob.has_magic(source):
        names = sorted(reached(source, lambda: fs.glob(path)))
        chosen = [name for name in names if _is_special(name) or _is_image(name)]
        root = posixpath.dirname(re.split(r"[*?\[]", path)[0])
    elif _is_special(source) or _is_image(source):
        return [Found(source, posixpath.basename(path))]
    else:
        names = sorted(reached(source, lambda: fs.find(path, maxdepth=None if recursive else 1)))
        shards = set(_without_metadata([name for name in names if _is_shard(name)]))
        chosen, root = [name for name in names if _is_image(name) or name in shards], path
    if not chosen:
        raise UsageError(f"{source}: nothing is there", "source_missing")
    return there(chosen, root or ".")


def _allowed(source: str, allow_urls: bool) -> str:
    if not allow_urls:
        raise UsageError(f"{source}: addresses are only fetched with --allow-urls", "urls_not_allowed")
    if _is_special(source.partition("?")[0]):
        raise UsageError(f"{source}: of http and https only images are fetched: download it first", "source_unknown")
    return source


def _without_metadata(shards: list[str]) -> list[str]:
    """Leave out ``00000.parquet`` beside ``00000.tar``, where img2dataset tells what it fetched."""
    stems = {shard[: -len(".tar")] for shard in shards if shard.lower().endswith(".tar")}
    return [s for s in shards if not (s.lower().endswith(".parquet") and s[: -len(".parquet")] in stems)]


def _named(shards: Sequence[str]) -> dict[str, str]:
    """Give shards names to begin ids with: as short as they can be and differ."""
    names = [posixpath.basename(shard) for shard in shards]
    if len(set(names)) < len(set(shards)):
        whole = [shard.rpartition("://")[2] for shard in shards]
        root = posixpath.commonpath([posixpath.dirname(path) or "." for path in whole])
        names = [posixpath.relpath(path, root) for path in whole]
    return dict(zip(shards, map(clean, names), strict=True))


def _is_shard(name: str) -> bool:
    hidden = posixpath.basename(name).startswith(".")
    return not hidden and name.lower().endswith((*tars.SUFFIXES, *parquet_rows.SUFFIXES))


def _is_special(name: str) -> bool:
    return name.lower().endswith((*tars.SUFFIXES, *parquet_rows.SUFFIXES, *manifests.SUFFIXES))


def _is_image(name: str) -> bool:
    return posixpath.splitext(name)[1].lower() in SUFFIXES
