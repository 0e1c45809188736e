"""Rows 55: addresses of images."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from unittest import mock

from gsam.inputs import remote
from gsam.inputs.image import open_image
from tests.bad.sending import SEGMENT, Sendable, Sent
from tests.bad.table import Run, error

PUBLIC = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.215.14", 80))]
"""What a resolver says of a host that is allowed."""


@contextlib.contextmanager
def unreachable() -> Iterator[None]:
    """A host that does not answer."""
    refused = OSError(111, "Connection refused")
    with (
        mock.patch("socket.getaddrinfo", return_value=PUBLIC),
        mock.patch("socket.create_connection", side_effect=refused),
    ):
        yield


@contextlib.contextmanager
def large() -> Iterator[None]:
    """A host that announces more than is read."""
    ours, theirs = socket.socketpair()
    theirs.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {remote.MOST_BYTES + 1}\r\n\r\n".encode())
    with (
        mock.patch("socket.getaddrinfo", return_value=PUBLIC),
        mock.patch("socket.create_connection", return_value=ours),
    ):
        yield


def at(address: str, around: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext) -> Sendable:
    """An image at an address, of a host that the server may ask."""

    def make(_: Path) -> Run:
        def run() -> None:
            with around():
                open_image(address)

        return run

    hosts = ("127.0.0.1:9", "a.example", "pictures.example")
    return Sendable(
        make, Sent(SEGMENT, {"image": address, "query": "dog"}, settings={"allow_hosts": hosts}, around=around)
    )


PICTURE = "http://pictures.example/a.png"


ROWS = [
    error("55a", "an address of this machine", at("http://127.0.0.1:9/a.png"), "ImageError url_private",
          "not a public", http=403),
    error("55b", "an address with a user's name", at("http://me:secret@a.example/b.png"), "ImageError url_invalid",
          "user"),
    error("55c", "an address without a host", at("http:///b.png"), "ImageError url_invalid", "only http and https"),
    error("55d", "a host that does not answer", at(PICTURE, unreachable), "ImageError url_failed",
          "Connection refused", http=502),
    error("55e", "more bytes at an address than are read", at(PICTURE, large), "ImageError url_too_large",
          "at most 100,000,000", http=413),
]  # fmt: skip
