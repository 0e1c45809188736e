"""Progress of a run, on stderr."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TextIO

from gsam.dataset.report import tell
from gsam.files import Closing

if TYPE_CHECKING:
    from tqdm import tqdm

SECONDS = 5.0
"""Between two lines where no terminal is there to show a bar."""

MOMENT = 0.7
"""Seconds that a terminal may be silent."""


@contextlib.contextmanager
def saying(text: str, say: Callable[[str], None] = tell) -> Iterator[Callable[[], None]]:
    """Say on a terminal what is going on in the block, unless it is over in a moment.

    Args:
        text: ``"loading nano"``.
        say: Prints a line on stderr, from any thread.

    Yields:
        A function to be called when it is over, if that is before the end of the block.
    """
    if not sys.stderr.isatty():
        yield lambda: None
        return
    timer = threading.Timer(MOMENT, say, [f"gsam: {text} ..."])
    timer.daemon = True
    timer.start()
    try:
        yield timer.cancel
    finally:
        timer.cancel()


class Progress(Closing):
    """A progress bar on a terminal, a line every few seconds elsewhere; nothing for a single item.

    Args:
        total: How many items there are.
        unit: What one of them is called.
    """

    def __init__(self, total: int, unit: str = "image") -> None:
        self.total, self.done, self._printed = total, 0, time.monotonic()
        self.unit = unit
        self._bar: tqdm[None] | None = None
        if total > 1 and sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=total, unit=unit, file=sys.stderr, leave=False)

    def print(self, text: str, file: TextIO | None = None) -> None:
        """Print a line, above the bar if there is one.

        Args:
            text: The line.
            file: `sys.stdout`, or stderr by default.

        Raises:
            BrokenPipeError: Nobody reads ``file``, and it is not stderr.
        """
        if self._bar is not None:
            self._bar.write(text, file=sys.stderr if file is None else file)
            if file is not None:
                file.flush()
        elif file is None:
            tell(text)
        else:
            print(text, file=file, flush=True)

    @contextlib.contextmanager
    def waiting(self, text: str) -> Iterator[Callable[[], None]]:
        """Say on a terminal what the block waits for, if that takes more than a moment.

        Args:
            text: What is going on; the unit of the bar is added.

        Yields:
            A function to be called when it has come.
        """
        with saying(f"{text} {self.unit}", self.print) as come:
            yield come

    def step(self) -> None:
        """Count one item more."""
        self.done += 1
        if self._bar is not None:
            self._bar.update()
        elif self.total > 1 and (time.monotonic() - self._printed > SECONDS or self.done == self.total):
            self._printed = time.monotonic()
            tell(f"gsam: {self.done}/{self.total}")

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()


class Counted(Closing):
    """Progress that is told as a count: a bar on a terminal, a line every few seconds elsewhere.

    Args:
        quiet: Whether to show nothing.
    """

    def __init__(self, quiet: bool = False) -> None:
        self._quiet = quiet
        self._bar: tqdm[None] | None = None
        self._first: int | None = None
        self._began = self._printed = time.monotonic()

    def __call__(self, done: int, total: int | None) -> None:
        """Show how many of how many images are done; None where nobody knows how many there are."""
        if self._quiet:
            return
        if self._first is None:
            self._first, self._began = done, time.monotonic()
        if sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = self._bar or tqdm(total=total, initial=done, unit="image", file=sys.stderr, leave=False)
            self._bar.update(done - self._bar.n)
        elif time.monotonic() - self._printed >= SECONDS:
            self._printed = time.monotonic()
            rate = (done - self._first) / max(self._printed - self._began, 1e-9)
            left = f", {(total - done) / rate:.0f} s left for one process" if total and rate else ""
            tell(f"gsam: {done}{f' of {total}' if total else ''} images, {rate:.1f} a second{left}")

    def say(self, text: str) -> None:
        """Print a line on stderr, above the bar if there is one."""
        if self._quiet:
            return
        if self._bar is not None:
            self._bar.write(text, file=sys.stderr)
        else:
            tell(text)

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()
