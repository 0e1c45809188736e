"""Following objects through videos over HTTP: the same as in Python, and its end in every way."""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("av")

import httpx
from fastapi.testclient import TestClient

from gsam.predictors.video import VideoPredictor
from gsam.results.masks import rle
from gsam.serve import events, tracking
from gsam.serve.app import create_app
from gsam.serve.config import ServeConfig
from gsam.serve.engine import Engine
from gsam.serve.problems import ServeError
from gsam.serve.tracking import AHEAD, Job, Jobs
from tests.serve import clips
from tests.serve.listening import listening

CLIP = Path(__file__).parents[2] / "notebooks" / "clip.mp4"
QUERY = "cow. cactus. blue circle"
FRAMES = 5
CLICKS = [
    {"frame": 2, "object": 7, "label": "cow", "points": [[60, 80], [5, 5]], "labels": [1, 0]},
    {"frame": 3, "object": "other", "box": [90, 60, 140, 130]},
]
Clients = Callable[..., TestClient]


@pytest.fixture(scope="module")
def client(engine: Engine) -> Iterator[TestClient]:
    """One server for all tests of models, so that its programs are compiled once."""
    with TestClient(create_app(ServeConfig(), engine=engine), base_url="http://127.0.0.1:8000") as found:
        yield found


@pytest.fixture(scope="module")
def path(client: TestClient) -> str:
    """The shipped clip, uploaded."""
    return clips.uploaded(client, CLIP.read_bytes())


@pytest.fixture(scope="module")
def reference(engine: Engine) -> VideoPredictor:
    """As a user makes it, with the tracker of nano."""
    return VideoPredictor(tracking.tracker_of(engine.pipe), progress=False)


def mask_of(entry: Any) -> np.ndarray:
    return rle.decode(entry["mask"])


@pytest.mark.long
def test_words_are_followed_as_in_python(client: TestClient, path: str, engine: Engine) -> None:
    found = clips.followed(client, path, query=QUERY, every=2, last=FRAMES - 1)
    assert [kind for kind, _ in found] == ["start", *["frame"] * FRAMES, "end"]
    assert found[0][1]["frames"] == found[-1][1]["frames"] == FRAMES
    assert found[0][1]["job"]
    for (_, told), frame in zip(found[1:-1], engine.pipe.track(CLIP, QUERY, every=2), strict=False):
        assert (told["index"], told["time"]) == (frame.index, round(frame.time or 0, 6))
        assert [o["id"] for o in told["objects"]] == frame.ids.tolist()
        assert [o["label"] for o in told["objects"]] == frame.labels
        assert [o["score"] for o in told["objects"]] == pytest.approx(frame.scores.tolist(), abs=1e-5)
        assert [o["box"] for o in told["objects"]] == frame.xyxy.tolist()
        assert [o["area"] for o in told["objects"]] == frame.areas.tolist()
        np.testing.assert_array_equal([mask_of(o) for o in told["objects"]], frame.masks)
    assert found[1][1]["objects"]


@pytest.mark.long
@pytest.mark.parametrize("direction", ["forward", "backward", "both"])
def test_clicks_are_followed_as_in_python(
    client: TestClient, path: str, reference: VideoPredictor, direction: str
) -> None:
    found = clips.followed(client, path, prompts=CLICKS, direction=direction, last=FRAMES - 1)
    frames = {told["index"]: told["objects"] for kind, told in found if kind == "frame"}
    assert list(frames) == {"forward": [2, 3, 4], "backward": [3, 2, 1, 0], "both": [2, 3, 4, 1, 0]}[direction]
    assert found[0][1]["frames"] == found[-1][1]["frames"] == len(frames)

    state = reference.init_state(CLIP, memory="near")
    for prompt in CLICKS:
        arguments = (prompt.get("points"), prompt.get("labels"))
        reference.add_new_points_or_box(state, prompt["frame"], prompt["object"], *arguments, box=prompt.get("box"))  # type: ignore[arg-type]
    passes = {
        "forward": [(2, 2, False)],
        "backward": [(3, None, True)],
        "both": [(2, 2, False), (2, None, True)],
    }[direction]
    compared = 0
    for begin, most, reverse in passes:
        for number, ids, logits in reference.propagate_in_video(state, begin, most, reverse):
            wanted = {key: mask[0] > 0 for key, mask in zip(ids, logits, strict=True) if (mask > 0).any()}
            if number == begin and reverse and len(passes) == 2:
                continue
            assert {o["id"] for o in frames[number]} == wanted.keys()
            for told in frames[number]:
                np.testing.assert_array_equal(mask_of(told), wanted[told["id"]])
                assert told["label"] == {7: "cow", "other": ""}[told["id"]]
                assert 0 <= told["score"] <= 1
                compared += 1
    assert compared >= len(frames)


@pytest.mark.long
def test_a_part_of_a_video(client: TestClient, path: str) -> None:
    found = clips.followed(client, path, query=QUERY, first=3, last=4, masks="none")
    told = [fields for kind, fields in found if kind == "frame"]
    assert [(f["index"], f["time"]) for f in told] == [(3, 0.25), (4, round(4 / 12, 6))]
    assert told[0]["objects"]
    assert all(o.keys() == {"id", "label", "score", "box", "area"} for f in told for o in f["objects"])


