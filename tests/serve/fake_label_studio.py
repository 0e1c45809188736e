"""A Label Studio of a few paths: pictures for those who show a token, and tokens for tokens."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

LEGACY = "0123456789abcdef0123456789abcdef01234567"
PERSONAL = "aaaa.bbbb.cccc"


class FakeLabelStudio(ThreadingHTTPServer):
    """Remembers who asked for what."""

    daemon_threads = True

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files, self.elsewhere = files, ""
        self.asked: list[tuple[str, str | None]] = []
        self.given = 0
        self.valid = {f"Token {LEGACY}"}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: FakeLabelStudio

    def do_GET(self) -> None:
        who, path = self.headers.get("Authorization"), self.path.partition("?")[0]
        self.server.asked.append((self.path, who))
        if path == "/open.png":
            return self._send(200, self.server.files["scene.png"])
        if path.startswith("/away"):
            return self._send(302, b"", Location=self.server.elsewhere)
        if path == "/login-first.png":
            return self._send(302, b"", Location="/user/login/?next=/")
        if path == "/user/login/":
            return self._send(200, b"<!doctype html><title>Log in</title>")
        if who not in self.server.valid:
            return self._send(401, b'{"detail": "no"}')
        if path == "/api/current-user/whoami":
            return self._send(200, b'{"id": 1}')
        name = "scene.png" if path.startswith(("/data/local-files/", "/tasks/")) else path.rpartition("/")[2]
        if name not in self.server.files:
            return self._send(404, b"")
        return self._send(200, self.server.files[name])

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, None))
        if self.path != "/api/token/refresh/" or body != {"refresh": PERSONAL}:
            return self._send(401, b"{}")
        self.server.given += 1
        self.server.valid = {f"Bearer short{self.server.given}"}
        return self._send(200, json.dumps({"access": f"short{self.server.given}"}).encode())

    def _send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@contextlib.contextmanager
def fake_label_studio(files: dict[str, bytes]) -> Iterator[FakeLabelStudio]:
    """Serve files, each by its name at the end of any path."""
    server = FakeLabelStudio(files)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()
