"""The folder results go to: usable before any work begins, and one run's at a time."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from gsam.dataset.lock import hold
from gsam.errors import UsageError
from gsam.files import PREFIX

LOCK = ".gsam.lock"
LEFTOVER = f"{PREFIX}*"
"""Names that `gsam.files.atomic_file` gives files that are not finished."""


@contextlib.contextmanager
def output_folder(path: Path) -> Iterator[Path]:
    """Make a folder, hold it for this run and leave it clean.

    Args:
        path: The folder; it may exist.

    Yields:
        The folder.

    Raises:
        UsageError: It is a file, the root of the file system, not writable, or held by another run.
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
    with hold(path / LOCK):
        yield path


def sweep(folders: Iterable[Path]) -> None:
    """Remove files that a killed run left unfinished.

    Args:
        folders: Where to look, not below.
    """
    for folder in folders:
        for leftover in folder.glob(LEFTOVER):
            with contextlib.suppress(OSError):
                leftover.unlink()
