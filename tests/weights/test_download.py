"""Files by their address: whole, resumed, checked, and one download for two processes."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import http.server
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gsam.errors import CheckpointError
from gsam.weights import download, find, folders, store
from tests.weights.files import nano_sam, state_dict


@pytest.fixture(scope="module")
def nano() -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    return nano_sam()


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GSAM_CACHE", str(tmp_path / "gsam cache"))


@dataclasses.dataclass
class Site:
    """A server of one file, and what it was asked for."""

    url: str
    content: bytes
    asked: list[str | None] = dataclasses.field(default_factory=list)
    stop_after: int | None = None
    """Break the connection after so many bytes, once."""
    ranges: bool = True


@pytest.fixture
def site() -> Iterator[Site]:
    with serve(np.random.default_rng(0).bytes(300_000)) as found:
        yield found


@contextlib.contextmanager
def serve(content: bytes) -> Iterator[Site]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path != "/model.pth":
                return self.send_error(404)
            asked = self.headers.get("Range")
            found.asked.append(asked)
            begin = int(asked.removeprefix("bytes=").rstrip("-")) if asked and found.ranges else 0
            if begin >= len(found.content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(found.content)}")
                self.send_header("Content-Length", "0")
                return self.end_headers()
            rest = found.content[begin:]
            self.send_response(206 if begin else 200)
            self.send_header("Content-Length", str(len(rest)))
            self.end_headers()
            if found.stop_after is not None:
                rest, found.stop_after = rest[: found.stop_after], None
            self.wfile.write(rest)

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found = Site(f"http://127.0.0.1:{server.server_port}/model.pth", content)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield found
        finally:
            server.shutdown()
            thread.join()


def left(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if p.suffix != ".lock")


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_download(tmp_path: Path, site: Site) -> None:
    target = tmp_path / "deep" / "model.pth"
    assert download.from_url(site.url, target, digest(site.content)) == target
    assert target.read_bytes() == site.content
    assert left(target.parent) == ["model.pth"]
    download.from_url(site.url, target)
    assert site.asked == [None]  # the second time it was there


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_download_goes_on(tmp_path: Path, site: Site, ranges: bool) -> None:
    target = tmp_path / "model.pth"
    site.stop_after, site.ranges = 100_000, ranges
    with pytest.raises(CheckpointError, match="run the command again") as error:
        download.from_url(site.url, target, digest(site.content))
    assert error.value.code == "download_failed"
    assert not target.exists()
    assert (tmp_path / "model.pth.part").read_bytes() == site.content[:100_000]
    download.from_url(site.url, target, digest(site.content))
    assert target.read_bytes() == site.content
    assert site.asked == [None, "bytes=100000-"]
    assert left(tmp_path) == ["model.pth"]


def test_a_download_that_was_complete_but_not_renamed(tmp_path: Path, site: Site) -> None:
    (tmp_path / "model.pth.part").write_bytes(site.content)
    download.from_url(site.url, tmp_path / "model.pth", digest(site.content))
    assert (tmp_path / "model.pth").read_bytes() == site.content


def test_a_partial_file_longer_than_the_whole(tmp_path: Path, site: Site) -> None:
    (tmp_path / "model.pth.part").write_bytes(bytes(len(site.content) + 5))
    download.from_url(site.url, tmp_path / "model.pth", digest(site.content))
    assert (tmp_path / "model.pth").read_bytes() == site.content


def test_a_wrong_hash(tmp_path: Path, site: Site) -> None:
    with pytest.raises(CheckpointError, match=digest(site.content)) as error:
        download.from_url(site.url, tmp_path / "model.pth", "0" * 64)
    assert error.value.code == "checkpoint_hash"
    assert left(tmp_path) == []


def test_not_found(tmp_path: Path, site: Site) -> None:
    with pytest.raises(CheckpointError, match="404") as error:
        download.from_url(site.url.replace("model", "other"), tmp_path / "model.pth")
    assert error.value.code == "download_failed"
    assert left(tmp_path) == []


def test_connection_refused(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(CheckpointError, match="give its path instead") as error:
        download.from_url(f"http://127.0.0.1:{port}/model.pth", tmp_path / "model.pth")
    assert error.value.code == "hub_offline"
    assert left(tmp_path) == []


def test_a_disk_that_is_full(tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(CheckpointError, match="No space left") as error:
        download.from_url(site.url, tmp_path / "model.pth")
    assert error.value.code == "download_failed"
    assert left(tmp_path) == []


def test_two_at_once_download_once(tmp_path: Path, site: Site) -> None:
    target = tmp_path / "model.pth"
    threads = [threading.Thread(target=download.from_url, args=(site.url, target)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert target.read_bytes() == site.content
    assert site.asked == [None]


def test_a_manifest_s_address(tmp_path: Path, nano: Any, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.content = state_dict(tmp_path / "source.pth", nano[1]).read_bytes()
    entry = {"url": site.url, "sha256": digest(site.content)}
    monkeypatch.setattr(find, "manifest", lambda: {"nano model": entry})
    found = store.load("nano model", role="segment").params
    assert found.keys() == nano[0].keys()
    for name, value in nano[0].items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
    cached = folders.cache_folder() / "weights" / "model.pth"
    assert cached.read_bytes() == site.content
    flipped = bytearray(site.content)
    flipped[len(flipped) // 2] ^= 1
    cached.write_bytes(flipped)
    with pytest.raises(CheckpointError, match=f"expected {digest(site.content)}") as error:
        store.load("nano model")
    assert error.value.code == "checkpoint_hash"
