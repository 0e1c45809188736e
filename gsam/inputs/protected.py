"""Inputs that this process has read: no saver writes over them.

A file that gsam itself wrote in this process is no such input: it may be saved, read and saved
again.
"""

from __future__ import annotations

import os
from pathlib import Path

from gsam import files
from gsam.errors import UsageError

MOST = 100_000
"""Names that are remembered, the last ones."""


class ReadFiles:
    """The real paths of files that were read and were not written before."""

    def __init__(self) -> None:
        self._read: dict[str, None] = {}
        self._written: dict[str, None] = {}

    def add(self, path: Path) -> None:
        """Remember that a file was read."""
        name = os.path.realpath(path)
        if name not in self._written:
            _remember(self._read, name)

    def check(self, path: Path) -> None:
        """Make sure that a file was not read.

        Raises:
            UsageError: It was (``output_is_input``).
        """
        if os.path.realpath(path) in self._read:
            raise UsageError(f"{path} was read as an input, a result would overwrite it", "output_is_input")

    def note(self, path: Path, content: Path) -> None:
        """Remember that a file was written."""
        _remember(self._written, os.path.realpath(path))


def _remember(names: dict[str, None], name: str) -> None:
    names.pop(name, None)
    names[name] = None
    if len(names) > MOST:
        del names[next(iter(names))]


READ = ReadFiles()
files.ask_everywhere(READ)
