"""Places of results, and the simplest one: a folder that processes share."""

from __future__ import annotations

import abc
import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from gsam.errors import OutputError, UsageError
from gsam.files import PREFIX, atomic_file, atomic_path

FOLDERS = ("parts", "claims")
"""Folders of a place that processes write into."""


class Place(abc.ABC):
    """Files by name (``"plan.json"``, ``"parts/00012.parquet"``), each there whole or not at all.

    Reading what is not there raises `FileNotFoundError`; what cannot be written raises
    `gsam.errors.OutputError`.  All methods may be called from several threads.
    """

    beat: float
    """Seconds between two signs of life of a claim."""
    dead: float
    """Seconds without one after which a claim counts no more."""

    def __str__(self) -> str:
        return self.path()

    @abc.abstractmethod
    def path(self, name: str = "") -> str:
        """Where a file is, for messages; by default the place itself."""

    @abc.abstractmethod
    def prepare(self) -> None:
        """Make the place where it is missing, and see that it can be written.

        Raises:
            UsageError: It cannot (``output_not_writable``), it is a file
                (``output_not_a_folder``), or it cannot be reached (``store_unreachable``).
        """

    @abc.abstractmethod
    def read(self, name: str) -> bytes:
        """Read a file."""

    @abc.abstractmethod
    def read_range(self, name: str, start: int, stop: int) -> bytes:
        """Read the bytes of a file from ``start`` to before ``stop``."""

    @abc.abstractmethod
    def open(self, name: str) -> IO[bytes]:
        """Open a file for reading; it can be sought in."""

    @abc.abstractmethod
    def size(self, name: str) -> int:
        """Bytes of a file."""

    @abc.abstractmethod
    def modified(self, name: str) -> float | None:
        """Time a file was written, in seconds of the store's own clock; None where none is."""

    @abc.abstractmethod
    def now(self) -> float:
        """Seconds by the store's own clock: those of machines differ, and are set back."""

    @abc.abstractmethod
    def listing(self, folder: str) -> dict[str, float]:
        """Names of the finished files in a folder, and when they were written."""

    @abc.abstractmethod
    def put_once(self, name: str, content: bytes) -> bool:
        """Write a file that nobody else has written; False where somebody was first.

        Of several processes that try it at once, on any machines, one does it.
        """

    @abc.abstractmethod
    def put(self, name: str, content: bytes) -> None:
        """Write a file, over one that is there."""

    @abc.abstractmethod
    def put_file(self, name: str, file: Path, once: bool = False) -> bool:
        """Move a finished local file here.

        Args:
            name: Its name here.
            file: The local file; it is gone afterwards.
            once: Whether one that is there is left alone.

        Returns:
            False where one was there and ``once`` is set.
        """

    @abc.abstractmethod
    def scratch(self, suffix: str = "") -> contextlib.AbstractContextManager[Path]:
        """Give the name of an empty local file for `put_file`; it is removed in the end."""

    @abc.abstractmethod
    def filling(self, name: str) -> contextlib.AbstractContextManager[Path]:
        """Name a local file that appears as ``name`` when the block ends without an error.

        Where somebody else has put such a file in the meantime, either may stay.
        """

    @abc.abstractmethod
    def touch(self, name: str, content: bytes) -> None:
        """Make a file new again; ``content`` is what is in it."""

    @abc.abstractmethod
    def remove(self, name: str) -> None:
        """Remove a file, if it is there and can be."""

    def sweep(self, age: float) -> None:  # noqa: B027
        """Remove files that killed processes left unfinished, from so many seconds of age."""

    def exists(self, name: str) -> bool:
        """Whether a file is there."""
        return self.modified(name) is not None

    def age(self, name: str) -> float:
        """Seconds since a file was written, by the store's own clock; below 0 if that was set back.

        Raises:
            FileNotFoundError: It is not there.
        """
        written = self.modified(name)
        if written is None:
            raise FileNotFoundError(self.path(name))
        return self.now() - written

    def names(self, folder: str) -> list[str]:
        """Names of the finished files in a folder, sorted."""
        return sorted(self.listing(folder))


