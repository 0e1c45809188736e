"""The server as a process: the address it listens on, the lines it prints, and its end."""

from __future__ import annotations

import logging
import os
import socket
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import uvicorn

from gsam.build.recipes import read_recipe
from gsam.dataset.report import tell
from gsam.dataset.signals import Interrupted
from gsam.errors import Hint, UsageError
from gsam.serve import connections
from gsam.serve.app import create_app
from gsam.serve.config import ServeConfig
from gsam.serve.engine import Engine
from gsam.serve.problems import LOG

LINGER = 0.5
"""Seconds that threads have after the last request."""
BACKLOG = 2048


class Server(uvicorn.Server):
    """A server that says when it listens.

    Args:
        config: As uvicorn has it.
        listening: Called when the first request could come.
    """

    def __init__(self, config: uvicorn.Config, listening: Callable[[], None]) -> None:
        super().__init__(config)
        self._listening = listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then call."""
        await super().startup(sockets)
        self._listening()


def listen_on(host: str, port: int) -> socket.socket:
    """Bind an address.

    Args:
        host: A name or an address.
        port: 0 for any port that is free.

    Raises:
        gsam.errors.UsageError: ``serve_address``: it is in use, not this machine's, or forbidden.
    """
    bare = host.strip("[]")
    opened = None
    try:
        family, kind, _, _, address = socket.getaddrinfo(bare, port, type=socket.SOCK_STREAM)[0]
        opened = socket.socket(family, kind)
        if os.name != "nt":  # there it would allow two servers
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(address)
        opened.listen(BACKLOG)  # here, so that a second server on this port fails at once
    except (OSError, UnicodeError) as error:
        if opened is not None:
            opened.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(
            f"cannot listen on {bare} port {port}: {reason}; --port 0 takes a free one", "serve_address"
        ) from None
    return opened


def address_of(listening: socket.socket) -> str:
    """Give the address of the page, with the port that the system chose."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def run(config: ServeConfig) -> None:
    """Serve until a signal comes.

    Prints a line when it listens and another when the models are ready.

    Args:
        config: What is served.

    Raises:
        gsam.errors.UsageError: As of `listen_on`, or there is no such recipe.
        gsam.dataset.signals.Interrupted: A signal came, and what was running is finished.
    """
    if not Path(config.pipeline).is_dir():
        read_recipe(config.pipeline)  # a misspelled name ends the command; a model that cannot be loaded does not
    listening = listen_on(config.host, config.port)
    address = address_of(listening)
    logging.basicConfig(format="gsam: %(message)s", level=logging.WARNING)
    LOG.setLevel(logging.INFO)  # that of others tells of backends that are not there
    app = create_app(config)
    _hush_when_ready(app.state.engine)
    settings = uvicorn.Config(app, log_config=None, log_level="warning", **connections.settings(config))
    server = Server(settings, lambda: tell(f"gsam: serving {config.pipeline} on {address}"))
    try:
        server.run([listening])
    except Interrupted as stop:
        _leave(stop)
    finally:
        listening.close()


def _hush_when_ready(engine: Engine) -> None:
    """Print warnings while models are loaded; later ones are about clients' words and images."""
    show = warnings.showwarning

    def shown(message: Warning | str, category: type[Warning], *arguments: Any, **options: Any) -> None:
        if not engine.ready and not issubclass(category, Hint):  # nothing is found in the image that warms
            show(message, category, *arguments, **options)

    warnings.showwarning = shown


def _leave(stop: Interrupted) -> NoReturn:
    """End by a signal, though a thread compiles or computes what nobody waits for any more.

    The interpreter would wait for such a thread, minutes perhaps.
    """
    until = time.monotonic() + LINGER
    while (busy := _busy()) and time.monotonic() < until:
        time.sleep(0.01)
    if busy:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(stop.code)
    raise stop


def _busy() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("gsam-")]
