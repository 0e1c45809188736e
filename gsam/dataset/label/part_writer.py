"""Results -> parts, in threads of their own, while the device is at the next images."""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import os
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import TYPE_CHECKING

from gsam.dataset.label.listing import Entry
from gsam.dataset.label.parts import write_part
from gsam.dataset.label.plan import Plan
from gsam.errors import GsamError
from gsam.files import Closing
from gsam.types import Json, JsonMapping

if TYPE_CHECKING:
    from gsam.results.result import Result

DEPTH = 8
"""Results that may wait to become rows: each holds its image."""
POLL = 0.2
"""Seconds between two looks at whether to go on."""
SHOWN = 20
"""Errors that are kept to be shown."""


@dataclasses.dataclass
class Counts:
    """Counts of what was found."""

    images: int = 0
    failed: int = 0
    """Images without a result."""
    errors: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    """Id of the first images without a result, and why."""
    objects: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    """Objects of each class."""

    def add(self, row: JsonMapping) -> None:
        """Count an image."""
        self.images += 1
        self.objects.update(segment["label"] for segment in row["segments"])
        if row["error"] is not None:
            self.failed += 1
            if len(self.errors) < SHOWN:
                self.errors.append((row["id"], row["error"]["message"]))


class PartWriter(Closing):
    """Writes parts one after the other, row by row, so that a large one needs no more memory.

    Args:
        plan: The plan.
        written: Called with the number of each part that is there.
        counts: What is written is counted here.
    """

    def __init__(self, plan: Plan, written: Callable[[int], None], counts: Counts) -> None:
        self._plan, self._written, self._counts = plan, written, counts
        self._rows = concurrent.futures.ThreadPoolExecutor(min(4, os.cpu_count() or 1), "gsam-rows")
        self._files = concurrent.futures.ThreadPoolExecutor(1, "gsam-parts")
        self._writing: collections.deque[Future[None]] = collections.deque()
        self._open: queue.Queue[Future[Json] | None] | None = None
        self._over = threading.Event()

    def put(self, part: int, entry: Entry, answer: Result | Exception, last: bool) -> None:
        """Give a result.

        Args:
            part: Its part; they come one after the other.
            entry: The image.
            answer: Its result, or why it has none.
            last: Whether it is the last of the part.

        Raises:
            Exception: An earlier part could not be written.
        """
        if self._open is None:
            self._open = queue.Queue(DEPTH)
            self._writing.append(self._files.submit(self._write, part, self._open))
        self._give(self._open, self._rows.submit(row_of, entry, answer))
        if last:
            self._give(self._open, None)
            self._open = None

    def finish(self) -> None:
        """Wait until all is written.  Raises what writing raised."""
        while self._writing:
            self._writing.popleft().result()

    def close(self) -> None:
        """Stop; a part that is not complete is left out."""
        self._over.set()
        self._files.shutdown(wait=True, cancel_futures=True)
        self._rows.shutdown(wait=True, cancel_futures=True)

    def _give(self, rows: queue.Queue[Future[Json] | None], row: Future[Json] | None) -> None:
        while True:
            while self._writing and self._writing[0].done():
                self._writing.popleft().result()
            try:
                rows.put(row, timeout=POLL)
                return
            except queue.Full:
                continue

    def _write(self, part: int, rows: queue.Queue[Future[Json] | None]) -> None:
        write_part(self._plan, part, self._taken(rows))
        self._written(part)

    def _taken(self, rows: queue.Queue[Future[Json] | None]) -> Iterator[Json]:
        while True:
            try:
                future = rows.get(timeout=POLL)
            except queue.Empty:
                if self._over.is_set():
                    raise concurrent.futures.CancelledError from None
                continue
            if future is None:
                return
            row = future.result()
            self._counts.add(row)
            yield row


def row_of(entry: Entry, answer: Result | Exception) -> Json:
    """Describe an image in a part: what was found, or the error."""
    if isinstance(answer, Exception):
        code = answer.code if isinstance(answer, GsamError) else "internal"
        return {
            "id": entry.id,
            "image": entry.id,
            "width": None,
            "height": None,
            "error": {"code": code, "message": " ".join(str(answer).split()) or type(answer).__name__},
            "pipeline": None,
            "queries": [],
            "segments": [],
        }
    scene = answer.to_dict() | {"image": entry.id}
    size = {key: scene.pop(key) for key in ("image", "width", "height")}
    return {"id": entry.id, **size, "error": None, **scene}
