"""Lists in JSON that are written entry by entry, before what stands in front of them is known."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import IO, Any

from gsam.files import atomic_file
from gsam.results.formats.scene_json import dumps


class StreamedList:
    """The entries of a list, in an unnamed file until they have their place."""

    def __init__(self, folder: Path) -> None:
        self._file: IO[bytes] = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        self.count = 0
        """Number of entries."""

    def add(self, value: Any) -> None:
        """Write an entry."""
        self._file.write(b",\n " if self.count else b"\n ")
        self._file.write(dumps(value).encode())
        self.count += 1

    def pour(self, file: IO[bytes]) -> None:
        """Write the whole list, and forget it."""
        self._file.seek(0)
        file.write(b"[")
        shutil.copyfileobj(self._file, file)
        file.write(b"\n]" if self.count else b"]")
        self._file.close()


def write_object(path: Path, values: dict[str, Any]) -> None:
    """Write an object whose values are plain, or lists that were streamed; whole or not at all."""
    with atomic_file(path) as file:
        file.write(b"{")
        for i, (name, value) in enumerate(values.items()):
            file.write((", " if i else "").encode() + f"{dumps(name)}: ".encode())
            if isinstance(value, StreamedList):
                value.pour(file)
            else:
                file.write(dumps(value).encode())
        file.write(b"}\n")
