"""``gsam serve`` as a command: options, addresses, the lines that it prints, and its end."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")

from gsam.errors import Hint
from gsam.serve import running
from gsam.serve.config import ServeConfig
from tests.helpers.command import Gsam, in_process

ROOT = Path(__file__).parents[2]
FIXED = {"max_query", "max_queries", "max_prompts", "head_timeout"}
"""Settings without an option."""
ENV = {**os.environ, "PYTHONPATH": str(ROOT)}
FAKE = """
import asyncio, threading, time
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from gsam import cli
from gsam.errors import Hint
from gsam.serve import running

async def slow(request):
    await asyncio.sleep(1)
    return PlainTextResponse("done")

async def busy(request):
    threading.Thread(target=time.sleep, args=(300,), name="gsam-words").start()
    return PlainTextResponse("begun")

def app(config):
    made = Starlette(routes=[Route("/slow", slow), Route("/busy", busy)])
    made.state.engine = None
    return made

running.create_app, running._hush_when_ready = app, lambda engine: None
cli.main()
"""
"""``gsam serve`` without models: one request takes a second, another leaves a thread that works."""


@pytest.fixture
def gsam(monkeypatch: pytest.MonkeyPatch) -> Gsam:
    monkeypatch.delenv("GSAM_TOKEN", raising=False)
    return in_process(monkeypatch, "serve")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[ServeConfig]:
    """What the command would have served."""
    found: list[ServeConfig] = []
    monkeypatch.setattr(running, "run", found.append)
    return found


# Options


def test_without_options_it_serves_nano_to_this_machine(gsam: Gsam, asked: list[ServeConfig]) -> None:
    assert gsam() == 0
    assert asked == [ServeConfig()]
    assert (asked[0].pipeline, asked[0].host, asked[0].port) == ("nano", "127.0.0.1", 8000)


def test_every_setting_has_an_option(gsam: Gsam, asked: list[ServeConfig]) -> None:
    line = """-p grounded_sam --predictor sam_vit_b --segmenter sam_hq_vit_b --device cpu --host 0.0.0.0 --port 0 --token t
    --insecure --name a.example --name b --root-path /gsam --allow-host c --no-page --label-studio --label-studio-url http://ls
    --label-studio-token s --cvat --cvat-labels dog --cvat-from 10.0.0.0/8
    --x-anylabeling --queue 3 --batch 2 --batch-wait 10 --deadline 7 --read-timeout 8
    --connections 9 --max-body 1 --max-held 2 --max-video-body 1.5 --max-pixels 11 --max-frames 12 --videos 13 --sessions 14
    --session-memory 15 --session-age 16"""
    assert gsam(*line.split()) == 0
    wanted = ServeConfig(
        pipeline="grounded_sam", predictor="sam_vit_b", given={"segmenter": "sam_hq_vit_b", "device": "cpu"},
        host="0.0.0.0", port=0, token="t", insecure=True, names=("a.example", "b"), root_path="/gsam", allow_hosts=("c",),
        page=False, label_studio=True, label_studio_url="http://ls", label_studio_token="s", cvat=True, cvat_query="dog",
        cvat_from=("10.0.0.0/8",), x_anylabeling=True,
        queue=3, batch=2, batch_wait=0.01, deadline=7, read_timeout=8, connections=9, max_body=1 << 20, max_held=2 << 20,
        max_video_body=3 << 19, max_pixels=11, max_frames=12, max_videos=13, max_sessions=14, max_session_bytes=15 << 20,
        session_age=16,
    )  # fmt: skip
    assert asked == [wanted]
    same = {
        f.name for f in dataclasses.fields(ServeConfig) if getattr(wanted, f.name) == getattr(ServeConfig(), f.name)
    }
    assert same <= FIXED


def test_the_token_comes_from_the_environment_and_leaves_it(
    gsam: Gsam, asked: list[ServeConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GSAM_TOKEN", "from-outside")
    assert gsam("--host", "0.0.0.0") == 0
    assert asked[0].token == "from-outside"
    assert "GSAM_TOKEN" not in os.environ
    monkeypatch.setenv("GSAM_TOKEN", "")  # as container files write what is not there
    assert gsam() == 0
    assert asked[1].token is None


# One line and exit code 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--host", "0.0.0.0"], r"0.0.0.0 can be reached from other machines: give a token .* \[serve_public\]"),
        (["-p", "grounded_sma"], r"no pipeline 'grounded_sma'; did you mean 'grounded_sam'"),
        (["--host", "203.0.113.9", "--insecure"], r"cannot listen on 203\.0\.113\.9 port 8000: .* \[serve_address\]"),
        (["--host", "a..b", "--insecure"], r"cannot listen on a\.\.b port 8000: .* \[serve_address\]"),
    ],
)
def test_an_error_is_one_line(gsam: Gsam, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    assert gsam(*arguments) == 2
    out, error = capsys.readouterr()
    assert (out, len(error.splitlines())) == ("", 1)
    assert re.match(f"gsam: {said}", error)


def test_a_port_in_use(gsam: Gsam, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert gsam("--port", port) == 2
    error = capsys.readouterr().err
    assert error.startswith(
        f"gsam: cannot listen on 127.0.0.1 port {port}: Address already in use; --port 0 takes a free"
    )
    assert len(error.splitlines()) == 1


def test_without_the_extra_it_says_how_to_get_it(
    gsam: Gsam, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec

    def find(name: str, package: str | None = None) -> Any:
        return None if name in ("uvicorn", "python_multipart") else found(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", find)
    assert gsam() == 2
    wanted = "gsam: the server needs uvicorn and python-multipart: pip install 'gsam-jax[serve]' [serve_extra]\n"
    assert capsys.readouterr().err == wanted


# Addresses


def test_an_address_has_the_port_that_was_free() -> None:
    with running.listen_on("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]
        assert port > 0
        assert running.address_of(listening) == f"http://127.0.0.1:{port}/"


def test_an_address_of_the_sixth_version_has_brackets() -> None:
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    try:
        listening = running.listen_on("[::1]", 0)
    except Exception as error:
        pytest.skip(f"this machine has no ::1: {error}")
    with listening:
        assert running.address_of(listening).startswith("http://[::1]:")


def test_warnings_about_requests_are_not_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    monkeypatch.setattr(warnings, "showwarning", lambda message, *_, **__: shown.append(str(message)))
    engine = type("Engine", (), {"ready": False})()
    running._hush_when_ready(engine)  # type: ignore[arg-type]
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("of a model", stacklevel=1)
        warnings.warn("nothing was found", Hint, stacklevel=1)
        engine.ready = True
        warnings.warn("a client's words", stacklevel=1)
    assert shown == ["of a model"]


# As a process


class Server:
    """A server in a process of its own; ``said`` has its lines so far."""

    def __init__(self, *command: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, *command, "serve", "--port", "0"], env=ENV, stderr=subprocess.PIPE, text=True
        )
        self.said: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.address = self.wait_for(r"gsam: serving nano on (http://127\.0\.0\.1:\d+)/$").group(1)

    def wait_for(self, pattern: str, seconds: float = 600) -> re.Match[str]:
        """Wait for a line, and give its match."""
        until = time.monotonic() + seconds
        while True:
            for line in list(self.said):
                if found := re.match(pattern, line):
                    return found
            assert self.process.poll() is None, self.said
            assert time.monotonic() < until, self.said
            time.sleep(0.02)

    def get(self, path: str) -> tuple[int, bytes]:
        """The status and body of an answer."""
        try:
            with urllib.request.urlopen(self.address + path, timeout=60) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def end(self, number: int) -> int:
        """Send a signal, and give the exit code."""
        self.process.send_signal(number)
        code = self.process.wait(120)
        self._reader.join(10)
        return code

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line.rstrip("\n"))


@pytest.fixture
def servers() -> Iterator[list[Server]]:
    """Those of a test, which end with it."""
    made: list[Server] = []
    yield made
    for server in made:
        if server.process.poll() is None:
            server.process.kill()
            server.process.wait()


@pytest.mark.long
def test_it_is_there_before_it_is_ready_and_ends_with_ctrl_c(servers: list[Server]) -> None:
    server = Server("-m", "gsam")
    servers.append(server)
    assert server.get("/livez")[0] == 200
    server.wait_for("gsam: ready")
    status, body = server.get("/readyz")
    assert (status, json.loads(body)) == (200, {"status": "ready"})
    assert server.end(signal.SIGINT) == 130
    assert [line for line in server.said if not line.startswith("warning: ")] == [
        f"gsam: serving nano on {server.address}/",
        "gsam: ready",
    ]


@pytest.mark.long
def test_it_ends_while_models_are_loaded(servers: list[Server]) -> None:
    server = Server("-m", "gsam")
    servers.append(server)
    assert server.get("/readyz")[0] == 503
    assert server.end(signal.SIGTERM) == 143
    assert not [line for line in server.said if "Traceback" in line or "Fatal" in line]


@pytest.mark.long
def test_a_request_that_runs_is_finished(servers: list[Server]) -> None:
    server = Server("-c", FAKE)
    servers.append(server)
    found: list[tuple[int, bytes]] = []
    client = threading.Thread(target=lambda: found.append(server.get("/slow")))
    client.start()
    time.sleep(0.4)
    assert server.end(signal.SIGTERM) == 143
    client.join(30)
    assert found == [(200, b"done")]


@pytest.mark.long
def test_a_thread_that_nobody_waits_for_does_not_keep_it(servers: list[Server]) -> None:
    server = Server("-c", FAKE)
    servers.append(server)
    assert server.get("/busy") == (200, b"begun")
    began = time.monotonic()
    assert server.end(signal.SIGINT) == 130
    assert time.monotonic() - began < 30  # the thread works for 300 s
