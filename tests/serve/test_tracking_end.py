"""How following over HTTP ends, in every way, with work that is none."""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("av")

import httpx
from fastapi.testclient import TestClient

from gsam.serve import events, tracking
from gsam.serve.app import create_app
from gsam.serve.config import ServeConfig
from gsam.serve.engine import Engine
from gsam.serve.problems import ServeError
from gsam.serve.tracking import AHEAD, Job, Jobs
from tests.serve import clips
from tests.serve.listening import listening

Clients = Callable[..., TestClient]


class Work:
    """Stands for following: frames without end, as large as wanted."""

    def __init__(self, size: int = 10, seconds: float = 0.005, frames: int = 10**9) -> None:
        self.size, self.seconds, self.frames = size, seconds, frames
        self.done = 0
        self.closed = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()
        self.waits = threading.Event()

    def __call__(self, *_: object) -> Iterator[tuple[str, dict[str, Any]]]:
        self.closed.clear()
        try:
            yield "start", {"frames": self.frames}
            for index in range(self.frames):
                if not self.go_on.is_set():
                    self.waits.set()
                    self.go_on.wait(20)
                time.sleep(self.seconds)
                self.done += 1
                yield "frame", {"index": index, "pad": "x" * self.size}
        finally:
            self.closed.set()


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    """In place of following words."""
    found = Work()
    monkeypatch.setattr("gsam.serve.v1.videos.by_words", found)
    return found


@pytest.fixture
def server(engine: Engine) -> Iterator[httpx.Client]:
    """A client of a server that really listens."""
    config = ServeConfig()
    app = create_app(config, engine=engine)
    with listening(app, config) as port, httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        client.app = app  # type: ignore[attr-defined]
        yield client


def gone(server: Any) -> bool:
    """Whether no work goes on any more, soon."""
    until = time.monotonic() + 10
    while len(server.app.state.jobs) and time.monotonic() < until:
        time.sleep(0.01)
    return not len(server.app.state.jobs)


