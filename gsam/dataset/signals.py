"""SIGINT and SIGTERM: stop at once while nothing is under way, else after the batch.

A second signal kills.
"""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator
from types import FrameType


class Interrupted(BaseException):
    """A signal that asks to stop.  Not an `Exception`: nothing that handles bad input may catch it.

    Args:
        number: Of the signal; ``code`` is the exit code that goes with it.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.code = 128 + number


_received: int | None = None
_deferred = False


def listen() -> None:
    """Install the handlers."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _handle)


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Let a signal wait for `check` while the block runs."""
    global _deferred
    _deferred = True
    try:
        yield
    finally:
        _deferred = False


def check() -> None:
    """Raise `Interrupted` if a signal has come: called where it is right to stop."""
    if _received is not None:
        raise Interrupted(_received)


def _handle(number: int, frame: FrameType | None) -> None:
    global _received
    _received = number
    signal.signal(number, signal.SIG_DFL)
    if not _deferred:
        raise Interrupted(number)
    print("gsam: stopping after this batch; again to stop at once", file=sys.stderr)
