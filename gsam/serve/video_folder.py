"""The folder of a server's uploaded videos, which goes with the server, however that ends.

What a server that was killed has left behind, the next one removes.
"""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from gsam.dataset.lock import hold
from gsam.errors import UsageError
from gsam.serve.problems import ServeError

PREFIX = "gsam-videos-"
LOCK = "lock"


class VideoFolder:
    """A folder for temporary files, made when the first of them is."""

    def __init__(self) -> None:
        self._made: tempfile.TemporaryDirectory[str] | None = None
        self._held = contextlib.ExitStack()

    def file(self) -> Path:
        """The path of a new file, which nobody can guess; it is not there yet."""
        if self._made is None:
            remove_abandoned()
            self._made = tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True)
            self._held.enter_context(hold(Path(self._made.name) / LOCK))
        return Path(self._made.name) / secrets.token_hex(16)

    def close(self) -> None:
        """Remove the folder and all that is in it."""
        self._held.close()
        if self._made is not None:
            self._made.cleanup()
            self._made = None


def remove(place: Path) -> None:
    """Remove a file, or a folder and all that is in it, if it is there."""
    if place.is_dir():
        shutil.rmtree(place, ignore_errors=True)
    else:
        place.unlink(missing_ok=True)


@contextlib.contextmanager
def writing() -> Iterator[None]:
    """Tell of a full disk.  Raises `ServeError` 503 ``storage_full``."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise ServeError(503, "storage_full", "there is no room on the server's disk", {"Retry-After": "60"}) from None


def remove_abandoned() -> None:
    """Remove this user's folders whose servers do not run any more.

    A server holds the lock in its folder for as long as it runs, and the system lets go of it
    when it is killed.
    """
    if importlib.util.find_spec("fcntl") is None:  # no locks on this system: it may be in use
        return
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError, UsageError):
            found = folder.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
                continue  # a link, or another user's
            with hold(folder / LOCK):
                shutil.rmtree(folder, ignore_errors=True)
