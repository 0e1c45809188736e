"""A video that comes as pictures in JSON: checked one by one, and written to a folder."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, overload

from gsam.errors import ImageError
from gsam.inputs.video.folder import Opening, Pictures
from gsam.serve.config import ServeConfig
from gsam.serve.problems import ServeError
from gsam.serve.uploads import decoded, opened, parsed
from gsam.serve.video_folder import writing
from gsam.serve.waiting import GONE
from gsam.types import Json

EACH, OTHERS = 4, 1000
"""Signs of JSON's structure for a frame, and for all the rest of a body."""


class Files(Sequence[bytes]):
    """The bytes of the pictures of a folder, read when they are asked for.

    Args:
        place: The folder; its files are called 0, 1 and so on.
        count: How many there are.
    """

    def __init__(self, place: Path, count: int) -> None:
        self._place, self._count = place, count

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[bytes]: ...
    def __getitem__(self, index: int | slice) -> bytes | Sequence[bytes]:
        numbers = range(self._count)[index]
        return self._read(numbers) if isinstance(numbers, int) else [self._read(i) for i in numbers]

    def _read(self, number: int) -> bytes:
        return (self._place / str(number)).read_bytes()


def parsed_frames(body: bytearray, config: ServeConfig) -> tuple[Json, list[Any]]:
    """Parse a request with frames, and let go of its text; in a thread.

    Args:
        body: A JSON object with a list ``frames``; it is empty afterwards.
        config: Its ``max_frames`` is the most frames.

    Returns:
        The other fields, and the frames, not yet looked at.

    Raises:
        ServeError: 400 ``body_invalid``, 413 ``video_too_long``, 422 ``frames_invalid``.
    """
    most = config.max_frames
    if sum(body.count(sign) for sign in b"[{,") > EACH * most + OTHERS:  # small values take much memory
        raise _too_long(f"more than {most}", most)
    fields = parsed(body)
    body.clear()
    frames = fields.pop("frames", None)
    if not isinstance(frames, list) or not frames:
        raise ServeError(422, "frames_invalid", "frames has to be a list of images as base64, at least one")
    if len(frames) > most:
        raise _too_long(str(len(frames)), most)
    return fields, frames


def stored(frames: list[Any], place: Path, config: ServeConfig, left: threading.Event) -> Pictures:
    """Write frames into a folder; in a thread.

    Args:
        frames: The images as base64 or data URIs; their texts are let go of one by one.
        place: The folder, which is not there yet; what was written stays there after an error.
        config: Its ``max_pixels`` is the most pixels of a frame.
        left: Is set when nobody waits for it any more.

    Returns:
        The video.

    Raises:
        ServeError: 422 ``frames_invalid``, 503 ``storage_full``, 499 ``client_gone``.
        gsam.errors.ImageError: A frame cannot be read, or is too large.
    """
    size: tuple[int, ...] = ()
    with writing():
        place.mkdir()
    for i, text in enumerate(frames):
        if left.is_set():
            raise ServeError(GONE, "client_gone", "the client has left")
        frames[i] = None
        data = _bytes(text, i)
        try:
            found = opened(data, config).pixels.shape[:2]
        except ImageError as error:
            raise ImageError(f"frame {i}: {error}", error.code) from None
        size = size or found
        if found != size:
            told = f"frame {i} is {found[1]} x {found[0]}, the first is {size[1]} x {size[0]}"
            raise ServeError(422, "frames_invalid", f"{told}: open images of one size as a video")
        with writing():
            (place / str(i)).write_bytes(data)
    return Pictures(Files(place, len(frames)), name="the video", opening=Opening(max_pixels=config.max_pixels))


def _bytes(text: Any, number: int) -> bytes:
    try:
        data = decoded(text)
    except ServeError:
        data = ""
    if isinstance(data, str):  # an address, or nothing that is an image
        raise ServeError(422, "frames_invalid", f"frame {number} has to be an image as base64, or a data URI")
    return data


def _too_long(count: str, most: int) -> ServeError:
    return ServeError(413, "video_too_long", f"a video of {count} frames, at most {most} are served")
