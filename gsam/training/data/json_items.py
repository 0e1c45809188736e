"""Entries of lists in JSON files of any size, also of those in which NaN and Infinity stand.

JSON has no such numbers, but Python's ``json`` writes them.  They come as None.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from gsam.errors import UsageError
from gsam.results.formats.coco_files import opened

CHUNK, SCANNED = 1 << 16, 1 << 20
_TOKENS = re.compile(rb'"(?:[^"\\]++|\\.)*+"|"|NaN|-?Infinity|[-A-Za-z]+\Z', re.DOTALL)


def items(path: Path, place: str) -> Iterator[Any]:
    """Give the values at a place, one by one.

    Args:
        path: The file.
        place: As ijson names it: ``images.item``.

    Raises:
        UsageError: It cannot be read, or not to its end (``format_unreadable``).
    """
    import ijson

    with opened(path) as file:
        source: Any = _Plain(file) if _may_have_none(file) else file
        try:
            yield from ijson.items(source, place, use_float=True)
        except (ijson.JSONError, UnicodeDecodeError) as error:
            why = str(error).split("\n")[0].strip()
            raise UsageError(f"{path} is no COCO file: {why}", "format_unreadable") from None


def _may_have_none(file: IO[bytes]) -> bool:
    """Tell if a file has one of the words anywhere, names included; leaves it at its beginning."""
    end = b""
    try:
        while part := file.read(SCANNED):
            if any(word in end + part for word in (b"NaN", b"Infinity")):
                return True
            end = part[-8:]
        return False
    finally:
        file.seek(0)


class _Plain:
    """A file with ``null`` for every number that is none."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._rest = b""
        self._over = False

    def read(self, size: int = -1) -> bytes:
        if size == 0:
            return b""
        while not self._over:
            part = self._file.read(CHUNK)
            self._over = not part
            found = self._changed(self._rest + part)
            if found:
                return found
        return b""

    def _changed(self, content: bytes) -> bytes:
        out, at = [], 0
        self._rest = b""
        for match in _TOKENS.finditer(content):
            word = match[0]
            if word in (b"NaN", b"Infinity", b"-Infinity"):
                out += [content[at : match.start()], b"null"]
                at = match.end()
            elif (word == b'"' or not word.startswith(b'"')) and not self._over:  # goes on in the next part
                self._rest = content[match.start() :]
                return b"".join([*out, content[at : match.start()]])
        return b"".join([*out, content[at:]])
