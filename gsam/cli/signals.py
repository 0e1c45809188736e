"""SIGINT and SIGTERM: leave at once while nothing is under way, else after the batch; the second signal kills."""

from __future__ import annotations

import signal
import sys
from types import FrameType


class Interrupted(BaseException):
    """A signal asked to stop.  Not an `Exception`: nothing that handles bad input may catch it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.code = 128 + number


_received: int | None = None
_patient = False


def listen() -> None:
    """Install the handlers."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _handle)


def finish_batch(patient: bool) -> None:
    """Whether a signal waits for `check`."""
    global _patient
    _patient = patient


def check() -> None:
    """Raise `Interrupted` if a signal has come since: the place where it is right to stop."""
    if _received is not None:
        raise Interrupted(_received)


def _handle(number: int, frame: FrameType | None) -> None:
    global _received
    _received = number
    signal.signal(number, signal.SIG_DFL)
    if not _patient:
        raise Interrupted(number)
    print("gsam: stopping after this batch; again to stop at once", file=sys.stderr)
