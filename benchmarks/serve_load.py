"""Load and memory of the server: ``python -m benchmarks.serve_load [--requests 10000]``.

Starts ``gsam serve`` with nano, sends it words, clicks, bad and refused requests in turns over as
many connections, and writes ``benchmarks/pages/serve_load.md``: statuses, times, and the server's
memory as it went.  Then a thousand requests at once.  Exits with an error where a request was lost,
a status is none of the documented ones, or memory grew by more than ``--most-growth`` MB after the
first tenth.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import io
import json
import re
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.harness import machine
from benchmarks.harness.serve_storm import Counted, form, memory_of, request, storm, turns

PAGE = Path(__file__).parent / "pages" / "serve_load.md"
STATUSES = {"200", "201", "204", "400", "401", "403", "404", "405", "408", "413", "415", "422", "503", "504"}
"""Those that docs/serve.md tells of."""
PARTS = 10
AT_ONCE = 1000
MB = 1 << 20


def image(height: int = 240, width: int = 320) -> bytes:
    """A PNG of noise, about 230 kB."""
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(20).integers(0, 256, (height, width, 3), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def kinds_of(picture: bytes, session: str) -> dict[str, bytes]:
    """The requests that take turns."""
    words = form(picture, query="dog. pizza")
    click = json.dumps({"points": [[30, 40]], "labels": [1]}).encode()
    return {
        "words": request("POST", "/v1/segment", *words),
        "a click": request("POST", f"/v1/sessions/{session}/predict", click),
        "a session": request("POST", "/v1/sessions", *form(picture)),
        "half an image": request("POST", "/v1/segment", *form(picture[: len(picture) // 2], query="dog")),
        "no query": request("POST", "/v1/segment", *form(picture)),
        "no such session": request("POST", "/v1/sessions/x/predict", click),
        "no JSON": request("POST", "/v1/segment", b"{"),
        "another name": request("GET", "/v1/models").replace(b"Host: 127.0.0.1", b"Host: evil.example"),
        "26 MB, announced": request("POST", "/v1/segment", b"", "", f"Content-Length: {26 * MB}", "Connection: close"),
        "is it ready": request("GET", "/readyz"),
    }


def started(*more: str) -> tuple[subprocess.Popen[str], int]:
    """A server that is ready, and its port."""
    process = subprocess.Popen(
        [sys.executable, "-m", "gsam", "serve", "--port", "0", *more], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    for line in process.stderr:
        if found := re.search(r"http://127\.0\.0\.1:(\d+)/", line):
            break
    else:
        raise RuntimeError("the server has ended")
    threading.Thread(target=process.stderr.read, daemon=True).start()
    port, until = int(found[1]), time.monotonic() + 600
    while time.monotonic() < until:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz"):
                return process, port
        except OSError:
            time.sleep(0.2)
    raise RuntimeError("the server is not ready after ten minutes")


def session_of(port: int, picture: bytes) -> str:
    """A new session."""
    body, kind = form(picture)
    asked = urllib.request.Request(f"http://127.0.0.1:{port}/v1/sessions", body, {"Content-Type": kind})
    with urllib.request.urlopen(asked) as answer:
        return str(json.load(answer)["session"])


def measured(port: int, process: int, requests: int, clients: int) -> tuple[list[int], Counted, Counted]:
    """Memory after each part, the answers of all parts, and those of many at once."""
    picture = image()
    memory, whole = [memory_of(process)], Counted()
    for _ in range(PARTS):
        kinds = kinds_of(picture, session_of(port, picture))
        part = asyncio.run(storm(port, turns(kinds, requests // PARTS), clients))
        whole.statuses += part.statuses
        whole.seconds += part.seconds
        whole.unsaid += part.unsaid
        memory.append(memory_of(process))
    words = kinds_of(picture, "x")["words"]
    return memory, whole, asyncio.run(storm(port, [words] * AT_ONCE, AT_ONCE))


def problems_of(memory: list[int], answers: list[Counted], most: float) -> list[str]:
    """Each promise that was broken."""
    found = []
    for counted in answers:
        if strange := set(counted.statuses) - STATUSES:
            found.append(f"not documented: {', '.join(f'{s} ({counted.statuses[s]})' for s in sorted(strange))}")
        if counted.unsaid:
            found.append(f"{counted.unsaid} answers 503 without Retry-After")
    if (grown := (memory[-1] - memory[1]) / MB) > most:
        found.append(f"memory grew by {grown:.0f} MB after the first tenth, at most {most:g}")
    return found


def page(command: str, memory: list[int], whole: Counted, at_once: Counted) -> str:
    """The page as markdown."""

    def row(name: str, counted: Counted) -> str:
        statuses = ", ".join(f"{s}: {n:,}" for s, n in sorted(counted.statuses.items()))
        times = " | ".join(f"{1000 * counted.percentile(part):,.0f}" for part in (0.5, 0.99, 1.0))
        return f"| {name} | {sum(counted.statuses.values()):,} | {statuses} | {times} |"

    lines = [
        "# The server under load",
        "",
        f"Written by `{command}`, {datetime.date.today().isoformat()}, on {machine.processor()}; server",
        "and clients share it.",
        "Words, clicks, sessions, bad images and refused requests take turns.",
        "",
        "| | requests | statuses | p50 ms | p99 ms | longest ms |",
        "|---|---|---|---|---|---|",
        row("in turns", whole),
        row("words, all at once", at_once),
        "",
        "| requests answered | " + " | ".join(f"{10 * i} %" for i in range(len(memory))) + " |",
        "|---|" + "---|" * len(memory),
        "| the server's memory, MB | " + " | ".join(f"{m / MB:,.0f}" for m in memory) + " |",
        "",
    ]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--most-growth", type=float, default=64.0, help="MB")
    parser.add_argument("--page", type=Path, default=PAGE)
    given: Any = parser.parse_args(arguments)
    process, port = started("--deadline", "300", "--sessions", "16")
    try:
        memory, whole, at_once = measured(port, process.pid, given.requests, given.clients)
    finally:
        process.terminate()
        process.wait(60)
    command = f"python -m benchmarks.serve_load --requests {given.requests} --clients {given.clients}"
    text = page(command, memory, whole, at_once)
    print(text)
    given.page.write_text(text, encoding="utf-8")
    if found := problems_of(memory, [whole, at_once], given.most_growth):
        raise SystemExit("; ".join(found))


if __name__ == "__main__":
    main()
