"""Take from an iterator in a thread of its own, a few items ahead."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

from gsam.files import Closing

T = TypeVar("T")
POLL = 0.5
"""Seconds between two looks at whether to go on."""


class Ahead(Closing, Iterator[T], Generic[T]):
    """An iterator that another thread is ahead of; an error of it is raised where it was.

    Args:
        items: What is taken.
        depth: Items that may wait.
        idle: Called now and then while there is nothing yet; what it raises ends the waiting.
    """

    def __init__(self, items: Iterable[T], depth: int, idle: Callable[[], None] = lambda: None) -> None:
        self._items, self._idle = items, idle
        self._queue: queue.Queue[tuple[str, Any]] = queue.Queue(depth)
        self._over = threading.Event()
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="gsam-ahead", daemon=True)
        self._thread.start()

    def __next__(self) -> T:
        if self._ended:
            raise StopIteration
        while True:
            try:
                kind, value = self._queue.get(timeout=POLL)
                break
            except queue.Empty:
                self._idle()
        if kind == "item":
            item: T = value
            return item
        self._ended = True
        if kind == "error":
            raise value
        raise StopIteration

    def close(self) -> None:
        """Stop taking; what is being taken is finished."""
        self._over.set()
        self._ended = True
        self._thread.join()

    def _run(self) -> None:
        try:
            for item in self._items:
                if not self._put("item", item):
                    return
            self._put("end", None)
        except BaseException as error:
            self._put("error", error)

    def _put(self, kind: str, value: object) -> bool:
        while not self._over.is_set():
            try:
                self._queue.put((kind, value), timeout=POLL)
                return True
            except queue.Full:
                continue
        return False
