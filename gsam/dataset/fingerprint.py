"""Fingerprints of files and folders, small enough to be noted down and compared later."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Self

from gsam import files

if TYPE_CHECKING:
    from gsam.types import Json, JsonMapping

LARGE = 2 << 30
"""Bytes from which on an input is known by its size and time alone."""


@dataclasses.dataclass(frozen=True)
class Fingerprint:
    """Size, times and hash of a file; of a folder, those of what is in it."""

    size: int
    """Bytes."""
    mtime: int
    """When its contents last changed, in nanoseconds."""
    ctime: int
    """When anything of it last changed, in nanoseconds; 0 where that is not to be compared."""
    sha256: str | None
    """Hash of the contents; None for a large file."""

    @classmethod
    def of(cls, path: Path) -> Self | None:
        """Take the fingerprint of an input.

        Args:
            path: A file, or a folder of files.

        Returns:
            The fingerprint; None where there is nothing to be read.
        """
        try:
            found = path.stat()
            if stat.S_ISDIR(found.st_mode):
                return cls(0, 0, 0, _listing(path))
            if not stat.S_ISREG(found.st_mode):
                return None
            sha256 = files.sha256(path) if found.st_size < LARGE else None
            return cls(found.st_size, found.st_mtime_ns, found.st_ctime_ns, sha256)
        except (OSError, ValueError):
            return None

    @classmethod
    def parse(cls, value: JsonMapping | None) -> Self | None:
        """Read what `to_dict` gave."""
        return None if value is None else cls(**value)

    def to_dict(self) -> Json:
        """Give it as plain values for JSON."""
        return dataclasses.asdict(self)

    def fits(self, path: Path) -> bool:
        """Tell whether a file or folder still is what it was.

        Args:
            path: The file or folder; its contents are read only where its times differ.
        """
        try:
            found = path.stat()
        except (OSError, ValueError):
            return False
        if not stat.S_ISDIR(found.st_mode):
            if found.st_size != self.size:
                return False
            same_times = found.st_mtime_ns == self.mtime
            if same_times and (found.st_ctime_ns == self.ctime or self.sha256 is None):
                return True
        now = type(self).of(path)
        return now is not None and now.sha256 is not None and now.sha256 == self.sha256


def _listing(folder: Path) -> str:
    """Hash names, sizes and times of the visible files of a folder."""
    rows = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_file() and not entry.name.startswith("."):
                found = entry.stat()
                rows.append((entry.name, found.st_size, found.st_mtime_ns))
    return hashlib.sha256(repr(sorted(rows)).encode()).hexdigest()
