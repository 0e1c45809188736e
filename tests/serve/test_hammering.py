"""Many requests at once, and many one after another, to a server that listens."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import Iterator

import pytest

pytest.importorskip("fastapi")

from benchmarks.harness.serve_storm import LOST, form, memory_of, request, storm, turns
from benchmarks.serve_load import STATUSES, kinds_of, problems_of, session_of
from benchmarks.serve_load import image as noise
from gsam.serve.app import create_app
from gsam.serve.config import ServeConfig
from gsam.serve.engine import Engine
from tests.serve.listening import Raw, head, listening
from tests.serve.tiny import tiny

QUEUE = 8
MB = 1 << 20


@pytest.fixture(scope="module")
def port(engine: Engine) -> Iterator[int]:
    """A server with a short queue."""
    config = ServeConfig(queue=QUEUE, deadline=300.0, max_sessions=4)
    with listening(create_app(config, engine=engine), config) as found:
        yield found


@pytest.mark.long
def test_a_thousand_requests_at_once_are_all_answered(port: int, small: bytes) -> None:
    words = request("POST", "/v1/segment", *form(small, query="dog"))
    counted = asyncio.run(storm(port, [words] * 1000, 1000))
    assert sum(counted.statuses.values()) == 1000
    assert set(counted.statuses) == {"200", "503"}
    assert counted.statuses["200"] >= QUEUE, "those in the queue are not lost"
    assert counted.statuses["503"] >= 1
    assert counted.unsaid == 0, "each 503 says when to come again"


@pytest.mark.long
def test_requests_of_every_kind_are_answered_as_documented(port: int) -> None:
    picture = noise(48, 64)
    kinds = kinds_of(picture, session_of(port, picture))
    counted = asyncio.run(storm(port, turns(kinds, 10 * len(kinds)), 20))
    assert sum(counted.statuses.values()) == 10 * len(kinds)
    assert set(counted.statuses) <= STATUSES
    assert {"200", "400", "403", "404", "413", "422"} <= set(counted.statuses)
    assert counted.unsaid == 0


@pytest.mark.long
def test_memory_is_flat(port: int) -> None:
    """Bodies alone would be 90 MB, if they stayed."""
    picture = noise(480, 640)

    def ask(count: int) -> None:
        kinds = kinds_of(picture, session_of(port, picture))
        counted = asyncio.run(storm(port, turns(kinds, count), 4))
        assert LOST not in counted.statuses
        gc.collect()

    ask(60)
    before = memory_of()
    ask(240)
    assert memory_of() - before < 40 * MB


@pytest.mark.slow
def test_memory_is_flat_for_long(port: int) -> None:
    picture = noise()
    kinds = kinds_of(picture, session_of(port, picture))
    asyncio.run(storm(port, turns(kinds, 500), 16))
    before = memory_of()
    asyncio.run(storm(port, turns(kinds, 5000), 16))
    assert memory_of() - before < 64 * MB


def test_floods_of_what_is_refused_are_answered() -> None:
    """Without models: the gate alone."""
    config = ServeConfig(max_body=10_000, connections=64, token="right")
    good = "Authorization: Bearer right"
    kinds = {
        "fine": request("POST", "/named", json.dumps({"name": "x"}).encode(), "application/json", good),
        "no token": request("POST", "/named", b"{}"),
        "large": request("POST", "/size", bytes(20_000), "text/plain", good),
        "another site": request("POST", "/size", b"x", "text/plain", good, "Origin: null"),
        "no JSON": request("POST", "/named", b"{", "application/json", good),
        "an error of ours": request("POST", "/boom", b"x", "text/plain", good),
    }
    with listening(tiny(config), config) as port:
        counted = asyncio.run(storm(port, turns(kinds, 300), 48))
        assert counted.statuses == dict.fromkeys(("200", "401", "413", "403", "422", "500"), 50)
        crowd = asyncio.run(storm(port, [kinds["fine"]] * 300, 90))
    assert sum(crowd.statuses.values()) == 300
    assert set(crowd.statuses) <= {"200", "503"}
    assert crowd.unsaid == 0


@pytest.mark.long
def test_slow_clients_do_not_keep_others_waiting() -> None:
    config = ServeConfig(head_timeout=30.0, read_timeout=30.0)
    with listening(tiny(config), config) as port:
        slow = [Raw(port).send(head("/size", "Content-Length: 5000") + b"x") for _ in range(100)]
        slow += [Raw(port).send(head("/size")[:20]) for _ in range(100)]
        fine = request("POST", "/size", b"x" * 100, "text/plain")
        counted = asyncio.run(storm(port, [fine] * 200, 8, 20.0))
        for raw in slow:
            raw.socket.close()
    assert counted.statuses == {"200": 200}


def test_what_breaks_a_promise_is_told() -> None:
    from benchmarks.harness.serve_storm import Counted

    fine, bad = Counted(), Counted()
    fine.statuses.update({"200": 3, "503": 1})
    bad.statuses.update({"200": 3, "500": 1, LOST: 2})
    bad.unsaid = 1
    assert problems_of([MB, 2 * MB, 3 * MB], [fine], 2.0) == []
    assert problems_of([MB, 2 * MB, 9 * MB], [fine, bad], 2.0) == [
        "not documented: 500 (1), lost (2)",
        "1 answers 503 without Retry-After",
        "memory grew by 7 MB after the first tenth, at most 2",
    ]
