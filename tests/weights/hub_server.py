"""A hub on this machine: what `huggingface_hub` asks for, how the hub answers, and what can go
wrong on the way.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import http.server
import json
import os
import socket
import struct
import threading
import urllib.parse
from collections.abc import Iterator, Mapping
from typing import Any

TOKEN = "hf_good"
LARGE = (".safetensors", ".bin")
"""Files that the hub keeps beside git, by their SHA-256."""


@dataclasses.dataclass
class Repository:
    """The files of one commit, and the names it has."""

    files: Mapping[str, bytes]
    revisions: tuple[str, ...] = ("main",)
    gated: bool = False
    """Anybody sees which files there are; only who has a token gets them."""

    @property
    def commit(self) -> str:
        return hashlib.sha1(b"".join(n.encode() + b for n, b in sorted(self.files.items()))).hexdigest()

    def knows(self, revision: str) -> bool:
        return revision == self.commit or revision in self.revisions


@dataclasses.dataclass
class Hub:
    """A running hub."""

    url: str
    repositories: dict[str, Repository] = dataclasses.field(default_factory=dict)
    asked: list[tuple[str, str, str | None]] = dataclasses.field(default_factory=list)
    """Method, path and range of every request."""
    stop_after: int | None = None
    """End a large file after so many bytes, once."""
    reset_after: int | None = None
    """The same, by a reset of the connection."""
    broken: bool = False
    """Answer everything with 500."""
    wrong: dict[str, bytes] = dataclasses.field(default_factory=dict)
    """What to send instead of the content of a file."""

    def fetched(self, name: str = "") -> list[str]:
        """The files whose content was sent, all or those of one name."""
        paths = [path for method, path, _ in self.asked if method == "GET" and "/resolve/" in path]
        return [p for p in paths if p.endswith(name)]


def oid(name: str, content: bytes) -> str:
    """What a file is called by its content: a large one by its SHA-256, another as git does."""
    if name.endswith(LARGE):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@contextlib.contextmanager
def serve(repositories: Mapping[str, Repository]) -> Iterator[Hub]:
    """A hub with these repositories, until the end of the block."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
            hub.asked.append((self.command, path, self.headers.get("Range")))
            if hub.broken:
                return self.answer(500, b"{}")
            if path.startswith("/api/models/"):
                owner, name, *rest = path.removeprefix("/api/models/").split("/", 3)
                kind, revision, file = (*(rest or ("revision", "main")), "")[:3]
            else:
                owner, name, kind, revision, file = (*path[1:].split("/", 4), "", "", "", "", "")[:5]
            repository = hub.repositories.get(f"{owner}/{name}")
            trusted = self.headers.get("Authorization") == f"Bearer {TOKEN}"
            if repository is None:
                self.refuse(404 if trusted else 401, "RepoNotFound")
            elif not repository.knows(revision):
                self.refuse(404, "RevisionNotFound")
            elif kind == "revision":
                self.info(f"{owner}/{name}", repository)
            elif kind == "tree":
                self.tree(repository)
            elif kind != "resolve" or file not in repository.files:
                self.refuse(404, "EntryNotFound")
            elif repository.gated and not trusted:
                self.refuse(401, "GatedRepo")
            else:
                self.file(repository, file)

        do_HEAD = do_GET

        def info(self, name: str, repository: Repository) -> None:
            siblings = [{"rfilename": n} for n in repository.files]
            value = {"id": name, "modelId": name, "sha": repository.commit, "siblings": siblings, "private": False}
            self.answer(200, json.dumps({**value, "gated": "auto" if repository.gated else False}).encode())

        def tree(self, repository: Repository) -> None:
            rows: list[dict[str, Any]] = []
            for name, content in repository.files.items():
                row = {"type": "file", "path": name, "size": len(content), "oid": oid("", content)}
                if name.endswith(LARGE):
                    row["lfs"] = {"oid": oid(name, content), "size": len(content), "pointerSize": 135}
                rows.append(row)
            self.answer(200, json.dumps(rows).encode())

        def file(self, repository: Repository, name: str) -> None:
            content = repository.files[name]
            headers = {"ETag": f'"{oid(name, content)}"', "X-Repo-Commit": repository.commit, "Accept-Ranges": "bytes"}
            if name.endswith(LARGE):
                headers |= {"X-Linked-ETag": headers["ETag"], "X-Linked-Size": str(len(content))}
            content = hub.wrong.get(name, content)
            wanted = self.headers.get("Range")
            if wanted is None:
                return self.answer(200, content, headers, large=name.endswith(LARGE))
            begin, _, end = wanted.removeprefix("bytes=").partition("-")
            first, last = int(begin), min(int(end or len(content)), len(content) - 1)
            if first >= len(content):
                return self.answer(416, b"", {"Content-Range": f"bytes */{len(content)}"})
            headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
            self.answer(206, content[first : last + 1], headers, large=name.endswith(LARGE))

        def refuse(self, status: int, code: str) -> None:
            self.answer(status, b"{}", {"X-Error-Code": code, "X-Error-Message": code})

        def answer(self, status: int, body: bytes, headers: Mapping[str, str] = {}, *, large: bool = False) -> None:
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "HEAD":
                return
            if not large or hub.stop_after is hub.reset_after is None:
                self.wfile.write(body)
                return
            self.close_connection = True
            if hub.reset_after is None:
                part, hub.stop_after = body[: hub.stop_after], None
                self.wfile.write(part)
            else:
                part, hub.reset_after = body[: hub.reset_after], None
                self.wfile.write(part)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                os.close(self.connection.detach())  # without the goodbye of an orderly end

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        hub = Hub(f"http://127.0.0.1:{server.server_port}", dict(repositories))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()
