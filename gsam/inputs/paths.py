"""Names of files as a user gives them."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from gsam.errors import ImageError, VideoError


def expanded(source: str | os.PathLike[str]) -> Path:
    """Make a path of a name; ``~`` is the user's home, unless a file is called so."""
    path = Path(source)
    if str(path).startswith("~") and not os.path.lexists(path):
        with contextlib.suppress(RuntimeError):  # there is no such user
            return path.expanduser()
    return path


def shown(path: Path) -> str:
    """A path for a message, on one line whatever its name."""
    return repr(str(path)) if not str(path).isprintable() else str(path)


def missing(path: Path, kind: type[ImageError] | type[VideoError] = ImageError) -> ImageError | VideoError:
    """Make the error of a file that is not there."""
    return kind(f"{shown(path)}: no such file", "image_missing" if kind is ImageError else "video_missing")
