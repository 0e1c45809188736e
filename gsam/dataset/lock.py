"""A lock file that one run holds at a time."""

from __future__ import annotations

import atexit
import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from gsam.errors import UsageError

_until_exit = False
_ended: dict[Path, tuple[IO[str], Sequence[Path]]] = {}


def hold_until_exit() -> None:
    """Let the runs of this process hold their folders until it ends, for a process of one run.

    Then nothing of a run is still at work when another gets its folder.
    """
    global _until_exit
    if not _until_exit:
        atexit.register(_let_go)
    _until_exit = True


@contextlib.contextmanager
def hold(lock: Path, guarded: Path | None = None, made: Sequence[Path] = ()) -> Iterator[None]:
    """Hold a lock file while the block runs, and remove it afterwards.

    A run that was killed holds nothing: the lock is the system's and goes with its process.

    Args:
        lock: The file, in the folder that it guards.
        guarded: What it guards, where that is not its folder.
        made: Folders, the deepest first, that go with the lock if they are empty then.

    Raises:
        UsageError: Another run holds it (``output_locked``).
    """
    try:
        import fcntl
    except ImportError:  # no such locks on this system
        yield
        return
    if lock in _ended:
        ended, before = _ended.pop(lock)
        _release(lock, ended, ())
        made = (*made, *before)
    while True:
        lock.parent.mkdir(parents=True, exist_ok=True)  # it may just have gone with another run's lock
        file = open(lock, "a+")  # noqa: SIM115
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = _holder(file)
            file.close()
            raise UsageError(f"{guarded or lock.parent} is locked by another run{holder}", "output_locked") from None
        if _still_there(file, lock):
            break
        file.close()  # the other run finished and removed it between the two calls
    try:
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
    finally:
        if _until_exit:
            _ended[lock] = file, made
        else:
            _release(lock, file, made)


def _let_go() -> None:
    while _ended:
        lock, (file, made) = _ended.popitem()
        _release(lock, file, made)


def _release(lock: Path, file: IO[str], made: Sequence[Path]) -> None:
    with contextlib.suppress(OSError):
        lock.unlink()
    file.close()
    with contextlib.suppress(OSError):  # not empty, as it should be
        for folder in made:
            folder.rmdir()


def _holder(file: IO[str]) -> str:
    file.seek(0)
    pid = file.read(20).strip()
    return f" (pid {pid})" if pid else ""


def _still_there(file: IO[str], lock: Path) -> bool:
    try:
        return os.fstat(file.fileno()).st_ino == lock.stat().st_ino
    except OSError:
        return False
