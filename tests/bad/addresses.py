"""Rows 55: addresses of images."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from unittest import mock

from gsam.inputs import remote
from gsam.inputs.image import open_image
from tests.bad.table import Run, error

PUBLIC = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.215.14", 80))]
"""What a resolver says of a host that is allowed."""


def at(address: str) -> Callable[[Path], Run]:
    return lambda _: lambda: open_image(address)


def unreachable(_: Path) -> Run:
    def run() -> None:
        refused = OSError(111, "Connection refused")
        with (
            mock.patch("socket.getaddrinfo", return_value=PUBLIC),
            mock.patch("socket.create_connection", side_effect=refused),
        ):
            open_image("http://pictures.example/a.png")

    return run


def large(_: Path) -> Run:
    """An answer that announces more than is read."""

    def run() -> None:
        ours, theirs = socket.socketpair()
        theirs.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {remote.MOST_BYTES + 1}\r\n\r\n".encode())
        with (
            mock.patch("socket.getaddrinfo", return_value=PUBLIC),
            mock.patch("socket.create_connection", return_value=ours),
        ):
            open_image("http://pictures.example/a.png")

    return run


ROWS = [
    error(
        "55a", "an address of this machine", at("http://127.0.0.1:9/a.png"), "ImageError url_private", "not a public"
    ),
    error(
        "55b", "an address with a user's name", at("http://me:secret@a.example/b.png"), "ImageError url_invalid", "user"
    ),
    error("55c", "an address without a host", at("http:///b.png"), "ImageError url_invalid", "only http and https"),
    error("55d", "a host that does not answer", unreachable, "ImageError url_failed", "Connection refused"),
    error("55e", "more bytes at an address than are read", large, "ImageError url_too_large", "at most 100,000,000"),
]
