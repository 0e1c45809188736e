"""Files and folders that are there whole or not at all, their hashes, and what must be closed."""

from __future__ import annotations

import abc
import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Protocol, Self

PREFIX = ".gsam-"
"""Files that are not finished begin with this."""
PARTIAL = ".partial"
"""Folders that are not finished end with this, after the number of the process."""


class Keeper(Protocol):
    """Says which files of a folder may be replaced, and notes which appear in it."""

    def check(self, path: Path) -> None:
        """Raise where ``path`` may not be written."""

    def note(self, path: Path, content: Path) -> None:
        """Note that ``content``, which is finished, is about to appear as ``path``."""


_keepers: dict[Path, Keeper] = {}
_everywhere: list[Keeper] = []


def ask_everywhere(keeper: Keeper) -> None:
    """Ask a keeper about every file that this process writes, wherever it is."""
    _everywhere.append(keeper)


@contextlib.contextmanager
def kept_by(folder: Path, keeper: Keeper) -> Iterator[None]:
    """Ask a keeper about every file that appears in a folder, or below it, while the block runs.

    It is asked wherever a file is written by `atomic_file` or `atomic_path`, in any thread.

    Args:
        folder: The folder.
        keeper: Is asked before a file is written, and again before it takes its place.
    """
    root = Path(os.path.realpath(folder))
    _keepers[root] = keeper
    try:
        yield
    finally:
        del _keepers[root]


def _keepers_of(path: Path) -> list[Keeper]:
    if not _keepers:
        return _everywhere
    place = Path(os.path.realpath(path.parent))
    return [*_everywhere, *(_keepers[folder] for folder in (place, *place.parents) if folder in _keepers)]


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """A binary file that appears under ``path`` when the block ends without an error.

    It is written beside its place, synced and renamed; a link at ``path`` is replaced, not
    followed.
    """
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield the name of an empty file of the same suffix, for callers that open it themselves.

    Otherwise like `atomic_file`.
    """
    for keeper in _keepers_of(path):
        keeper.check(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=PREFIX, suffix=path.suffix)
    os.close(handle)
    try:
        yield Path(name)
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(name, 0o666 & ~umask)
        for keeper in _keepers_of(path):
            keeper.check(path)  # somebody may have put a file there in the meantime
            keeper.note(path, Path(name))
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a folder that appears as ``path``, synced, if the block ends without an error.

    Args:
        path: Where there is nothing yet; folders above it are made.

    Yields:
        The folder to write into, beside ``path``.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}{PARTIAL}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        for file in (f for f in partial.rglob("*") if f.is_file()):
            with file.open("rb") as opened:
                os.fsync(opened.fileno())
        partial.rename(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def sha256(path: Path) -> str:
    """The SHA-256 of a file, as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Closing(abc.ABC):
    """A context manager whose block ends with `close`, whatever happens in it."""

    @abc.abstractmethod
    def close(self) -> None:
        """Let go of what is held."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
