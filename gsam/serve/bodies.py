"""Bodies of requests as they arrive: how large, how slow, how much of all of them at a time."""

from __future__ import annotations

import asyncio
import dataclasses
import time

from starlette.types import Message, Receive

from gsam.serve.config import ServeConfig
from gsam.serve.problems import ServeError

GRACE = 10.0
"""Seconds until a body has to have the least rate."""
LEAST_RATE = 4096
"""Bytes a second that a body has to arrive with, from its beginning on."""
VIDEOS = ("/v1/videos", "/v1/video/init")
"""Paths that take videos."""


@dataclasses.dataclass
class Held:
    """Bytes of the bodies of all requests that are not answered yet."""

    bytes: int = 0


def most_of(path: str, config: ServeConfig) -> int:
    """The most bytes that a body of a path may have."""
    return config.max_video_body if path.rstrip("/") in VIDEOS else config.max_body


class Body:
    """The body of one request, counted while the application reads it.

    Args:
        receive: Gives the server's messages.
        path: Of the request, without what a proxy takes away.
        config: The limits.
        held: Shared by all requests.
    """

    def __init__(self, receive: Receive, path: str, config: ServeConfig, held: Held) -> None:
        self._receive, self._held, self._config = receive, held, config
        self._most = most_of(path, config)
        self._seconds = config.read_timeout * max(1.0, self._most / config.max_body)
        self._began: float | None = None
        self._arrived = 0
        self._whole = False
        self.refused: ServeError | None = None
        """Why no more of it is read: the answer, whatever the application makes of it."""

    def check_announced(self, lengths: list[str], coded: bool) -> None:
        """Look at the length that a request announces.

        Args:
            lengths: Its ``Content-Length`` headers.
            coded: Whether it has ``Transfer-Encoding``, too.

        Raises:
            ServeError: 400 ``body_length`` for more than one of all these, or for no number; 413
                ``body_too_large``.
        """
        if len(lengths) + coded > 1 or not all(n.isascii() and n.isdecimal() for n in lengths):
            raise ServeError(400, "body_length", "the length of the body is not clear", {"Connection": "close"})
        if lengths and int(lengths[0][:20]) > self._most:
            raise self._too_large()

    async def receive(self) -> Message:
        """The next message, as an application asks for it.

        Raises:
            ServeError: 413 ``body_too_large``, 408 ``body_too_slow``, or 503 ``busy`` when all
                bodies together are too many.  The same is in ``refused``.
        """
        if self.refused is not None:
            raise self.refused
        if self._whole:
            return await self._receive()  # when the client leaves
        try:
            async with asyncio.timeout(self._left()):  # wait_for may lose a cancellation
                message = await self._receive()
        except TimeoutError:
            raise self._refuse(
                ServeError(408, "body_too_slow", "the body arrives too slowly", {"Connection": "close"})
            ) from None
        if message["type"] != "http.request":
            self.refused = ServeError(499, "client_gone", "the client has left")
            return message
        size = len(message.get("body", b""))
        self._arrived += size
        self._held.bytes += size
        if self._arrived > self._most:
            raise self._refuse(self._too_large())
        if self._held.bytes > self._config.max_held:
            raise self._refuse(ServeError(503, "busy", "too much is being sent here: try again", {"Retry-After": "1"}))
        self._whole = not message.get("more_body", False)
        return message

    def let_go(self) -> None:
        """The request is answered: its body no longer counts."""
        self._held.bytes -= self._arrived
        self._arrived = 0

    def _left(self) -> float:
        now = time.monotonic()
        if self._began is None:
            self._began = now
        until = self._began + min(self._seconds, min(GRACE, self._seconds) + self._arrived / LEAST_RATE)
        return max(0.0, until - now)

    def _refuse(self, error: ServeError) -> ServeError:
        self.refused = error
        return error

    def _too_large(self) -> ServeError:
        return ServeError(413, "body_too_large", f"a body has at most {self._most:,} bytes here")
