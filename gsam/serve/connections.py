"""Connections: how many, how long they may take to ask and to read, and how they are refused.

uvicorn waits for the head of a request, and for a client to read, without end; this protocol of its
does not, and it answers in gsam's form where no application is asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from http import HTTPStatus
from typing import Any

import h11
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from gsam.serve.config import ServeConfig
from gsam.serve.guard import with_headers
from gsam.serve.problems import ServeError, answer, body_of

KEEP_ALIVE = 15
"""Seconds that a connection stays open without a request."""
GRACEFUL = 10
"""Seconds that requests have to end when the server is stopped."""
LINGER = 5.0
"""Seconds that a refused body is still read, and thrown away; else its answer may not be seen."""
READER = 60.0
"""Seconds that a client may take to make room for more of its answer."""
HEAD = 1 << 16
"""Bytes of a request's head, at most."""
FULL = ServeError(503, "connections", "too many connections: try again", {"Retry-After": "1", "Connection": "close"})


def settings(config: ServeConfig) -> dict[str, Any]:
    """The arguments of `uvicorn.Config` that a server's limits and promises need."""
    return {
        "http": protocol_of(config),
        "ws": "none",
        "access_log": False,  # addresses hold sessions
        "server_header": False,
        "timeout_keep_alive": KEEP_ALIVE,
        "timeout_graceful_shutdown": GRACEFUL,
        "h11_max_incomplete_event_size": HEAD,
        "backlog": 2048,
    }


def protocol_of(config: ServeConfig) -> type[asyncio.Protocol]:
    """The protocol of a server with these limits."""

    class Limited(Protocol):
        limits = config

    return Limited


class Protocol(H11Protocol):
    """One connection."""

    limits: ServeConfig

    def __init__(self, config: uvicorn.Config, *args: Any, **kwargs: Any) -> None:
        super().__init__(config, *args, **kwargs)
        self._answered_by, self.app = self.app, self._gate
        self._timer: asyncio.TimerHandle | None = None
        self._reader: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > 2 * self.limits.connections:
            transport.abort()  # such a flood gets no answers
            return
        self._wait(self.limits.head_timeout, self._no_head)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        self._read_again()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self.conn.their_state is h11.IDLE:
            if self._timer is None:  # the beginning of a head; more of it is no reason to wait longer
                self._wait(self.limits.head_timeout, self._no_head)
        elif self.cycle is None or not self.cycle.response_complete:
            self._stop()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing():
            self._wait(LINGER, self.transport.abort)  # a client that does not read would keep it
        elif self.conn.their_state is h11.SEND_BODY and self.cycle.response_complete:
            self._wait(LINGER, self.transport.close)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._reader is None:
            self._reader = self.loop.call_later(READER, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._read_again()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP."""
        self._say(400, "request_malformed", "this is no HTTP request")

    async def _gate(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The application, for as many connections as there may be."""
        if len(self.connections) <= self.limits.connections:
            await self._answered_by(scope, receive, send)
            return

        async def out(message: Any) -> None:
            await send(with_headers(message) if message["type"] == "http.response.start" else message)

        await answer(FULL)(scope, receive, out)

    def _no_head(self) -> None:
        if self.conn.trailing_data[0]:
            self._say(408, "request_too_slow", "the request arrives too slowly")
        else:
            self.transport.close()

    def _say(self, status: int, code: str, message: str) -> None:
        """Answer where no request has been read, and close."""
        body = json.dumps(body_of(code, message)).encode()
        start = with_headers(
            {
                "headers": [
                    (b"content-type", b"application/json"),
                    (b"content-length", str(len(body)).encode()),
                    (b"connection", b"close"),
                ]
            }
        )
        with contextlib.suppress(h11.LocalProtocolError):
            head = h11.Response(status_code=status, headers=start["headers"], reason=HTTPStatus(status).phrase)
            for event in (head, h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _wait(self, seconds: float, then: Any) -> None:
        self._stop()
        self._timer = self.loop.call_later(seconds, then)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _read_again(self) -> None:
        if self._reader is not None:
            self._reader.cancel()
            self._reader = None
