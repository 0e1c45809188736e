"""Many requests at once over plain sockets: their statuses, their times, and those lost."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import itertools
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

LOST = "lost"
"""In place of a status: the connection ended without an answer."""


@dataclasses.dataclass
class Counted:
    """The answers to many requests."""

    statuses: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    seconds: list[float] = dataclasses.field(default_factory=list)
    unsaid: int = 0
    """Answers 503 that do not say when to come again."""

    def percentile(self, part: float) -> float:
        """Seconds within which this part of the requests was answered."""
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else 0.0


def request(method: str, path: str, body: bytes = b"", kind: str = "application/json", *lines: str) -> bytes:
    """The bytes of a request."""
    head = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *lines]
    if body:
        head += [f"Content-Type: {kind}", f"Content-Length: {len(body)}"]
    return "\r\n".join([*head, "", ""]).encode() + body


def form(data: bytes, **fields: str) -> tuple[bytes, str]:
    """The body of a form with a file ``image``, and its type."""
    mark = "gsam-storm"
    parts = [f'--{mark}\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n' for k, v in fields.items()]
    parts.append(f'--{mark}\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n\r\n')
    return "".join(parts).encode() + data + f"\r\n--{mark}--\r\n".encode(), f"multipart/form-data; boundary={mark}"


async def storm(port: int, requests: Iterable[bytes], clients: int, seconds: float = 300.0) -> Counted:
    """Send requests, each as soon as one of the clients is free.

    Args:
        port: Of 127.0.0.1.
        requests: In order.
        clients: Connections at a time; each stays open for as long as the server lets it.
        seconds: Until a request counts as lost.
    """
    counted, waiting = Counted(), iter(requests)
    await asyncio.gather(*(_client(port, waiting, counted, seconds) for _ in range(clients)))
    return counted


def turns(kinds: dict[str, bytes], count: int) -> Iterator[bytes]:
    """So many requests, one kind after another."""
    return itertools.islice(itertools.cycle(kinds.values()), count)


def memory_of(process: int | str = "self") -> int:
    """Resident bytes of a process."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise LookupError("no memory is told here")


async def _client(port: int, waiting: Iterator[bytes], counted: Counted, seconds: float) -> None:
    stream: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
    for text in waiting:
        began = time.perf_counter()
        try:
            if stream is None:
                stream = await asyncio.open_connection("127.0.0.1", port)
            status, headers = await asyncio.wait_for(_ask(stream, text), seconds)
        except (OSError, EOFError, ValueError, TimeoutError):
            status, headers = LOST, {"connection": "close"}
        counted.statuses[status] += 1
        counted.seconds.append(time.perf_counter() - began)
        counted.unsaid += status == "503" and "retry-after" not in headers
        if headers.get("connection") == "close" and stream is not None:
            stream[1].close()
            stream = None
    if stream is not None:
        stream[1].close()


async def _ask(stream: tuple[asyncio.StreamReader, asyncio.StreamWriter], text: bytes) -> tuple[str, dict[str, str]]:
    reader, writer = stream
    writer.write(text)
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
    await reader.readexactly(int(headers.get("content-length", "0")))
    return head[0].split()[1], headers
