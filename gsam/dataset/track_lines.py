"""The JSON lines of a video while it is tracked, and what its tracker knows beside them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from gsam.dataset.sources import Item
from gsam.files import Closing

if TYPE_CHECKING:
    from gsam.dataset.track_files import TrackFiles
    from gsam.results.formats.tracks_jsonl import Head, TracksWriter
    from gsam.results.tracks import TrackedFrame
    from gsam.tracking.state import TrackingState

SECONDS = 10.0
"""Least time between two states that are written."""
SHARE = 20
"""Writing states takes at most one part in so many of the time."""


class Lines(Closing):
    """Lines are written as frames come, each before the next frame; a state now and then.

    The file of an earlier run is replaced by the first frame, not before: until then nothing is
    lost.

    Args:
        files: The files of the run.
        item: The video.
        head: What the lines begin with.
        state: What an earlier run is gone on from, None for the beginning.

    Attributes:
        complete: The frames that are written.
        new: How many of them this run wrote.
    """

    def __init__(self, files: TrackFiles, item: Item, head: Head, state: TrackingState | None) -> None:
        self.state = state
        self.complete: set[int] = set()
        self.new = 0
        self._files, self._item, self._head = files, item, head
        self._writer: TracksWriter | None = None
        self._snapshot: Callable[[], TrackingState | None] | None = None
        self._next = time.monotonic() + SECONDS
        if state is not None:
            self.complete |= set(range(state.frame + 1))

    def add(self, frame: TrackedFrame, snapshot: Callable[[], TrackingState | None]) -> None:
        """Write a frame.

        Args:
            frame: The frame.
            snapshot: Gives what the tracker knows after it.

        Raises:
            OSError: It cannot be written.
            UsageError: The file there is not gsam's.
        """
        if self._writer is None:
            self._writer = self._files.writer(self._item, self._head, self.state)
        self._writer.add(frame)
        self.complete.add(frame.index)
        self.new += 1
        self._snapshot = snapshot
        if time.monotonic() >= self._next:
            self._keep_state()

    def close(self) -> None:
        """Close the file, with the state of its last line."""
        if self._writer is not None:
            self._writer.close()
            if self._head.count is None or len(self.complete) < self._head.count:
                self._keep_state()

    def _keep_state(self) -> None:
        began = time.monotonic()
        if self._snapshot is not None and (state := self._snapshot()) is not None:
            with contextlib.suppress(OSError):  # without it a resumed run begins earlier
                state.write(self._files.state_path(self._item))
            self._snapshot = None
        now = time.monotonic()
        self._next = now + max(SECONDS, SHARE * (now - began))
