"""Files that a user has open."""

from __future__ import annotations

from pathlib import Path
from typing import IO

from gsam.errors import ImageError, VideoError
from gsam.inputs.paths import shown


def content_of(file: IO[bytes], kind: type[ImageError] | type[VideoError]) -> tuple[bytes, str | None]:
    """Read all of an open file; one that can be rewound is left where it was.

    Args:
        file: Opened in binary mode.
        kind: The error to raise.

    Returns:
        Its bytes, and its name if it has one.

    Raises:
        ImageError: It is closed, or not for reading (``image_unreadable``); `VideoError` with
            ``video_unreadable`` where ``kind`` is that.
        TypeError: It was opened as text.
    """
    name = getattr(file, "name", None)
    name = name if isinstance(name, str) and name else None
    told = shown(Path(name)) if name else "this file"
    try:
        at = file.tell() if file.seekable() else None
        if at is not None:
            file.seek(0)
        data = file.read()
        if at is not None:
            file.seek(at)
    except (AttributeError, OSError, ValueError) as error:
        code = "image_unreadable" if kind is ImageError else "video_unreadable"
        raise kind(f"{told}: cannot be read ({error})", code) from None
    if not isinstance(data, bytes | bytearray | memoryview):
        raise TypeError(f"{told}: open the file in binary mode, open(path, 'rb')")
    return bytes(data), name
