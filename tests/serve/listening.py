"""A server that really listens, in a thread of the test's process, and clients of raw bytes."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from gsam.serve import connections
from gsam.serve.config import ServeConfig


@contextlib.contextmanager
def listening(app: ASGIApp, config: ServeConfig) -> Iterator[int]:
    """Serve on a free port of this machine, as ``gsam serve`` does; gives the port."""
    place = socket.create_server(("127.0.0.1", 0), backlog=1024)
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, **connections.settings(config)))
    thread = threading.Thread(target=server.run, args=([place],), daemon=True)
    thread.start()
    until = time.monotonic() + 30
    while not server.started and time.monotonic() < until:
        time.sleep(0.01)
    assert server.started
    try:
        yield place.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(30)
        place.close()
        assert not thread.is_alive()


class Raw:
    """A connection on which a test says what it likes."""

    def __init__(self, port: int, seconds: float = 20.0) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), seconds)
        self._next = b""

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> Raw:
        """Send bytes, as many as are taken."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.socket.sendall(data)
        return self

    def everything(self) -> bytes:
        """All that comes until the server closes."""
        found, self._next = self._next, b""
        with contextlib.suppress(ConnectionResetError):
            while block := self.socket.recv(1 << 16):
                found += block
        return found

    def answer(self) -> tuple[int, dict[str, str], Any]:
        """The next answer: its status, its headers, its JSON."""
        head, self._next = self._next, b""
        while b"\r\n\r\n" not in head:
            if not (block := self.socket.recv(1 << 16)):
                raise AssertionError(f"closed without an answer: {head!r}")
            head += block
        head, _, body = head.partition(b"\r\n\r\n")
        first, *rest = head.decode().split("\r\n")
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in rest)}
        length = int(headers.get("content-length", 0))
        while len(body) < length:
            body += self.socket.recv(1 << 16)
        body, self._next = body[:length], body[length:]
        return int(first.split()[1]), headers, json.loads(body) if body else None

    def response(self) -> Response:
        """The same, as clients of other libraries have it."""
        return Response(*self.answer())


@dataclasses.dataclass(frozen=True)
class Response:
    """An answer, as far as the tests look at it."""

    status_code: int
    headers: dict[str, str]
    body: Any

    @property
    def text(self) -> str:
        return json.dumps(self.body)

    def json(self) -> Any:
        return self.body


def head(path: str, *lines: str, method: str = "POST") -> bytes:
    """The head of a request."""
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *lines, "", ""]).encode()
