"""Other programs beside ``gsam serve``: installed, started, asked; what happened is told."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

PATIENCE = 900.0
"""Seconds until a server has to have started."""


class Wrong(Exception):
    """Something that is not as it has to be."""


@dataclasses.dataclass
class Api:
    """A server, asked in JSON."""

    url: str
    token: str | None = None

    def __call__(self, path: str, body: Any = None, *, raw: bool = False, kind: str = "application/json") -> Any:
        """Ask; with a body it is a POST."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Authorization": f"Token {self.token}"} if self.token else {}
        if data is not None:
            headers["Content-Type"] = kind
        try:
            with urllib.request.urlopen(urllib.request.Request(self.url + path, data, headers), timeout=120) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            raise Wrong(f"{path}: {error.code} {error.read()[:300]!r}") from None
        return text if raw else json.loads(text or b"null")

    def upload(self, path: str, file: Path) -> Any:
        """Send a file as a form."""
        line = uuid.uuid4().hex
        head = f'--{line}\r\nContent-Disposition: form-data; name="file"; filename="{file.name}"\r\n'
        body = f"{head}Content-Type: image/png\r\n\r\n".encode() + file.read_bytes() + f"\r\n--{line}--\r\n".encode()
        return self(path, body, kind=f"multipart/form-data; boundary={line}")


class Rows:
    """The steps, printed as they end."""

    def __init__(self) -> None:
        self.failed = 0

    def __call__(self, name: str, step: Callable[[], tuple[str, Any]]) -> Any:
        """Run a step, which gives what to print and its result."""
        began = time.monotonic()
        try:
            text, found = step()
        except Exception as error:
            self.failed += 1
            text, found = f"**wrong**: {type(error).__name__}: {str(error)[:400]}", None
        print(f"| {name} | {text} | {time.monotonic() - began:.1f} s |", flush=True)
        return found


@contextlib.contextmanager
def ended(running: list[subprocess.Popen[bytes]]) -> Iterator[list[subprocess.Popen[bytes]]]:
    """End all processes after the block."""
    try:
        yield running
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait(30)


def plain() -> dict[str, str]:
    """The environment of a program that has nothing to do with this checkout."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def installed(venv: Path, package: str) -> tuple[str, Path]:
    """The Python of an environment with a package, made if it is not there."""
    python = venv / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    subprocess.run([python, "-m", "pip", "install", "-q", package], check=True, env=plain(), stdout=sys.stderr)
    listed = subprocess.run(
        [python, "-m", "pip", "list", "--format=freeze"], check=True, env=plain(), capture_output=True
    )
    return f"{len(listed.stdout.splitlines())} packages", python


def start_gsam(
    gsam: Api,
    arguments: list[str],
    environment: Mapping[str, str],
    work: Path,
    running: list[subprocess.Popen[bytes]],
) -> tuple[str, bool]:
    """Start ``gsam serve`` at an address, and wait until it is ready."""
    command = [sys.executable, "-m", "gsam", "serve", *arguments, "--port", gsam.url.rpartition(":")[2]]
    log = work / f"gsam{len(running)}.log"
    with log.open("wb") as file:
        running.append(subprocess.Popen(command, env={**os.environ, **environment}, stdout=file, stderr=file))
    wait(running[-1], lambda: gsam("/readyz"), log)
    return "ready", True


def wait(process: subprocess.Popen[bytes], ask: Callable[[], Any], log: Path) -> None:
    """Wait until a server answers."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        check(process.poll() is None, f"it ended: {log.read_text(errors='replace')[-400:]}")
        try:
            ask()
            return
        except (Wrong, OSError):
            time.sleep(0.5)
    raise Wrong(f"no answer within {PATIENCE:g} s")


def check(fine: bool, otherwise: str) -> None:
    """Raise `Wrong` unless something is fine."""
    if not fine:
        raise Wrong(otherwise)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