class LocalPlace(Place):
    """A folder, of this machine or of a file system that machines share."""

    beat, dead = 15.0, 120.0

    def __init__(self, folder: Path) -> None:
        """Name the folder; it need not be there."""
        self.folder = folder

    def path(self, name: str = "") -> str:
        return str(self.folder / name)

    def prepare(self) -> None:
        if self.folder.exists() and not self.folder.is_dir():
            raise UsageError(f"{self.folder} is a file, -o needs a folder", "output_not_a_folder")
        for folder in (self.folder, *(self.folder / name for name in FOLDERS)):
            try:
                folder.mkdir(parents=True, exist_ok=True)
                with tempfile.TemporaryFile(dir=folder):
                    pass
            except OSError as error:
                raise UsageError(f"cannot write to {folder}: {error.strerror}", "output_not_writable") from None

    def read(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()

    def read_range(self, name: str, start: int, stop: int) -> bytes:
        with self.open(name) as file:
            file.seek(start)
            return file.read(stop - start)

    def open(self, name: str) -> IO[bytes]:
        return (self.folder / name).open("rb")

    def size(self, name: str) -> int:
        return (self.folder / name).stat().st_size

    def modified(self, name: str) -> float | None:
        try:
            return (self.folder / name).stat().st_mtime
        except (FileNotFoundError, NotADirectoryError):
            return None

    def now(self) -> float:
        try:
            handle, probe = tempfile.mkstemp(dir=self.folder, prefix=f"{PREFIX}now-")
        except OSError:
            return time.time()
        try:
            return os.fstat(handle).st_mtime
        finally:
            os.close(handle)
            Path(probe).unlink(missing_ok=True)

    def listing(self, folder: str) -> dict[str, float]:
        found = {}
        with contextlib.suppress(FileNotFoundError), os.scandir(self.folder / folder) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):  # since it was listed
                    if not entry.name.startswith(".") and entry.is_file():
                        found[entry.name] = entry.stat().st_mtime
        return found

    def put_once(self, name: str, content: bytes) -> bool:
        path = self.folder / name
        with _writing(path), _beside(path) as file:
            file.write_bytes(content)
            return _link(file, path)

    def put(self, name: str, content: bytes) -> None:
        path = self.folder / name
        with _writing(path), atomic_file(path) as file:
            file.write(content)

    def put_file(self, name: str, file: Path, once: bool = False) -> bool:
        path = self.folder / name
        with _writing(path):
            if once:
                with _beside(path) as near:
                    shutil.move(file, near)
                    return _link(near, path)
            with atomic_path(path) as temporary:
                shutil.move(file, temporary)
                _sync(temporary)
        return True

    @contextlib.contextmanager
    def scratch(self, suffix: str = "") -> Iterator[Path]:
        with _beside(self.folder / f"any{suffix}") as file:
            yield file

    @contextlib.contextmanager
    def filling(self, name: str) -> Iterator[Path]:
        path = self.folder / name
        own: BaseException | None = None
        try:
            with atomic_path(path) as temporary:
                try:
                    yield temporary
                except BaseException as error:
                    own = error
                    raise
                _sync(temporary)
        except OSError as error:
            if error is own:
                raise
            raise _told(path, error) from None

    def touch(self, name: str, content: bytes) -> None:
        with contextlib.suppress(OSError):
            os.utime(self.folder / name)

    def remove(self, name: str) -> None:
        with contextlib.suppress(OSError):
            (self.folder / name).unlink()

    def sweep(self, age: float) -> None:
        now = self.now()
        for folder in (self.folder, *(self.folder / name for name in (*FOLDERS, "overview"))):
            for left in folder.glob(f"{PREFIX}*"):
                with contextlib.suppress(OSError):
                    if now - left.stat().st_mtime >= age:
                        left.unlink()


def _told(path: Path, error: OSError) -> OutputError:
    return OutputError(f"cannot write {path}: {error.strerror or error}")


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _told(path, error) from None


@contextlib.contextmanager
def _beside(path: Path) -> Iterator[Path]:
    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=PREFIX, suffix=path.suffix)
    os.close(handle)
    try:
        yield Path(name)
    finally:
        with contextlib.suppress(OSError):
            os.unlink(name)


def _sync(file: Path) -> None:
    with file.open("rb") as opened:
        os.fsync(opened.fileno())


def _link(file: Path, path: Path) -> bool:
    """Let a finished file appear under another name, whole at once and never over another."""
    umask = os.umask(0)
    os.umask(umask)
    os.chmod(file, 0o666 & ~umask)
    _sync(file)
    try:
        os.link(file, path)
        return True
    except FileExistsError:
        return False
    except OSError:  # a file system without links: a reader may see half of it for a moment
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            return False
        with os.fdopen(handle, "wb") as out, file.open("rb") as content:
            shutil.copyfileobj(content, out)
        return True