@pytest.mark.long
def test_a_damaged_video_gives_what_can_be_read(client: TestClient) -> None:
    whole = clips.encoded(
        [np.random.default_rng(i).integers(0, 255, (48, 64, 3), np.uint8).repeat(2, 0).repeat(2, 1) for i in range(9)]
    )
    cut = clips.uploaded(client, whole[: len(whole) * 6 // 10])
    found = clips.followed(client, cut, prompts=[{"box": [10, 10, 40, 40]}], masks="none")
    kinds = [kind for kind, _ in found]
    assert kinds[0] == "start"
    assert kinds[-1] == "error"
    assert 3 <= kinds.count("frame") < 9
    assert found[-1][1]["code"] == "video_truncated"
    assert kinds.count("frame") == client.get(cut).json()["frames"]
    assert "/" not in found[-1][1]["message"]
    again = clips.followed(client, cut, prompts=[{"box": [10, 10, 40, 40]}], masks="none", last=1)
    assert [kind for kind, _ in again] == ["start", "frame", "frame", "end"]


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({}, "nothing_asked"),
        ({"query": None}, "nothing_asked"),
        ({"query": "dog", "prompts": []}, "nothing_asked"),
        ({"query": "  "}, "query_empty"),
        ({"query": "x" * 3000}, "query_too_long"),
        ({"query": 7}, None),
        ({"query": "dog", "evry": 2}, "field_unknown"),
        ({"query": "dog", "direction": "both"}, "field_unknown"),
        ({"query": "dog", "every": 0}, None),
        ({"query": "dog", "every": "2"}, None),
        ({"query": "dog", "most": 10**9}, None),
        ({"query": "dog", "threshold": 7}, None),
        ({"query": "dog", "prompt": ["box"]}, None),
        ({"query": "dog", "masks": "gif"}, "masks_kind"),
        ({"query": "dog", "first": 36}, "frame_invalid"),
        ({"query": "dog", "last": -1}, "frame_invalid"),
        ({"query": "dog", "first": 5, "last": 4}, "frame_invalid"),
        ({"query": "dog", "first": True}, "frame_invalid"),
        ({"prompts": []}, "prompts_invalid"),
        ({"prompts": "dog"}, "prompts_invalid"),
        ({"prompts": ["dog"]}, "prompts_invalid"),
        ({"prompts": [{}]}, "nothing_asked"),
        ({"prompts": [{"box": [1, 2, 3, 4], "obj": 1}]}, "field_unknown"),
        ({"prompts": [{"box": [1, 2, 3]}]}, "box_invalid"),
        ({"prompts": [{"box": [1, 2, 3, 4], "frame": 36}]}, "frame_invalid"),
        ({"prompts": [{"box": [1, 2, 3, 4], "frame": 0}], "first": 1}, "frame_invalid"),
        ({"prompts": [{"box": [1, 2, 3, 4], "object": 1.5}]}, "object_invalid"),
        ({"prompts": [{"box": [1, 2, 3, 4], "object": ""}]}, "object_invalid"),
        ({"prompts": [{"box": [1, 2, 3, 4], "object": [1]}]}, "object_invalid"),
        ({"prompts": [{"box": [1, 2, 3, 4], "label": 4}]}, "label_invalid"),
        ({"prompts": [{"points": [[1, 2]], "labels": [2]}]}, "labels_invalid"),
        ({"prompts": [{"points": [[999, 2]], "labels": [1]}]}, "point_outside"),
        ({"prompts": [{"box": [1, 2, 3, 4]}] * 2}, "prompt_twice"),
        ({"prompts": [{"box": [1, 2, 3, 4], "object": i} for i in range(65)]}, "too_many_objects"),
        ({"prompts": [{"box": [1, 2, 3, 4], "frame": i % 36} for i in range(257)]}, "too_many_prompts"),
        ({"prompts": [{"box": [1, 2, 3, 4]}], "direction": "up"}, "direction_unknown"),
    ],
)
def test_what_cannot_be_asked(client: TestClient, path: str, fields: dict[str, Any], name: str | None) -> None:
    answer = client.post(f"{path}/track", json=fields)
    assert answer.status_code == 422, answer.text
    assert answer.json()["error"]["message"]
    assert name is None or answer.json()["error"]["code"] == name
    assert not client.app.state.jobs  # type: ignore[attr-defined]


def test_other_bodies(client: TestClient, path: str) -> None:
    for kind, body, status in (
        ("text/plain", b"{}", 415),
        ("application/json", b"{", 400),
        ("application/json", b"[" * 100_000, 400),
        ("application/json", b"[]", 400),
    ):
        assert client.post(f"{path}/track", content=body, headers={"Content-Type": kind}).status_code == status


def test_large_frames_are_followed_for_fewer_objects(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    path = clips.uploaded(client, clips.plain(2))
    monkeypatch.setattr("gsam.serve.following.MOST_BYTES", 48 * 64 * 5 * 2)
    answer = client.post(f"{path}/track", json={"prompts": [{"box": [1, 2, 30, 40], "object": i} for i in range(3)]})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "too_many_objects")


def test_before_the_models_are_ready() -> None:
    app = create_app(ServeConfig(), engine=Engine(ServeConfig()))
    with TestClient(app, base_url="http://127.0.0.1:8000") as client:
        path = clips.uploaded(client, clips.plain(2))  # which needs none
        assert client.get(f"{path}/frames/1").status_code == 200
        answer = client.post(f"{path}/track", json={"query": "dog"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "not_ready")
        assert "retry-after" in answer.headers


# How it ends, with work that is none


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
