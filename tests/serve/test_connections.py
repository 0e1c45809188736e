"""Connections: half a head, no head, no HTTP, no reading, too many, and the server's end."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest

pytest.importorskip("fastapi")

from starlette.types import Receive, Scope, Send

from gsam.serve import connections
from gsam.serve.config import ServeConfig
from tests.serve.listening import Raw, head, listening
from tests.serve.tiny import tiny

LIMITS = ServeConfig(head_timeout=0.6, connections=8)
GET = head("/unread", method="GET")


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with listening(tiny(LIMITS), LIMITS) as found:
        yield found


def ok(port: int) -> bool:
    with Raw(port) as raw:
        return raw.send(GET).answer()[2] == {"status": "ok"}


def test_half_a_head_is_answered_and_closed(port: int) -> None:
    began = time.monotonic()
    with Raw(port) as raw:
        status, headers, body = raw.send(GET[:30]).answer()
        assert raw.everything() == b""
    assert (status, body["error"]["code"], headers["connection"]) == (408, "request_too_slow", "close")
    assert headers["x-frame-options"] == "DENY"
    assert 0.5 < time.monotonic() - began < 5


def test_a_head_of_drops_does_not_last_longer(port: int) -> None:
    """Slowloris: a line from time to time, without an end."""
    began = time.monotonic()
    with Raw(port) as raw:
        raw.send(GET[:-2])
        with contextlib.suppress(OSError):
            while time.monotonic() - began < 5:
                raw.socket.sendall(b"X: y\r\n")
                time.sleep(0.05)
        assert time.monotonic() - began < 4
    assert ok(port)


def test_a_connection_that_says_nothing_is_closed(port: int) -> None:
    began = time.monotonic()
    with Raw(port) as raw:
        assert raw.everything() == b""
    assert 0.5 < time.monotonic() - began < 5


def test_a_second_request_has_as_long_as_the_first(port: int) -> None:
    with Raw(port) as raw:
        assert raw.send(GET).answer()[0] == 200
        began = time.monotonic()
        assert raw.send(GET[:30]).answer()[0] == 408
        assert raw.everything() == b""
    assert 0.5 < time.monotonic() - began < 5


def test_requests_one_after_another_are_answered(port: int) -> None:
    with Raw(port) as raw:
        for _ in range(5):
            assert raw.send(GET[:9]).send(GET[9:]).answer()[2] == {"status": "ok"}
            time.sleep(0.2)
        raw.send(GET * 5)
        assert [raw.answer()[0] for _ in range(5)] == [200] * 5


@pytest.mark.parametrize(
    "text",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),  # somebody speaks TLS
        b"hello\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: a\x00b\r\n\r\n",
        b"GET / HTTP/1.1\r\n folded\r\nHost: 127.0.0.1\r\n\r\n",
    ],
)
def test_what_is_no_http_is_answered_in_our_form(port: int, text: bytes) -> None:
    with Raw(port) as raw:
        status, headers, body = raw.send(text).answer()
        assert raw.everything() == b""
    assert (status, body["error"]["code"], headers["connection"]) == (400, "request_malformed", "close")
    assert headers["content-security-policy"]


@pytest.mark.parametrize("text", [b"GET /", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: "])
def test_a_head_without_end_is_cut_off(port: int, text: bytes) -> None:
    sent = 0
    with Raw(port) as raw, contextlib.suppress(OSError):
        raw.socket.sendall(text)
        while sent < 5_000_000:
            raw.socket.sendall(b"a" * 10_000)
            sent += 10_000
            time.sleep(0.001)
    assert sent < 5_000_000
    assert ok(port)


def test_a_web_socket_is_not_opened(port: int) -> None:
    lines = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: eHh4eHh4eHh4eHh4eHh4eA==")
    with Raw(port) as raw:
        assert raw.send(head("/unread", *lines, method="GET")).answer()[0] == 200, "a usual answer, no switch"


def test_too_many_connections_are_answered(port: int) -> None:
    waiting = [Raw(port).send(head("/slow?seconds=1.5", method="GET")) for _ in range(LIMITS.connections)]
    time.sleep(0.3)
    for _ in range(3):
        with Raw(port) as raw:
            status, headers, body = raw.send(GET).answer()
        assert (status, body["error"]["code"], headers["retry-after"]) == (503, "connections", "1")
        assert headers["x-frame-options"] == "DENY"
    assert [raw.answer()[0] for raw in waiting] == [200] * LIMITS.connections, "those before them are not lost"
    for raw in waiting:
        raw.socket.close()
    time.sleep(0.2)
    assert ok(port)


def test_a_flood_of_idle_connections_ends(port: int) -> None:
    flood = []
    for _ in range(10 * LIMITS.connections):
        with contextlib.suppress(OSError):
            flood.append(Raw(port))
    time.sleep(0.8)
    ended = sum(raw.everything() == b"" for raw in flood)
    assert ended == len(flood)
    assert ok(port)


def test_a_client_that_does_not_read_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "READER", 0.5)
    left = threading.Event()

    async def large(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        with contextlib.suppress(Exception):
            for _ in range(1000):
                await send({"type": "http.response.body", "body": bytes(1 << 17), "more_body": True})
        left.set()

    with listening(large, LIMITS) as port, Raw(port) as raw:
        raw.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.send(GET)
        assert left.wait(15), "the answer is not held for ever"


def test_requests_that_run_are_finished_when_the_server_ends() -> None:
    with listening(tiny(LIMITS), LIMITS) as port:
        raw = Raw(port).send(head("/slow?seconds=1", method="GET"))
        time.sleep(0.3)
    assert raw.answer()[2] == {"status": "ok"}
    raw.socket.close()


def test_a_server_ends_though_a_request_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "GRACEFUL", 1)
    began = time.monotonic()
    with listening(tiny(LIMITS), LIMITS) as port:
        raw = Raw(port).send(head("/slow?seconds=60", method="GET"))
        time.sleep(0.3)
    assert time.monotonic() - began < 20
    raw.socket.close()
