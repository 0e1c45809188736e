"""The progress of a training run: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from gsam.dataset.report import tell
from gsam.files import Closing

if TYPE_CHECKING:
    from tqdm import tqdm

SECONDS = 20.0
"""Between two lines where no terminal is there to show a bar."""


class Progress(Closing):
    """Shows step, loss, images per second and the time left, on stderr.

    Args:
        steps: Steps of the run, or None where the clock ends it.
        seconds: Seconds of the run, without ``steps``.
        batch_size: Images of a step.
        quiet: Show nothing.
    """

    def __init__(self, steps: int | None, seconds: float | None, batch_size: int, quiet: bool = False) -> None:
        self.steps, self.seconds, self.batch_size, self.quiet = steps, seconds, batch_size, quiet
        self._bar: tqdm[None] | None = None
        self._rate = 0.0
        self._began: float | None = None
        self._told = -SECONDS

    def show(self, step: int, progress: float, loss: float) -> None:
        """Show that a step is done.

        Args:
            step: How many are.
            progress: The fraction of the run.
            loss: Of the last step.
        """
        if self.quiet:
            return
        now = time.monotonic()
        if self._began is not None:
            rate = self.batch_size / max(now - self._began, 1e-9)
            self._rate = 0.9 * self._rate + 0.1 * rate if self._rate else rate
        self._began = now
        if sys.stderr.isatty():
            from tqdm import tqdm

            form = "{percentage:3.0f}%|{bar:20}| {desc}"
            self._bar = self._bar or tqdm(total=1000, bar_format=form, file=sys.stderr, leave=False)
            self._bar.set_description_str(self._text(step, progress, loss), refresh=False)
            self._bar.update(int(1000 * progress) - self._bar.n)
        elif now - self._told >= SECONDS:
            self._told = now
            tell(f"gsam: {self._text(step, progress, loss)}")

    def say(self, text: str) -> None:
        """Print a line, above the bar if there is one."""
        if self.quiet:
            return
        if self._bar is not None:
            self._bar.write(text, file=sys.stderr)
        else:
            tell(text)

    def pause(self) -> None:
        """Note that what comes next is no training, so that it does not count in the rate."""
        self._began = None

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()

    def _text(self, step: int, progress: float, loss: float) -> str:
        if self.steps is not None:
            count, left = f"step {step}/{self.steps}", (self.steps - step) * self.batch_size / max(self._rate, 1e-9)
        else:
            count, left = f"step {step}", (self.seconds or 0.0) * (1.0 - progress)
        speed = f"{self._rate:.0f}" if self._rate >= 100 else f"{self._rate:.3g}"
        rate = f", {speed} images/s, {duration(left)} left" if self._rate else ""
        return f"{count}, loss {loss:.4g}{rate}"


def duration(seconds: float) -> str:
    """A time in words: ``"42 s"``, ``"12 min"``, ``"3 h 05 min"``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
