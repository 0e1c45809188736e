"""Working ahead of the one who asks, by a bounded number of things."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator
from typing import Any, TypeVar

Item = TypeVar("Item")
PATIENCE = 1.0
"""Seconds to wait for an unneeded thread to end; a live source may block for longer."""


def ahead(source: Iterator[Item], depth: int) -> Generator[Item, None, None]:
    """Yield the items of ``source``, made in a thread that is at most ``depth`` items ahead.

    Errors come after the items before them.  Closing the generator ends the thread and closes
    ``source``, there.  With a depth of 0 there is no thread.
    """
    if depth < 1:
        yield from source
        return
    room = threading.Semaphore(depth)
    ready: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
    enough = threading.Event()

    def work() -> None:
        try:
            while not (room.acquire() and enough.is_set()):
                ready.put(("item", next(source)))
        except StopIteration:
            ready.put(("end", None))
        except BaseException as error:
            ready.put(("error", error))
        finally:
            if isinstance(source, Generator):
                source.close()

    thread = threading.Thread(target=work, name="gsam-frames", daemon=True)
    thread.start()
    try:
        while True:
            kind, value = ready.get()
            if kind == "end":
                return
            if kind == "error":
                raise value
            room.release()
            yield value
    finally:
        enough.set()
        room.release()
        thread.join(PATIENCE)
