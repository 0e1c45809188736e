"""A thread that writes results while the next ones are computed: in order, and few at a time."""

from __future__ import annotations

import collections
import concurrent.futures
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from gsam.dataset.sources import Item
from gsam.files import Closing

R = TypeVar("R")
W = TypeVar("W")
AHEAD = 2
"""Results that may wait to be written: each holds its image."""


class Writer(Closing, Generic[R, W]):
    """Results on their way to the disk.

    Everything is written by one thread, so a later result never overtakes an earlier one.  When the
    block ends, what has begun is finished and what has not is left.

    Args:
        write: Item and result -> what is told about it; called in the thread.
    """

    def __init__(self, write: Callable[[Item, R], W]) -> None:
        self._write = write
        self._pool = concurrent.futures.ThreadPoolExecutor(1, "gsam-writer")
        self._waiting: collections.deque[tuple[Item, R | Exception, concurrent.futures.Future[W] | None]]
        self._waiting = collections.deque()
        self.failed = False
        """Whether ``write`` raised, and the error was passed on."""

    def put(self, item: Item, answer: R | Exception) -> None:
        """Give a result to be written; an error only keeps its place in the order."""
        ahead = None if isinstance(answer, Exception) else self._pool.submit(self._write, item, answer)
        self._waiting.append((item, answer, ahead))

    def finished(self, most: int = AHEAD) -> Iterator[tuple[Item, R | Exception, W | None]]:
        """Take what is finished, in order.

        Args:
            most: Wait until no more than so many are left.

        Yields:
            The item, its answer, and what ``write`` returned; None for an error.

        Raises:
            Exception: The one that ``write`` raised.
        """
        while self._waiting:
            item, answer, ahead = self._waiting[0]
            if ahead is not None and not ahead.done() and len(self._waiting) <= most:
                return
            try:
                told = None if ahead is None else ahead.result()
            except BaseException:
                self.failed = True
                raise
            self._waiting.popleft()
            yield item, answer, told

    def close(self) -> None:
        """Finish what has begun."""
        self._pool.shutdown(wait=True, cancel_futures=True)
