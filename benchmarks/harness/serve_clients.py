"""Clients of `benchmarks.serve`, in a process of their own, with the standard library alone.

``python -m benchmarks.harness.serve_clients TASK JSON`` prints one line of JSON: the seconds of
every request, those of all together, and how many answers had each status.
"""

from __future__ import annotations

import collections
import http.client
import json
import sys
import threading
import time
import urllib.parse
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Answer = dict[str, Any]
Request = tuple[str, str, bytes, dict[str, str]]
"""Method, path, body and headers."""
PATIENCE = 600.0
"""Seconds that an answer may take."""


def click(address: str, image: str, points: list[list[float]], clients: int, count: int) -> Answer:
    """Click ``count`` times from each of ``clients``, one session each, on one point at a time."""
    body, kind = form(Path(image).read_bytes())
    sessions = []
    with_image = ("POST", "/v1/sessions", body, {"Content-Type": kind})
    for _ in range(clients):
        status, data = asked(connected(address), with_image)
        if status != 201:
            raise RuntimeError(f"no session: {status} {data[:300]!r}")
        sessions.append(json.loads(data)["session"])

    def request(client: int, number: int) -> Request:
        asked = {"points": [points[(client + number) % len(points)]], "labels": [1]}
        path = f"/v1/sessions/{sessions[client]}/predict"
        return "POST", path, json.dumps(asked).encode(), {"Content-Type": "application/json"}

    return together(address, clients, count, request)


def words(address: str, folder: str, query: str, clients: int) -> Answer:
    """Ask for words on every image of a folder once, by so many clients."""
    bodies = [form(path.read_bytes(), query=query) for path in sorted(Path(folder).iterdir())]
    count = len(bodies) // clients

    def request(client: int, number: int) -> Request:
        body, kind = bodies[client * count + number]
        return "POST", "/v1/segment", body, {"Content-Type": kind}

    return {**together(address, clients, count, request), "images": clients * count}


def together(address: str, clients: int, count: int, request: Callable[[int, int], Request]) -> Answer:
    """Let clients ask at once, each one thing after the other on a connection that stays open.

    Args:
        address: Of the server.
        clients: How many.
        count: Requests of each.
        request: Makes one, by the number of the client and of its request.
    """
    begin = threading.Barrier(clients + 1)
    seconds: list[list[float]] = [[] for _ in range(clients)]
    statuses: collections.Counter[str] = collections.Counter()

    def work(client: int) -> None:
        connection = connected(address)
        begin.wait()
        for number in range(count):
            made = request(client, number)
            began = time.perf_counter()
            try:
                status, _ = asked(connection, made)
            except (OSError, http.client.HTTPException) as error:
                statuses[type(error).__name__] += 1
                connection = connected(address)
                continue
            seconds[client].append(time.perf_counter() - began)
            statuses[str(status)] += 1
        connection.close()

    threads = [threading.Thread(target=work, args=(client,)) for client in range(clients)]
    for thread in threads:
        thread.start()
    begin.wait()
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    all_of_them = time.perf_counter() - began
    flat = [one for some in seconds for one in some]
    return {"seconds": flat, "together": all_of_them, "statuses": dict(statuses)}


def connected(address: str) -> http.client.HTTPConnection:
    """A connection to a server."""
    parts = urllib.parse.urlsplit(address)
    return http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=PATIENCE)


def asked(connection: http.client.HTTPConnection, request: Request) -> tuple[int, bytes]:
    """The status and the body of an answer."""
    connection.request(*request)
    with connection.getresponse() as answer:
        return answer.status, answer.read()


def form(image: bytes, **fields: str) -> tuple[bytes, str]:
    """The body of a form with an image, and its content type."""
    boundary = uuid.uuid4().hex
    parts = [(f'name="{name}"', value.encode()) for name, value in fields.items()]
    parts.append(('name="image"; filename="image"', image))
    body = b"".join(
        f"--{boundary}\r\nContent-Disposition: form-data; {head}\r\n\r\n".encode() + data + b"\r\n"
        for head, data in parts
    )
    return body + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


def percentile(seconds: Sequence[float], share: float) -> float:
    """The value that so large a share of all does not exceed."""
    ordered = sorted(seconds)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


TASKS = {task.__name__: task for task in (click, words)}


if __name__ == "__main__":
    print(json.dumps(TASKS[sys.argv[1]](**json.loads(sys.argv[2]))))
