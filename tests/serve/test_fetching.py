"""Images at addresses: which hosts, and where a host or a redirect leads to."""

from __future__ import annotations

import io
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from PIL import Image

pytest.importorskip("fastapi")

from fastapi.testclient import TestClient

from gsam.inputs import remote
from gsam.serve.config import ServeConfig
from gsam.serve.fetching import check_host, fetch_allowed
from gsam.serve.problems import ServeError

ALLOWED = ("images.example", "images.example:{port}", "bücher.example", "[2606:4700::1111]", "private.example:{port}")


def png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (9, 7), (200, 30, 40)).save(buffer, "PNG")
    return buffer.getvalue()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/to/"))
            self.end_headers()
            return
        if self.path.startswith("/none.png"):
            self.send_error(404)
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.write(bytes(60_000) if self.path == "/large.png" else png())

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.handle_error = lambda *_: None  # type: ignore[method-assign]
    threading.Thread(target=http.serve_forever, daemon=True).start()
    yield http.server_port
    http.shutdown()


@pytest.fixture
def resolved(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names mean addresses of this machine, which count as public ones if they are 127.0.0.1; the
    names that were asked for.
    """
    real, asked = socket.getaddrinfo, []

    def resolve(host: str, *rest: Any, **more: Any) -> Any:
        if host != "127.0.0.1":  # which is then connected to
            asked.append(host)
        return real("127.0.0.9" if host == "private.example" else "127.0.0.1", *rest, **more)

    public = remote._public
    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(remote, "_public", lambda address: address == "127.0.0.1" or public(address))
    return asked


def config_of(port: int, *more: str, **settings: Any) -> ServeConfig:
    return ServeConfig(allow_hosts=(*(a.format(port=port) for a in ALLOWED), *more), **settings)


def refused(url: str, config: ServeConfig) -> ServeError:
    with pytest.raises(ServeError) as caught:
        fetch_allowed(url, config)
    assert url not in str(caught.value)
    return caught.value


def test_a_host_that_is_allowed_is_asked(port: int, resolved: list[str]) -> None:
    config = config_of(port)
    assert fetch_allowed(f"http://images.example:{port}/a.png", config) == png()
    assert fetch_allowed(f"HTTP://IMAGES.example.:{port}/a.png?x=1#y", config) == png()
    assert fetch_allowed(f"http://images.example:{port}/to//b.png", config) == png()


@pytest.mark.parametrize(
    "url",
    [
        "http://other.example/a.png",
        "http://images.example.evil.example/a.png",
        "http://evilimages.example/a.png",
        "http://images.example:1/a.png",
        "https://images.example:22/a.png",
        "http://127.0.0.1:{port}/a.png",
        "http://[::1]/a.png",
        "http://2130706433/a.png",
        "http://0x7f.1/a.png",
        "http://localhost/a.png",
        "http://images.example@other.example/a.png",
        "http://images.example\\@other.example/a.png",
        "http://images.example%2eother.example/a.png",
        "http://images\u3002example.other.example/a.png",
    ],
)
def test_another_host_is_not_even_looked_up(port: int, resolved: list[str], url: str) -> None:
    error = refused(url.format(port=port), config_of(port))
    assert (error.status, error.code) == (403, "url_forbidden")
    assert "--allow-host" in str(error)
    assert resolved == []


def test_without_hosts_nothing_is_fetched(resolved: list[str]) -> None:
    assert refused("https://images.example/a.png", ServeConfig()).code == "url_forbidden"
    assert resolved == []


@pytest.mark.parametrize(
    ("where", "code"),
    [
        ("http://other.example:{port}/a.png", "url_forbidden"),
        ("http://127.0.0.1:{port}/a.png", "url_forbidden"),
        ("http://169.254.169.254/latest/meta-data", "url_forbidden"),
        ("http://images.example:1/a.png", "url_forbidden"),
        ("//other.example/a.png", "url_forbidden"),
        ("file:///etc/passwd", "url_invalid"),
        ("ftp://images.example:{port}/a.png", "url_invalid"),
        ("http://me:secret@images.example:{port}/a.png", "url_invalid"),
    ],
)
def test_a_redirect_has_to_stay_there(port: int, resolved: list[str], where: str, code: str) -> None:
    error = refused(f"http://images.example:{port}/to/{where.format(port=port)}", config_of(port))
    assert error.code == code
    assert error.status == {"url_forbidden": 403, "url_invalid": 400}[code]
    assert resolved == ["images.example"]


def test_an_allowed_name_of_a_private_address_is_refused(port: int, resolved: list[str]) -> None:
    for url in (
        f"http://private.example:{port}/a.png",
        f"http://images.example:{port}/to/http://private.example:{port}/",
    ):
        error = refused(url, config_of(port))
        assert (error.status, error.code) == (403, "url_private")
        assert "127.0.0.9" not in str(error), "nor is its address told"


def test_the_variable_of_the_library_does_not_count(
    port: int, resolved: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(remote.PRIVATE, "1")
    assert refused(f"http://private.example:{port}/a.png", config_of(port)).code == "url_private"


def test_addresses_have_the_limits_of_bodies(port: int, resolved: list[str]) -> None:
    error = refused(f"http://images.example:{port}/large.png", config_of(port, max_body=50_000))
    assert (error.status, error.code) == (413, "url_too_large")
    assert "50,000" in str(error)


def test_what_cannot_be_had_is_said(port: int, resolved: list[str]) -> None:
    error = refused(f"http://images.example:{port}/none.png?key=secret", config_of(port))
    assert (error.status, error.code, str(error)) == (502, "url_failed", "the server says 404 Not Found")


@pytest.mark.parametrize("host", ["bücher.example", "BÜCHER.example", "xn--bcher-kva.example", "[2606:4700::1111]"])
def test_names_are_compared_as_resolvers_do(port: int, host: str) -> None:
    check_host(f"https://{host}/a.png", config_of(port))
    with pytest.raises(ServeError):
        check_host(f"https://{host}:444/a.png", config_of(port))


@pytest.mark.long
def test_over_http(port: int, resolved: list[str], client_of: Callable[..., TestClient]) -> None:
    client = client_of(allow_hosts=config_of(port).allow_hosts)
    for host, status in {f"images.example:{port}": 200, "other.example": 403, f"private.example:{port}": 403}.items():
        answer = client.post("/v1/segment", json={"image": f"http://{host}/a.png", "query": "dog"})
        assert answer.status_code == status, answer.text
        assert host.partition(":")[0] not in answer.text
