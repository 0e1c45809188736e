"""Images that are no files yet, at addresses and on stdin: brought into a folder of their own."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from gsam.dataset.report import explain, tell
from gsam.errors import ImageError, UsageError
from gsam.inputs.remote import MOST_BYTES, fetch, is_url, name_of

STDIN = frozenset({"-", "/dev/stdin"})
"""Arguments that name stdin."""


def brought(arguments: Sequence[str]) -> list[str]:
    """Save what is at addresses and on stdin, and name the files in place of these.

    The files go when the program ends.  What cannot be fetched is said on stderr, and its file is
    not there.

    Args:
        arguments: Paths, folders, patterns, addresses (http or https), and ``-`` for stdin.

    Returns:
        Paths, folders and patterns.

    Raises:
        UsageError: Stdin is a terminal, or named twice.
    """
    if sum(argument in STDIN for argument in arguments) > 1:
        raise UsageError("stdin can be read once: name - once")
    return [
        str(_saved(argument, number)) if argument in STDIN or is_url(argument) else argument
        for number, argument in enumerate(arguments)
    ]


def _saved(argument: str, number: int) -> Path:
    place = _folder() / str(number)
    place.mkdir(exist_ok=True)
    if argument in STDIN:
        return _from_stdin(place / "stdin")
    file = place / name_of(argument)
    try:
        file.write_bytes(fetch(argument))
        os.utime(file, (0, 0))  # a later run may go on
    except ImageError as error:
        tell(f"gsam: {explain(error)}")
    return file


def _from_stdin(file: Path) -> Path:
    if sys.stdin is None or sys.stdin.isatty():
        raise UsageError("- reads an image from stdin: gsam segment - -q cat < photo.jpg")
    content = sys.stdin.buffer.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise UsageError(f"more than {MOST_BYTES:,} bytes on stdin: name a file")
    file.write_bytes(content)
    os.utime(file, (0, 0))
    return file


@functools.cache
def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="gsam-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
