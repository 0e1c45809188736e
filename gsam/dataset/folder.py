"""The folder results go to: usable before any work begins, and one run's at a time."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from gsam.dataset.lock import hold
from gsam.dataset.sources import SUFFIXES
from gsam.errors import UsageError
from gsam.files import PARTIAL, PREFIX

LOCK = ".gsam.lock"
FILES = SUFFIXES | {".mp4", ".json", ".jsonl", ".csv", ".zip"}
"""Suffixes of files that somebody may expect ``-o`` to be."""
LEFTOVER = f"{PREFIX}*"
"""Names that `gsam.files.atomic_file` gives files that are not finished."""


@contextlib.contextmanager
def output_folder(path: Path) -> Iterator[Path]:
    """Make a folder, hold it for this run and leave it clean.

    What was made and is empty in the end, because models are missing for instance, goes again.

    Args:
        path: The folder; it may exist.

    Yields:
        The folder.

    Raises:
        UsageError: It is a file or called like one, the root of the file system, not writable, or
            held by another run.
    """
    if path.exists() and not path.is_dir():
        raise UsageError(f"{path} is a file, -o needs a folder", "output_not_a_folder")
    if not path.exists() and path.suffix.lower() in FILES:
        raise UsageError(
            f"-o {path} reads like a file, and -o is a folder: results are called after their inputs",
            "output_not_a_folder",
        )
    if path.resolve() == Path(path.resolve().anchor):
        raise UsageError(f"{path} is the root of the file system, -o needs a folder of its own", "output_root")
    made = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise UsageError(f"cannot write to {path}: {error.strerror}", "output_not_writable") from None
    with hold(path / LOCK, made=made):
        yield path


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Hold the name of a folder that a command is about to make as a whole.

    What killed runs left of it is removed.

    Args:
        path: The folder; there may be nothing yet.

    Yields:
        The folder, which the block makes.

    Raises:
        UsageError: Something is there (``output_exists``), the folder above it cannot be written
            (``output_not_writable``), or another run makes the same (``output_locked``).
    """
    _refuse_existing(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise UsageError(f"cannot write to {path.parent}: {error.strerror}", "output_not_writable") from None
    with hold(path.with_name(f".gsam.{path.name}.lock"), path):
        _refuse_existing(path)
        for leftover in path.parent.glob(f".{_escaped(path.name)}.*{PARTIAL}"):
            pid = leftover.name[len(path.name) + 2 : -len(PARTIAL)]
            if re.fullmatch(r"\d+", pid) and not runs(int(pid)):
                shutil.rmtree(leftover, ignore_errors=True)
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


def _refuse_existing(path: Path) -> None:
    if os.path.lexists(path):
        raise UsageError(f"{path} exists already", "output_exists")


def _escaped(name: str) -> str:
    return re.sub(r"([*?[])", r"[\1]", name)


def runs(pid: int) -> bool:
    """Tell whether a process of this machine runs."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True
