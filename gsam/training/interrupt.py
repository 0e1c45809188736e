"""SIGTERM and SIGINT in training: finish the step, save, and let the signal have its way."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator
from types import FrameType

from gsam.dataset.report import tell
from gsam.dataset.signals import Interrupted
from gsam.files import Closing


class Stop(Closing):
    """Notes that a signal asked for an end; a second one kills.

    Signals reach the main thread only: in another one it notes nothing.

    Args:
        quiet: Say nothing.
    """

    def __init__(self, quiet: bool = False) -> None:
        self.number: int | None = None
        """The signal that came."""
        self._quiet, self._at_once = quiet, False
        self._before = {}
        with contextlib.suppress(ValueError):  # not the main thread
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._note)

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Raise `Interrupted` where the block is when a signal comes."""
        if self.number is not None:
            raise Interrupted(self.number)
        self._at_once = True
        try:
            yield
        finally:
            self._at_once = False

    def obey(self) -> None:
        """Do what the signal does outside training, if one came.

        Raises:
            KeyboardInterrupt: For SIGINT, unless a handler says otherwise.
            Interrupted: The handler did nothing, or it is the command line's.
        """
        self.close()
        if self.number is not None:
            sys.stderr.flush()
            signal.raise_signal(self.number)
            raise Interrupted(self.number)

    def close(self) -> None:
        """Put the earlier handlers back."""
        while self._before:
            number, handler = self._before.popitem()
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.number = number
        signal.signal(number, signal.SIG_DFL)
        if self._at_once:
            raise Interrupted(number)
        if not self._quiet:
            tell("gsam: stopping after this step; again to stop at once")
