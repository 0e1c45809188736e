"""Frames of a video from files, folders, lists, or any iterator of images.  No JAX.

``open_frames(source)`` gives upright uint8 RGB frames, one at a time and read ahead; see `Frames`
for what can be done with it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np

from gsam.errors import VideoError
from gsam.inputs.open_files import content_of
from gsam.inputs.paths import expanded
from gsam.inputs.protected import READ
from gsam.inputs.video.folder import SUFFIXES, Opening, Pictures, open_folder
from gsam.inputs.video.source import Frame as Frame
from gsam.inputs.video.source import Frames as Frames
from gsam.inputs.video.stream import Stream


def open_frames(
    source: Any,
    *,
    rate: Fraction | float | None = None,
    ahead: int = 4,
    missing: Literal["warn", "raise"] = "warn",
    damaged: Literal["raise", "warn"] = "raise",
    name: str | None = None,
    stretch: bool = False,
    max_pixels: int | None = None,
) -> Frames:
    """Open whatever has frames; `Frames` are given back as they are.

    ``source``: a video file, or its bytes (PyAV, the extra ``video``); a folder of images
    (`gsam.inputs.video.folder.open_folder` says in which order); an image, which is a video of one
    frame; a list of images, or an array [T, H, W, 3] uint8; or an iterator of images (live:
    each once, nobody knows how many).  An image is a path, a PIL image, uint8 RGB [H, W, 3] or
    bytes.

    ``rate``: frames a second of what is no video file, and so does not say; without it frames have
    no time.  ``ahead``: how many frames a thread may have ready before they are asked for.
    ``missing``: whether numbers missing in a folder are a warning or an error.  ``damaged``:
    whether what cannot be decoded of a video file is, after everything else was given, an error or
    a warning.  ``name`` is for messages.  ``stretch`` and ``max_pixels`` are as
    `gsam.inputs.image.open_image` takes them, for frames that are images; ``max_pixels`` for those
    of video files too.

    Raises `VideoError` (and `ImageError`, for one image among several), whose code says what is
    wrong, `UsageError` where PyAV is needed and missing, and `TypeError` for what is no video at
    all.
    """
    if isinstance(source, Frames):
        return source
    opening = Opening(stretch, max_pixels)
    pace = None if rate is None else Fraction(rate).limit_denominator(100_000)
    if pace is not None and pace <= 0:
        raise VideoError(f"{rate} frames a second are no rate", "rate_invalid")
    if isinstance(source, bytes | bytearray | memoryview):
        return _file(bytes(source), pace, ahead, damaged, name, opening)
    if callable(getattr(source, "read", None)) and not hasattr(source, "convert"):
        data, known = content_of(source, VideoError)
        return _file(data, pace, ahead, damaged, name or known, opening)
    if isinstance(source, str | os.PathLike):
        if not os.fspath(source):
            raise VideoError("an empty text is no path of a video", "video_missing")
        path = expanded(os.fsdecode(source))
        if _is_folder(path):
            return open_folder(path, rate=pace, missing=missing, look_ahead=ahead, opening=opening)
        if path.suffix.lower() in SUFFIXES - {".gif"}:
            return Pictures([path], name=name or path.name, rate=pace, look_ahead=ahead, opening=opening)
        found = _file(path, pace, ahead, damaged, name, opening)
        READ.add(path)
        return found
    told = name or "pictures"
    if hasattr(source, "__array__") and not hasattr(source, "convert"):
        source = np.asarray(source)
        if source.ndim != 4:
            raise TypeError(f"a video is an array [T, H, W, 3], this one is {list(source.shape)}")
        return Pictures(list(source), name=told, rate=pace, look_ahead=ahead, opening=opening)
    if isinstance(source, Sequence):
        return Pictures(source, name=told, rate=pace, look_ahead=ahead, opening=opening)
    if isinstance(source, Iterable) and not hasattr(source, "convert"):
        return Stream(iter(source), name=name or "live", rate=pace, look_ahead=ahead, opening=opening)
    raise TypeError(
        f"frames come from a video, a folder, a list or an array of pictures or an iterator, not {type(source).__name__}"
    )


def _file(
    source: Path | bytes,
    rate: Fraction | None,
    ahead: int,
    damaged: Literal["raise", "warn"],
    name: str | None,
    opening: Opening,
) -> Frames:
    from gsam.inputs.video.file import Video

    video = Video(source, damaged=damaged, look_ahead=ahead, max_pixels=opening.max_pixels)
    if video.still:
        return Pictures([source], name=name or video.name, rate=rate, look_ahead=ahead, opening=opening)
    video.name = name or video.name
    return video


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False
