"""How far a run has come, on stderr."""

from __future__ import annotations

import sys
import time
from typing import Any


class Progress:
    """A bar where somebody watches, a line now and then where it goes to a file."""

    def __init__(self, total: int, unit: str = "picture") -> None:
        self.total, self.done, self.told = total, 0, time.monotonic()
        self.bar: Any = None
        if total > 1 and sys.stderr.isatty():
            from tqdm import tqdm

            self.bar = tqdm(total=total, unit=unit, file=sys.stderr, leave=False)

    def say(self, text: str) -> None:
        if self.bar is not None:
            self.bar.write(text, file=sys.stderr)
        else:
            print(text, file=sys.stderr, flush=True)

    def step(self) -> None:
        self.done += 1
        if self.bar is not None:
            self.bar.update()
        elif self.total > 1 and (time.monotonic() - self.told > 5 or self.done == self.total):
            self.told = time.monotonic()
            print(f"gsam: {self.done}/{self.total}", file=sys.stderr, flush=True)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
