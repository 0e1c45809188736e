"""Wait for an answer, no longer than its deadline and only while the client is there."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import Request

from gsam.serve.problems import ServeError

T = TypeVar("T")
GONE = 499
"""Status of an answer that nobody reads: the client has left."""


async def within(request: Request, work: Coroutine[Any, Any, T], seconds: float | None = None) -> T:
    """Give the result of ``work``, and cancel it when it is late or not wanted any more.

    The body of the request has to be read before.

    Args:
        request: Whose client waits.
        work: What it waits for.
        seconds: The deadline; by default that of the server.

    Raises:
        ServeError: 504 ``deadline``, or 499 ``client_gone``.
    """
    seconds = request.app.state.config.deadline if seconds is None else seconds
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({task, gone}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        if gone.done():
            raise ServeError(GONE, "client_gone", "the client has left")
        raise ServeError(504, "deadline", f"no answer within {seconds:g} s: the server is busy, or the image is large")
    finally:
        for one in (task, gone):
            one.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