def test_events_come_while_it_works(server: httpx.Client, work: Work) -> None:
    path = clips.uploaded(server, clips.plain(2))
    with server.stream("POST", f"{path}/track", json={"query": "dog"}) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-store"
        assert "content-length" not in answer.headers
        coming = clips.events(answer.iter_lines())
        assert next(coming)[0] == "start"
        assert [next(coming)[1]["index"] for _ in range(5)] == [0, 1, 2, 3, 4]
        assert not work.closed.is_set()
        # Another cannot begin in this video, and the video is not forgotten.
        answer = server.post(f"{path}/track", json={"query": "dog"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "busy_video")
        assert server.app.state.videos.find(path.rpartition("/")[2]).users == 1  # type: ignore[attr-defined]


def test_a_reader_that_leaves_ends_the_work(server: httpx.Client, work: Work) -> None:
    path = clips.uploaded(server, clips.plain(2))
    with server.stream("POST", f"{path}/track", json={"query": "dog"}) as answer:
        lines = answer.iter_lines()
        next(lines)
    assert work.closed.wait(10)
    assert gone(server)
    assert server.app.state.videos.find(path.rpartition("/")[2]).users == 0  # type: ignore[attr-defined]
    work.frames = 2
    assert [kind for kind, _ in clips.followed(server, path, query="dog")] == ["start", "frame", "frame", "end"]


def test_delete_ends_the_work(server: httpx.Client, work: Work) -> None:
    path = clips.uploaded(server, clips.plain(2))
    with server.stream("POST", f"{path}/track", json={"query": "dog"}) as answer:
        coming = clips.events(answer.iter_lines())
        next(coming)
        assert server.delete(f"{path}/track").status_code == 204
        assert work.closed.is_set()  # by the answer it has ended
        *_, (kind, fields) = coming
    assert (kind, fields["code"]) == ("error", "cancelled")
    assert server.delete(f"{path}/track").status_code == 204  # nothing to cancel
    work.frames = 1
    assert clips.followed(server, path, query="dog")[-1] == ("end", {"frames": 1})


def test_one_that_was_cancelled_is_waited_for(server: httpx.Client, work: Work) -> None:
    path = clips.uploaded(server, clips.plain(2))
    with server.stream("POST", f"{path}/track", json={"query": "dog"}) as answer:
        lines = answer.iter_lines()
        next(lines)
        work.go_on.clear()  # as in a frame that takes long
        assert work.waits.wait(10)
    job = server.app.state.jobs.of(path.rpartition("/")[2])  # type: ignore[attr-defined]
    until = time.monotonic() + 10
    while not job.cancelled and time.monotonic() < until:
        time.sleep(0.01)
    threading.Timer(0.2, work.go_on.set).start()
    work.frames = 1
    assert clips.followed(server, path, query="dog")[-1] == ("end", {"frames": 1})


def test_forgetting_the_video_ends_the_work(server: httpx.Client, work: Work) -> None:
    path = clips.uploaded(server, clips.plain(2))
    place = server.app.state.videos.find(path.rpartition("/")[2]).place  # type: ignore[attr-defined]
    with server.stream("POST", f"{path}/track", json={"query": "dog"}) as answer:
        lines = answer.iter_lines()
        next(lines)
        assert server.delete(path).status_code == 204
        assert work.closed.is_set()
        assert not place.exists()
    assert server.get(path).status_code == 404


def test_the_end_of_the_server_ends_the_work(engine: Engine, work: Work) -> None:
    config = ServeConfig()
    app = create_app(config, engine=engine)
    with listening(app, config) as port, httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        path = clips.uploaded(client, clips.plain(2))
        place = app.state.videos.find(path.rpartition("/")[2]).place
        with client.stream("POST", f"{path}/track", json={"query": "dog"}) as answer:
            lines = answer.iter_lines()
            next(lines)
    assert work.closed.wait(10)
    assert not place.exists()


def test_some_videos_at_a_time(server: httpx.Client, work: Work) -> None:
    paths = [clips.uploaded(server, clips.plain(2)) for _ in range(tracking.MOST + 1)]
    with (
        server.stream("POST", f"{paths[0]}/track", json={"query": "dog"}) as first,
        server.stream("POST", f"{paths[1]}/track", json={"query": "dog"}) as second,
    ):
        lines = [first.iter_lines(), second.iter_lines()]  # one that is let go of closes its connection
        assert [next(one) for one in lines] == ["event: start"] * 2
        refused = server.post(f"{paths[2]}/track", json={"query": "dog"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "busy")
        assert int(refused.headers["retry-after"]) > 0
        server.delete(f"{paths[0]}/track")
        work.frames = 1
        assert clips.followed(server, paths[2], query="dog")[-1][0] == "end"


def test_a_reader_that_is_slow_makes_the_work_wait(server: httpx.Client, work: Work) -> None:
    work.size, work.seconds = 1 << 18, 0.0
    path = clips.uploaded(server, clips.plain(2))
    with server.stream("POST", f"{path}/track", json={"query": "dog"}) as answer:
        lines = answer.iter_lines()
        next(lines)
        before = -1
        while before != work.done:
            before = work.done
            time.sleep(0.3)
        assert work.done < 100  # of 256 KB each: what the sockets hold, and the queue
        coming = clips.events(itertools.chain(["event: start"], lines))
        assert [fields["index"] for _, fields in itertools.islice(coming, 1, 150)] == list(range(149))  # none is lost


def test_a_reader_that_stops_is_left(server: httpx.Client, work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "PATIENCE", 0.2)
    monkeypatch.setattr(tracking, "PATIENCE", 0.3)
    work.size, work.seconds = 1 << 18, 0.0
    path = clips.uploaded(server, clips.plain(2))
    with server.stream("POST", f"{path}/track", json={"query": "dog"}) as answer:
        lines = answer.iter_lines()
        next(lines)
        assert work.closed.wait(10)
        assert gone(server)


def test_the_first_event_has_a_deadline(client_of: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
    leave = threading.Event()

    def slow(*_: object) -> Iterator[tuple[str, dict[str, Any]]]:
        leave.wait(20)
        yield "start", {}

    monkeypatch.setattr("gsam.serve.v1.videos.by_words", slow)
    client = client_of(deadline=0.3)
    path = clips.uploaded(client, clips.plain(2))
    answer = client.post(f"{path}/track", json={"query": "dog"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "deadline")
    leave.set()
    assert gone(client)
    # And the whole has none.
    monkeypatch.setattr("gsam.serve.v1.videos.by_words", Work(seconds=0.25, frames=3))
    assert clips.followed(client, path, query="dog")[-1] == ("end", {"frames": 3})


def test_errors_before_and_after_the_start(client_of: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> Iterator[tuple[str, dict[str, Any]]]:
        if early:
            raise ServeError(422, "no_good", "it does not work")
        yield "start", {}
        raise KeyError("secret of the server")

    monkeypatch.setattr("gsam.serve.v1.videos.by_words", broken)
    client = client_of()
    path = clips.uploaded(client, clips.plain(2))
    early = True
    assert client.post(f"{path}/track", json={"query": "dog"}).json()["error"]["code"] == "no_good"
    early = False
    kind, fields = clips.followed(client, path, query="dog")[-1]
    assert (kind, fields["code"]) == ("error", "internal")
    assert "secret" not in json.dumps(fields)


def test_the_queue_is_bounded() -> None:
    """Without a reader the thread stops after so many events."""

    async def run() -> None:
        work = Work(seconds=0.0)
        jobs = Jobs()
        job = await jobs.begin("video", work, lambda: lambda: None)
        await asyncio.sleep(0.3)
        assert 0 < work.done <= AHEAD
        assert (await job.coming() or b"").startswith(b"event: start\n")
        for _ in range(40):
            await job.coming()
        await asyncio.sleep(0.1)
        assert 40 <= work.done <= 40 + AHEAD + 1  # and one in the thread's hand
        jobs.close()
        assert not job.thread.is_alive()
        assert work.closed.is_set()

    asyncio.run(run())


def test_comments_keep_a_connection() -> None:
    async def run() -> list[bytes]:
        slow = iter([0.0, 0.25, 0.0])

        async def coming() -> bytes | None:
            seconds = next(slow, None)
            if seconds is None:
                return None
            await asyncio.sleep(seconds)
            return b"event"

        return [chunk async for chunk in events.pinged(coming, 0.1)]

    found = asyncio.run(run())
    assert found == [b"event", events.PING, events.PING, b"event", b"event"]
    assert events.PING.startswith(b":")
    assert events.PING.endswith(b"\n\n")
    assert events.PING_EVERY == 15


def test_an_event_is_one_line_of_data() -> None:
    told = events.event("frame", {"label": "a\nb\r\n\ndata: c", "n": 1.5}).decode()
    first, second, *rest = told.split("\n")
    assert first == "event: frame"
    assert json.loads(second.removeprefix("data: ")) == {"label": "a\nb\r\n\ndata: c", "n": 1.5}
    assert rest == ["", ""]
    with pytest.raises(ValueError, match="JSON"):
        events.event("frame", {"score": float("nan")})


def test_a_job_without_a_loop_ends() -> None:
    """The server is gone: nobody hears its thread."""
    work = Work()

    async def run() -> Job:
        return Job(work, threading.Lock(), lambda: None)

    job = asyncio.run(run())
    job.cancel()
    job.thread.join(10)
    assert not job.thread.is_alive()
    assert work.closed.is_set()
