"""Errors about a user's input: one class per kind, a stable code, a message with the remedy."""

from __future__ import annotations


class GsamError(Exception):
    """Base of all errors that are about the input, not about gsam.

    ``code`` is stable and in the docs.
    """

    code = "error"

    def __init__(self, message: str, code: str | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code


class Hint(Warning):
    """A warning about a result that is as it should be, and may not be what was wanted."""


class ImageError(GsamError, ValueError):
    """An image that cannot be used; one bad image never stops a batch."""

    code = "image_unreadable"


class VideoError(GsamError, ValueError):
    """A video, or a sequence of images, that cannot be used as one.

    Frames that were read before it stay valid.
    """

    code = "video_unreadable"


class QueryError(GsamError, ValueError):
    """Text that asks for nothing, or for more than can be read."""

    code = "query_invalid"


class UsageError(GsamError, ValueError):
    """A name, setting or recipe that does not exist or does not fit."""

    code = "usage"


class CheckpointError(GsamError):
    """A checkpoint that cannot be found, trusted or understood."""

    code = "checkpoint_invalid"


class OutputError(GsamError):
    """Results that cannot be written: a full disk, or a folder that went away."""

    code = "output_failed"
