"""Progress of a run, on stderr."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from gsam.dataset.report import tell
from gsam.files import Closing

if TYPE_CHECKING:
    from tqdm import tqdm

SECONDS = 5.0
"""Between two lines where no terminal is there to show a bar."""


class Progress(Closing):
    """A progress bar on a terminal, a line every few seconds elsewhere; nothing for a single item.

    Args:
        total: How many items there are.
        unit: What one of them is called.
    """

    def __init__(self, total: int, unit: str = "image") -> None:
        self.total, self.done, self._printed = total, 0, time.monotonic()
        self._bar: tqdm[None] | None = None
        if total > 1 and sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=total, unit=unit, file=sys.stderr, leave=False)

    def print(self, text: str) -> None:
        """Print a line on stderr, above the bar if there is one."""
        if self._bar is not None:
            self._bar.write(text, file=sys.stderr)
        else:
            tell(text)

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
