"""Objects are followed in threads, and what happens there comes to the event loop as events.

A thread waits where its reader does not keep up, and ends at the next frame when its reader has
left.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import threading
import weakref
from collections.abc import Callable, Iterator

from gsam.pipeline import Pipeline
from gsam.predictors.video import VideoPredictor
from gsam.serve.events import PATIENCE, event
from gsam.serve.following import Happening
from gsam.serve.problems import ServeError, answer

MOST = 2
"""Followings at a time."""
AHEAD = 8
"""Events that may wait for their reader."""
END_WITHIN = 2.0
"""Seconds that threads have when the server ends."""


class Job:
    """One following of objects through a video.

    Args:
        happenings: Does the work, an iterator that begins with ``start``; called in the thread.
        turn: Held while it goes on by one frame, as there is one device for all.
        ended: Called in the event loop when the thread ends.
    """

    def __init__(
        self, happenings: Callable[[], Iterator[Happening]], turn: threading.Lock, ended: Callable[[], None]
    ) -> None:
        self.id = secrets.token_urlsafe(9)
        self.ended = asyncio.Event()
        self._happenings, self._turn, self._when_ended = happenings, turn, ended
        self._loop = asyncio.get_running_loop()
        self._ready: asyncio.Queue[bytes | Exception | None] = asyncio.Queue()
        self._room = threading.Semaphore(AHEAD)
        self._cancelled = threading.Event()
        self._started = False
        self.thread = threading.Thread(target=self._work, name="gsam-track", daemon=True)
        self.thread.start()

    @property
    def cancelled(self) -> bool:
        """Whether it ends at the next frame, if it has not ended."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """Let the work end at the next frame."""
        self._cancelled.set()
        self._room.release()

    async def coming(self) -> bytes | None:
        """The next event, None after the last.

        Raises:
            Exception: What went wrong before ``start``.
        """
        found = await self._ready.get()
        self._room.release()
        if isinstance(found, Exception):
            raise found
        return found

    def _work(self) -> None:
        last: bytes | Exception
        try:
            last = event("end", {"frames": self._follow()})
        except Exception as error:
            last = event("error", _told(error)) if self._started else error
        self._in_loop(lambda: self._end(last))

    def _follow(self) -> int:
        """Go over the frames; their number."""
        frames = 0
        happenings = self._happenings()
        try:
            while True:
                if self.cancelled:
                    raise ServeError(409, "cancelled", "the following was cancelled")
                with self._turn:
                    try:
                        found = next(happenings)
                    except StopIteration:
                        return frames
                if found is None:
                    continue
                kind, fields = found
                frames += kind == "frame"
                if not self._room.acquire(timeout=PATIENCE):
                    raise ServeError(408, "reader_too_slow", "the events were not read")
                self._tell(event(kind, {"job": self.id, **fields} if kind == "start" else fields))
                self._started = True
        finally:
            with contextlib.suppress(AttributeError):
                happenings.close()  # type: ignore[attr-defined]

    def _end(self, last: bytes | Exception) -> None:
        self.ended.set()
        self._when_ended()  # before its reader knows: that may begin another at once
        self._ready.put_nowait(last)
        self._ready.put_nowait(None)

    def _tell(self, found: bytes) -> None:
        self._in_loop(lambda: self._ready.put_nowait(found))

    def _in_loop(self, call: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the server has ended
            self._loop.call_soon_threadsafe(call)


class Jobs:
    """The followings of a server, one a video and some at a time.

    Args:
        most: How many at a time.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._running: dict[str, Job] = {}
        self._turn = threading.Lock()
        self._predictors: weakref.WeakKeyDictionary[Pipeline, VideoPredictor] = weakref.WeakKeyDictionary()

    def __len__(self) -> int:
        return len(self._running)

    def of(self, video: str) -> Job | None:
        """The one that goes over a video, by the video's id."""
        return self._running.get(video)

    async def let_end(self, video: str) -> None:
        """Cancel the one that goes over a video, and wait until its thread has ended."""
        job = self.of(video)
        if job is not None:
            job.cancel()
            await job.ended.wait()

    async def begin(
        self, video: str, happenings: Callable[[], Iterator[Happening]], hold: Callable[[], Callable[[], None]]
    ) -> Job:
        """Begin to follow; after one that was cancelled, when it has ended.

        Args:
            video: The video's id.
            happenings: As of `Job`.
            hold: Begins to use the video; gives what ends that.

        Raises:
            ServeError: 409 ``busy_video``, or 503 ``busy``.
        """
        before = self.of(video)
        if before is not None and before.cancelled:
            await before.ended.wait()
        if self.of(video) is not None:
            raise ServeError(409, "busy_video", "objects are being followed through this video: cancel that first")
        if len(self._running) >= self._most:
            raise ServeError(503, "busy", "too many videos are being followed: try again", {"Retry-After": "5"})
        let_go = hold()

        def ended() -> None:
            del self._running[video]
            let_go()

        self._running[video] = Job(happenings, self._turn, ended)
        return self._running[video]

    def predictor(self, pipe: Pipeline) -> VideoPredictor:
        """The predictor that answers clicks with a pipeline's own tracker, built at its first use.

        In a thread.  Raises `gsam.errors.UsageError` where it has none.
        """
        if pipe not in self._predictors:
            tracker, redraw = pipe.tracker, pipe.segmenter if pipe.redraws else None
            self._predictors[pipe] = VideoPredictor(tracker, redraw=redraw, progress=False, device=pipe.devices[0])
        return self._predictors[pipe]

    def close(self) -> None:
        """Let all end, and wait a little for it."""
        jobs = list(self._running.values())
        for job in jobs:
            job.cancel()
        for job in jobs:
            job.thread.join(END_WITHIN)


def _told(error: Exception) -> dict[str, str]:
    """Give the code and the message of an error, as every other answer has them."""
    told: dict[str, str] = json.loads(bytes(answer(error).body))["error"]
    return told
