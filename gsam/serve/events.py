"""Server-sent events: lines as a browser's ``EventSource`` reads them, in the body of an answer.

An event is its name and one line of JSON.  While nothing happens, a comment is sent from time to
time, so that proxies do not take the connection for a dead one.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gsam.types import JsonMapping

Coming = Callable[[], Coroutine[Any, Any, bytes | None]]
PING_EVERY = 15.0
"""Seconds without an event after which a comment is sent."""
PING = b": still here\n\n"
PATIENCE = 60.0
"""Seconds that a reader may take to read on; then it counts as gone."""


def event(kind: str, fields: JsonMapping) -> bytes:
    """Write an event; whatever its texts hold, its data is one line."""
    return f"event: {kind}\ndata: {json.dumps(fields, separators=(',', ':'), allow_nan=False)}\n\n".encode()


class EventStream(Response):
    """An answer that goes on while things happen.

    Args:
        coming: Waits for the next event, as `event` writes it, and gives None after the last.
        left: Called when the answer is over, whether all was sent or the reader has left before.
    """

    media_type = "text/event-stream"

    def __init__(self, coming: Coming, left: Callable[[], None]) -> None:
        super().__init__(headers={"X-Accel-Buffering": "no"})  # a proxy is not to wait for more
        del self.headers["content-length"]
        self._coming, self._left = coming, left

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sending = asyncio.ensure_future(self._send(send))
        gone = asyncio.ensure_future(_disconnected(receive))
        try:
            await asyncio.wait({sending, gone}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
        except (TimeoutError, OSError):
            pass  # the reader does not read, or is not there any more
        finally:
            self._left()
            for task in (sending, gone):
                task.cancel()
            await asyncio.gather(sending, gone, return_exceptions=True)

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async with contextlib.aclosing(pinged(self._coming, PING_EVERY)) as chunks:
            async for chunk in chunks:
                async with asyncio.timeout(PATIENCE):
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def pinged(coming: Coming, every: float) -> AsyncGenerator[bytes, None]:
    """Give events as they come, and a comment after so many seconds without one."""
    waiting: asyncio.Task[bytes | None] | None = None
    try:
        while True:
            waiting = waiting or asyncio.ensure_future(coming())
            done, _ = await asyncio.wait({waiting}, timeout=every)
            if not done:
                yield PING
                continue
            found, waiting = waiting.result(), None
            if found is None:
                return
            yield found
    finally:
        if waiting is not None:
            waiting.cancel()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
