"""The parts that ``gsam label`` writes, as JSON lines or Parquet: a row an image."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Protocol

from gsam.errors import UsageError
from gsam.results.formats.dataset import DataSet
from gsam.results.formats.jsonl import parsed
from gsam.types import Json

PLAN, FOLDER = "plan.json", "parts"
GROUP = 256
"""Rows that are in memory at a time."""


class Files(Protocol):
    """Files by name, wherever they are."""

    def names(self, folder: str) -> list[str]:
        """Names of the finished files in a folder."""

    def open(self, name: str) -> IO[bytes]:
        """Open a file for reading."""


def read_parts(place: Files | str | Path) -> Iterator[Json]:
    """Give the rows of all parts that are there, in order, a group of them in memory at a time.

    Args:
        place: The folder of the results, a URL that fsspec knows, or anything with ``names`` and
            ``open``.
    """
    files = _files(place) if isinstance(place, str | Path) else place
    for name in sorted(files.names(FOLDER), key=lambda name: (len(name.partition(".")[0]), name)):
        yield from read_part(files, f"{FOLDER}/{name}")


def read_part(files: Files, name: str) -> Iterator[Json]:
    """Give the rows of a part, a group of them in memory at a time."""
    if name.endswith(".jsonl"):
        with files.open(name) as file:
            yield from map(json.loads, file)
    elif name.endswith(".parquet"):
        with files.open(name) as file:
            yield from _of_table(file)


def read(path: Path | str) -> DataSet:
    """Read the images that have a result; the others are told as problems.

    Args:
        path: The folder of the results, or a URL that fsspec knows.

    Raises:
        UsageError: It is none (``format_unreadable``), or a package is missing
            (``extra_missing``).
    """
    files = _files(path)
    try:
        with files.open(PLAN) as file:
            settings = json.load(file)["settings"]
    except (FileNotFoundError, NotADirectoryError):
        text = f"{path} has no {PLAN}: it is not what gsam label wrote"
        raise UsageError(text, "format_unreadable") from None
    except (ValueError, LookupError, TypeError) as error:
        raise UsageError(f"{path}/{PLAN} is damaged: {error!r}", "format_unreadable") from None
    labels = [label for label in settings["queries"]["labels"] if label]
    return DataSet(list(dict.fromkeys(labels)), lambda data: _scenes(files, data))


class _Folder:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def names(self, folder: str) -> list[str]:
        return [path.name for path in (self._folder / folder).glob("[!.]*")]

    def open(self, name: str) -> IO[bytes]:
        return (self._folder / name).open("rb")


class _Store:
    def __init__(self, url: str) -> None:
        try:
            import fsspec

            self._fs, self._root = fsspec.core.url_to_fs(url)
        except ImportError as error:
            raise UsageError(f"{url} needs another package: {error}", "extra_missing") from None
        except ValueError as error:
            raise UsageError(f"{url} cannot be read: {error}", "format_unreadable") from None

    def names(self, folder: str) -> list[str]:
        self._fs.invalidate_cache()
        try:
            found = self._fs.ls(f"{self._root}/{folder}", detail=False)
        except FileNotFoundError:
            return []
        names = (str(path).rpartition("/")[2] for path in found)
        return [name for name in names if name and not name.startswith(".")]

    def open(self, name: str) -> IO[bytes]:
        file: IO[bytes] = self._fs.open(f"{self._root}/{name}", "rb")
        return file


def _files(path: str | Path) -> Files:
    return _Store(path) if isinstance(path, str) and "://" in path else _Folder(Path(path))


def _of_table(file: Any) -> Iterator[Json]:
    try:
        import pyarrow.parquet
    except ImportError:
        raise UsageError("Parquet needs the extra batch: pip install 'gsam-jax[batch]'", "extra_missing") from None
    table = pyarrow.parquet.ParquetFile(file, pre_buffer=True)  # one request a group, where it is far
    for number in range(table.num_row_groups):
        for batch in table.iter_batches(GROUP, row_groups=[number]):
            yield from map(_nested, batch.to_pylist())


def _scenes(files: Files, data: DataSet) -> Iterator[Json]:
    for row in read_parts(files):
        if row["error"] is not None:
            data.problems.append(f"{row['id']}: {row['error']['message']}")
            continue
        try:
            yield parsed({**row, "image": row["id"]})
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            data.problems.append(f"{row['id']}: no scene ({error!r})")


def _nested(row: Json) -> Json:
    return {key: value for key, value in row.items() if key != "query_labels" or value is not None}
