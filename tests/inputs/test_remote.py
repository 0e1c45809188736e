"""Pictures at addresses, from a server of this machine."""

from __future__ import annotations

import io
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gsam.errors import ImageError
from gsam.inputs import remote
from gsam.inputs.image import open_image
from gsam.inputs.remote import fetch, name_of


def png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (9, 7), (200, 30, 40)).save(buffer, "PNG")
    return buffer.getvalue()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        path = self.path
        if path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", path.removeprefix("/to/"))
            self.end_headers()
        elif path.startswith("/loop"):
            self.send_response(302)
            self.send_header("Location", "/loop")
            self.end_headers()
        elif path == "/none.png":
            self.send_error(404)
        elif path == "/endless.png":
            self.send_response(200)
            self.end_headers()
            while True:
                self.wfile.write(b"x" * 1000)
        elif path == "/slow.png":
            self.send_response(200)
            self.end_headers()
            for _ in range(50):
                self.wfile.write(b"x")
                self.wfile.flush()
                time.sleep(0.05)
        elif path == "/dripping.png":
            for byte in b"HTTP/1.0 200 OK\r\nX-A: " + b"a" * 200:
                self.wfile.write(bytes([byte]))
                time.sleep(0.05)
        elif path == "/short.png":
            self.send_response(200)
            self.send_header("Content-Length", "5000")
            self.end_headers()
            self.wfile.write(png())
        else:
            content = b"<!doctype html>" if path == "/page.png" else png()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.handle_error = lambda *_: None  # type: ignore[assignment]
    threading.Thread(target=http.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{http.server_port}"
    http.shutdown()


def test_a_picture_is_fetched(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(remote.PRIVATE, "1")
    picture = open_image(f"{server}/a/my%20photo.png?size=large")
    assert (picture.name, picture.pixels.shape) == ("my photo.png", (7, 9, 3))
    assert np.array_equal(picture.pixels[0, 0], (200, 30, 40))
    assert fetch(f"{server}/to//b.png") == png(), "a redirect is followed"
    with pytest.raises(ImageError, match="a web page"):
        open_image(f"{server}/page.png")


@pytest.mark.parametrize(
    ("path", "code", "says"),
    [
        ("/none.png", "url_failed", "says 404"),
        ("/loop", "url_failed", "redirects"),
        ("/endless.png", "url_too_large", "more than 5,000 bytes"),
        ("/short.png", "url_failed", "ended after"),
        ("/slow.png", "url_failed", "too long"),
        ("/dripping.png", "url_failed", "too long"),
        ("/to/ftp://example.com/a.png", "url_invalid", "only http and https"),
        ("/to/file:///etc/passwd", "url_invalid", "only http and https"),
    ],
)
def test_what_is_wrong_is_said(server: str, path: str, code: str, says: str) -> None:
    with pytest.raises(ImageError, match=says) as caught:
        fetch(
            server + path,
            private=True,
            most_bytes=5000,
            seconds=1.0 if path in ("/slow.png", "/dripping.png") else 20.0,
        )
    assert caught.value.code == code
    assert "\n" not in str(caught.value)


def test_private_addresses_are_refused(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(remote.PRIVATE, raising=False)
    port = server.rsplit(":", 1)[1]
    for host in (
        "127.0.0.1",
        "localhost",
        "0.0.0.0",
        "2130706433",
        "10.1.2.3",
        "192.168.0.1",
        "172.16.5.4",
        "169.254.169.254",
        "100.64.0.1",
        "[::1]",
        "[fe80::1]",
        "[fd00::1]",
        "[::ffff:10.0.0.1]",
        "[2002:7f00:1::]",
        "[64:ff9b::7f00:1]",
        "224.0.0.1",
        "127.1",
        "0x7f.0.0.1",
        "0177.0.0.1",
        "localhost.",
        "LOCALHOST",
        "[::127.0.0.1]",
        "[fec0::1]",
        "[64:ff9b:1::7f00:1]",
        "[::ffff:0:7f00:1]",
        "[2001:0:7f00:1::]",
    ):
        with pytest.raises(ImageError) as caught:
            fetch(f"http://{host}:{port}/a.png")
        assert caught.value.code in ("url_private", "url_failed"), host
        assert caught.value.code == "url_private" or "not found" in str(caught.value), host


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "93.184.215.14", "2606:4700::1111", "64:ff9b::808:808", "::ffff:8.8.8.8"]
)
def test_public_addresses_are_public(address: str) -> None:
    assert remote._public(address)


@pytest.mark.parametrize(
    "address", ["192.0.0.8", "fe80::1%eth0", "5f00::1", "2001:db8::1", "100::1", "255.255.255.255"]
)
def test_addresses_of_other_kinds_are_not(address: str) -> None:
    assert not remote._public(address)


def test_a_host_is_reached_at_the_address_that_answers(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host has IPv6 and this machine has not, for instance."""
    real, port = socket.getaddrinfo, int(server.rsplit(":", 1)[1])

    def resolve(host: str, *rest: Any, **more: Any) -> Any:
        several = real("127.0.0.2", *rest, **more) + real("127.0.0.1", *rest, **more)
        return several if host == "pictures.example" else real(host, *rest, **more)

    connect, tried = socket.create_connection, []

    def create(address: tuple[str, int], *rest: Any) -> socket.socket:
        tried.append(address[0])
        if address[0] == "127.0.0.2":
            raise OSError(101, "Network is unreachable")
        return connect(address, *rest)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(socket, "create_connection", create)
    assert fetch(f"http://pictures.example:{port}/a.png", private=True) == png()
    assert tried == ["127.0.0.2", "127.0.0.1"]
    monkeypatch.setattr(socket, "create_connection", lambda *_: create(("127.0.0.2", port)))
    with pytest.raises(ImageError, match="cannot be fetched: Network is unreachable") as caught:
        fetch(f"http://pictures.example:{port}/a.png", private=True)
    assert caught.value.code == "url_failed"


def test_a_redirect_is_looked_at_again(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first host counts as public; where it redirects to does not."""
    real = socket.getaddrinfo

    def resolve(host: str, *rest: Any, **more: Any) -> Any:
        return real("127.0.0.1" if host == "pictures.example" else host, *rest, **more)

    public = remote._public
    seen: list[str] = []

    def looks(address: str) -> bool:
        seen.append(address)
        return len(seen) == 1 or public(address)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(remote, "_public", looks)
    port = server.rsplit(":", 1)[1]
    with pytest.raises(ImageError) as caught:
        fetch(f"http://pictures.example:{port}/to/http://127.0.0.1:{port}/a.png", private=False)
    assert caught.value.code == "url_private"
    assert len(seen) == 2


def test_a_host_is_resolved_once(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was looked at is what is connected to, though the name means another host by then."""
    real, calls = socket.getaddrinfo, []

    def resolve(host: str, *rest: Any, **more: Any) -> Any:
        calls.append(host)
        return real("127.0.0.1" if host == "pictures.example" else host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    port = server.rsplit(":", 1)[1]
    assert fetch(f"http://pictures.example:{port}/a.png", private=True) == png()
    assert calls.count("pictures.example") == 1


@pytest.mark.parametrize("url", ["http://", "http:///a.png", "http://user:word@example.com/a.png", "http://[::1/a.png"])
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(ImageError) as caught:
        fetch(url)
    assert caught.value.code == "url_invalid"


def test_names_are_of_the_path_alone() -> None:
    assert name_of("https://example.com/a/bus.jpg?x=1#y") == "bus.jpg"
    assert name_of("https://example.com/a/..%2f..%2fetc") == "etc"
    assert name_of("https://example.com/") == "image"


def test_each_address_is_asked_in_its_own_way(server: str) -> None:
    asked: list[str] = []

    def asking(where: str) -> remote.Asking:
        asked.append(where)
        if where.endswith("secret.png"):
            raise ImageError("not this one", "url_forbidden")
        return remote.Asking(True, {"Authorization": "Token abc"})

    assert fetch(f"{server}/to//b.png", private=False, asking=asking) == png()
    assert asked == [f"{server}/to//b.png", f"{server}/b.png"]
    with pytest.raises(ImageError, match="not this one"):
        fetch(f"{server}/to//secret.png", asking=asking)
    with pytest.raises(remote.StatusError) as caught:
        fetch(f"{server}/none.png", asking=asking)
    assert caught.value.status == 404
