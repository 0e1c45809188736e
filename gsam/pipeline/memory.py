"""Memory that the process holds and nobody uses."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import sys
from collections.abc import Callable


@functools.cache
def _trim() -> Callable[[int], int] | None:
    if sys.platform != "linux":
        return None
    with contextlib.suppress(OSError, AttributeError):  # another C library than glibc
        return ctypes.CDLL("libc.so.6").malloc_trim
    return None


def give_back() -> None:
    """Return to the system what compiling left behind: glibc keeps it, hundreds of megabytes for a large program."""
    if trim := _trim():
        trim(0)
