"""The folder results go to: usable before any work begins, and one run's at a time."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from gsam.errors import UsageError

LOCK = ".gsam.lock"
LEFTOVER = ".gsam-*"
"""What `gsam.files.atomic_file` calls a file that is not finished."""


@contextlib.contextmanager
def output_folder(path: Path) -> Iterator[Path]:
    """Make ``path``, hold it for this run and leave it clean.

    Raises `UsageError` if it is a file, the root of the file system, not writable, or held by another run.  A run that was
    killed holds nothing: the lock is the system's and goes with its process.
    """
    if path.exists() and not path.is_dir():
        raise UsageError(f"{path} is a file, -o needs a folder", "output_not_a_folder")
    if path.resolve() == Path(path.resolve().anchor):
        raise UsageError(f"{path} is the root of the file system, -o needs a folder of its own", "output_root")
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise UsageError(f"cannot write to {path}: {error.strerror}", "output_not_writable") from None
    with _held(path / LOCK):
        yield path


def sweep(folders: set[Path]) -> None:
    """Remove what a killed run left unfinished."""
    for folder in folders:
        for leftover in folder.glob(LEFTOVER):
            with contextlib.suppress(OSError):
                leftover.unlink()


@contextlib.contextmanager
def _held(lock: Path) -> Iterator[None]:
    try:
        import fcntl
    except ImportError:  # no such locks on this system
        yield
        return
    while True:
        file = open(lock, "a+")  # noqa: SIM115
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = _holder(file)
            file.close()
            raise UsageError(f"{lock.parent} is locked by another run{holder}", "output_locked") from None
        if _still_there(file, lock):
            break
        file.close()  # the other run finished and removed it between the two calls
    try:
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
    finally:
        with contextlib.suppress(OSError):
            lock.unlink()
        file.close()


def _holder(file: IO[str]) -> str:
    file.seek(0)
    pid = file.read(20).strip()
    return f" (pid {pid})" if pid else ""


def _still_there(file: IO[str], lock: Path) -> bool:
    try:
        return os.fstat(file.fileno()).st_ino == lock.stat().st_ino
    except OSError:
        return False
