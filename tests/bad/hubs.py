"""Hubs and addresses that refuse, are not there, or send something else."""

from __future__ import annotations

import contextlib
import http.server
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from gsam.errors import CheckpointError
from gsam.weights import download, store


@contextlib.contextmanager
def server(status: int, body: bytes = b"", **headers: str) -> Iterator[str]:
    """Answers everything alike; its address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def by_hand(folder: Path) -> Callable[[], Any]:
    def run() -> None:
        with mock.patch.dict("os.environ", GSAM_CACHE=str(folder)):
            store.load("fast_sam_s")

    return run


def hub(name: str, status: int, error: str = "") -> Callable[[Path], Callable[[], Any]]:
    """A hub that answers with an error; status 0 is a hub that is not there."""

    def make(folder: Path) -> Callable[[], Any]:
        from huggingface_hub import constants

        def run() -> None:
            with contextlib.ExitStack() as stack:
                headers = {"X_Error_Code": error} if error else {}
                url = stack.enter_context(server(status, **headers)) if status else "http://127.0.0.1:9"
                stack.enter_context(mock.patch.object(constants, "ENDPOINT", url))
                stack.enter_context(mock.patch.object(constants, "HF_HUB_CACHE", str(folder / "hub")))
                stack.enter_context(mock.patch.object(constants, "HF_HUB_OFFLINE", False))
                store.load(name)

        return run

    return make


def offline(folder: Path) -> Callable[[], Any]:
    from huggingface_hub import constants

    def run() -> None:
        with (
            mock.patch.object(constants, "HF_HUB_CACHE", str(folder / "hub")),
            mock.patch.object(constants, "HF_HUB_OFFLINE", True),
        ):
            store.load("some/model")

    return run


def full(folder: Path) -> Callable[[], Any]:
    def full(*_: Any, **__: Any) -> Any:
        raise OSError(28, "No space left on device")

    def run() -> None:
        with server(200, b"x") as url, mock.patch.object(Path, "open", full):
            download.from_url(f"{url}/x.pth", folder / "x.pth")

    return run


def together(folder: Path) -> Callable[[], Any]:
    """Two first loads at once of an address with the wrong file: both say so, and no file is
    left.
    """

    def run() -> None:
        errors: list[CheckpointError] = []

        def one() -> None:
            try:
                download.from_url(f"{url}/x.pth", folder / "x.pth", "0" * 64)
            except CheckpointError as error:
                errors.append(error)

        with server(200, b"x" * 100_000) as url:
            threads = [threading.Thread(target=one) for _ in range(2)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert len(errors) == 2
        assert not [p for p in folder.iterdir() if p.suffix != ".lock"]
        raise errors[0]

    return run
