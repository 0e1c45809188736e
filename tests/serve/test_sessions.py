"""Sessions: held within limits of number, memory and age, and one by one apart from each other."""

from __future__ import annotations

import gc
import io
import logging
import time
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi")

from fastapi.testclient import TestClient
from PIL import Image

from gsam.predictors.embedding import Embedding
from gsam.serve.config import ServeConfig
from gsam.serve.engine import Engine
from gsam.serve.problems import ServeError
from gsam.serve.sessions import ANSWERS, Session, Sessions

Clients = Callable[..., TestClient]
POINT: dict[str, Any] = {"points": [[20, 20]], "labels": [1]}


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def embedding(bytes_: int = 1000) -> Embedding:
    """Features of so many bytes, and no pixels to speak of."""
    return Embedding(np.zeros(bytes_ - 3, np.uint8), (1, 1), (1, 1), np.zeros((1, 1, 3), np.uint8))


def held(**settings: Any) -> tuple[Sessions, Clock]:
    clock = Clock()
    return Sessions(ServeConfig(**settings), clock), clock


def known(sessions: Sessions, session: Session) -> bool:
    try:
        return sessions.find(session.id) is session
    except ServeError as error:
        return (error.status, error.code) != (404, "session_unknown")


def png(width: int = 48, height: int = 32, value: int = 90) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (value, 120, 160)).save(buffer, "PNG")
    return buffer.getvalue()


def upload(client: TestClient, image: bytes | None = None) -> str:
    answer = client.post("/v1/sessions", files={"image": image or png()})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["session"])


def refused(answer: Any, status: int, code: str) -> None:
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text


def test_the_oldest_unused_goes_when_there_are_too_many() -> None:
    sessions, clock = held(max_sessions=2)
    first, second = sessions.add(embedding()), sessions.add(embedding())
    clock.now += 1
    with sessions.using(first.id):
        pass
    third = sessions.add(embedding())
    assert [known(sessions, s) for s in (first, second, third)] == [True, False, True]
    assert (len(sessions), sessions.bytes) == (2, 2000)


def test_asking_what_it_is_does_not_use_a_session() -> None:
    sessions, _ = held(max_sessions=2)
    first, second = sessions.add(embedding()), sessions.add(embedding())
    assert sessions.find(first.id) is first
    sessions.add(embedding())
    assert [known(sessions, s) for s in (first, second)] == [False, True]


def test_memory_is_bounded() -> None:
    sessions, _ = held(max_session_bytes=3000)
    first, second, third = (sessions.add(embedding()) for _ in range(3))
    assert sessions.bytes == 3000
    large = sessions.add(embedding(2000))
    assert [known(sessions, s) for s in (first, second, third, large)] == [False, False, True, True]
    assert sessions.bytes == 3000
    with pytest.raises(ServeError) as caught:
        sessions.add(embedding(3001))
    assert (caught.value.status, caught.value.code) == (413, "session_too_large")
    assert len(sessions) == 2  # and nobody had to make room for it


def test_kept_logits_count_and_the_oldest_go() -> None:
    sessions, _ = held(max_session_bytes=20_500)
    first, second = sessions.add(embedding()), sessions.add(embedding())
    logits = np.arange(25, dtype=np.float32).reshape(5, 5)
    with sessions.using(second.id):
        names = [name for _ in range(ANSWERS) for name in sessions.keep(second, [logits, logits + 1])]
        assert len(set(names)) == 2 * ANSWERS
        assert list(second.answers) == names[-ANSWERS:]
        np.testing.assert_array_equal(second.logits_of(names[-1]), logits[None] + 1)
        with pytest.raises(ServeError) as caught:
            second.logits_of(names[0])
        assert (caught.value.status, caught.value.code) == (422, "mask_unknown")
    assert second.bytes == 1000 + ANSWERS * logits.nbytes
    assert sessions.bytes == 1000 + second.bytes
    with sessions.using(second.id):
        sessions.keep(second, [np.zeros((60, 60), np.float32)])  # takes what the other had
    assert not known(sessions, first)
    assert known(sessions, second)


def test_logits_are_copies() -> None:
    sessions, _ = held()
    session, logits = sessions.add(embedding()), np.zeros((3, 4, 4), np.float32)
    name = sessions.keep(session, list(logits))[0]
    logits[:] = 7
    assert session.logits_of(name).base is None
    assert not session.logits_of(name).any()


def test_a_session_in_use_stays() -> None:
    sessions, clock = held(max_sessions=1, session_age=10.0)
    session = sessions.add(embedding())
    with sessions.using(session.id):
        clock.now += 100
        sessions.forget_old()
        assert known(sessions, session)
        assert sessions.expires_in(session) == 10.0
        with pytest.raises(ServeError) as caught:
            sessions.add(embedding())
        assert (caught.value.status, caught.value.code) == (503, "sessions_full")
        assert caught.value.headers == {"Retry-After": "1"}
    clock.now += 9
    assert sessions.expires_in(session) == 1.0  # its age began when the request ended
    other = sessions.add(embedding())
    assert [known(sessions, s) for s in (session, other)] == [False, True]


def test_a_session_may_be_deleted_while_it_is_used() -> None:
    sessions, _ = held()
    session = sessions.add(embedding())
    with sessions.using(session.id) as used:
        sessions.delete(session.id)
        assert not known(sessions, session)
        assert sessions.keep(used, [np.zeros((2, 2), np.float32)]) == ["m1"]
    assert (len(sessions), sessions.bytes) == (0, 0)


def test_old_ones_are_forgotten() -> None:
    sessions, clock = held(session_age=10.0)
    first = sessions.add(embedding())
    clock.now += 6
    second = sessions.add(embedding())
    assert (sessions.expires_in(first), sessions.expires_in(second)) == (4.0, 10.0)
    clock.now += 5
    sessions.forget_old()
    assert (len(sessions), sessions.bytes) == (1, 1000)
    assert [known(sessions, s) for s in (first, second)] == [False, True]


def test_ids_cannot_be_guessed_and_are_shown_to_nobody_else() -> None:
    sessions, _ = held(max_sessions=300)
    every = [sessions.add(embedding()) for _ in range(200)]
    assert len({session.id for session in every}) == 200
    assert min(len(session.id) for session in every) == 32  # 192 bits
    assert every[0].id not in repr(every[0])


def test_memory_is_freed_without_a_request(client_of: Clients) -> None:
    client = client_of(session_age=0.2)
    sessions: Sessions = client.app.state.sessions  # type: ignore[attr-defined]
    upload(client)
    assert len(sessions) == 1
    until = time.monotonic() + 20
    while len(sessions) and time.monotonic() < until:
        time.sleep(0.02)
    assert (len(sessions), sessions.bytes) == (0, 0)


def test_a_session_from_upload_to_end(client: TestClient, engine: Engine) -> None:
    before = engine.predictor.counts["pictures"]
    answer = client.post("/v1/sessions", files={"image": ("../../etc/passwd", png(50, 40))})
    assert answer.status_code == 201
    made = answer.json()
    assert set(made) == {"session", "width", "height", "expires_in"}
    assert (made["width"], made["height"], made["expires_in"]) == (50, 40, 1800.0)
    place = f"/v1/sessions/{made['session']}"
    told = client.get(place)
    assert told.status_code == 200
    assert told.json() | {"expires_in": 0} == made | {"expires_in": 0}
    for _ in range(3):
        assert client.post(f"{place}/predict", json=POINT).status_code == 200
    assert engine.predictor.counts["pictures"] == before + 1
    assert client.delete(place).status_code == 204
    for gone in (client.get(place), client.delete(place), client.post(f"{place}/predict", json=POINT)):
        refused(gone, 404, "session_unknown")
        assert "upload the image again" in gone.text
        assert made["session"] not in gone.text


def test_memory_is_what_is_held(client: TestClient) -> None:
    sessions: Sessions = client.app.state.sessions  # type: ignore[attr-defined]
    key = upload(client, png(300, 200))
    session = sessions.find(key)
    assert sessions.bytes == session.bytes >= 300 * 200 * 3 + sum(x.nbytes for x in _leaves(session))
    before = session.bytes
    client.post(f"/v1/sessions/{key}/predict", json=POINT)
    assert sessions.bytes == session.bytes == before + sum(x.nbytes for x in session.answers.values()) > before
    client.delete(f"/v1/sessions/{key}")
    assert sessions.bytes == 0


def test_nothing_holds_a_session_that_is_forgotten(client_of: Clients) -> None:
    client = client_of(max_sessions=1)
    sessions: Sessions = client.app.state.sessions  # type: ignore[attr-defined]
    key = upload(client)
    assert client.post(f"/v1/sessions/{key}/predict", json=POINT).status_code == 200
    assert client.post(f"/v1/sessions/{key}/segment", json={"query": "dog"}).status_code == 200
    session = sessions.find(key)
    assert session.words is not None
    things: list[Any] = [session.embedding, session.words, next(iter(session.answers.values()))]
    held = [weakref.ref(thing) for thing in things]
    things.clear()
    del session
    upload(client, png(value=3))
    gc.collect()
    assert [ref() for ref in held] == [None, None, None]


def test_the_metrics_count_sessions(client: TestClient) -> None:
    upload(client)
    lines = client.get("/metrics").text.splitlines()
    assert "gsam_sessions 1.0" in lines
    held = client.app.state.sessions.bytes  # type: ignore[attr-defined]
    assert [float(line.split()[1]) for line in lines if line.startswith("gsam_session_bytes ")] == [held]


def _leaves(session: Session) -> list[Any]:
    import jax

    return jax.tree.leaves(session.embedding.features)


def test_the_server_s_limits_are_kept(client_of: Clients) -> None:
    client = client_of(max_sessions=2)
    first, second, third = (upload(client, png(value=value)) for value in (1, 2, 3))
    assert [client.get(f"/v1/sessions/{key}").status_code for key in (first, second, third)] == [404, 200, 200]
    refused(client_of(max_session_bytes=5000).post("/v1/sessions", files={"image": png()}), 413, "session_too_large")


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        ({"json": {}}, 422, "image_field"),
        ({"json": {"image": 3}}, 422, "image_field"),
        ({"json": {"image": "!!!"}}, 422, "image_field"),
        ({"json": {"image": "aGVsbG8="}}, 400, "image_unreadable"),
        ({"json": {"image": "https://example.org/a.png"}}, 403, "url_forbidden"),
        ({"json": []}, 400, "body_invalid"),
        ({"content": b"{", "headers": {"Content-Type": "application/json"}}, 400, "body_invalid"),
        ({"content": b"a", "headers": {"Content-Type": "text/plain"}}, 415, "content_type"),
        ({"files": {"image": b""}}, 400, "image_unreadable"),
        ({"files": {"image": png(200, 200)}}, 413, "image_too_large"),
        ({"files": {"image": png()}, "data": {"query": "dog"}}, 422, "field_unknown"),
    ],
)
def test_bad_uploads(client_of: Clients, sent: dict[str, Any], status: int, code: str) -> None:
    client = client_of(max_pixels=30_000)
    answer = client.post("/v1/sessions", **sent)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["code"] == code
    assert not len(client.app.state.sessions)  # type: ignore[attr-defined]


@pytest.mark.parametrize("key", ["x", "..", "%2e%2e%2f", "a" * 5000, "\u1234", "%00"])
def test_no_such_session(client: TestClient, key: str) -> None:
    answer = client.get(f"/v1/sessions/{key}")
    assert answer.status_code in (404, 405), answer.text
    assert answer.json()["error"]["code"] in ("session_unknown", "not_found", "method_not_allowed")


def test_ids_are_not_logged(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "gsam.serve")
    key = upload(client)
    client.post(f"/v1/sessions/{key}/predict", json=POINT)
    client.post(f"/v1/sessions/{key}/predict", json={"points": [[-1, 0]], "labels": [1]})
    client.delete(f"/v1/sessions/{key}")
    client.get(f"/v1/sessions/{key}")
    assert not [record for record in caplog.records if record.name.startswith("gsam") and key in record.getMessage()]


def test_all_are_forgotten_when_the_server_ends(engine: Engine) -> None:
    from gsam.serve.app import create_app

    app = create_app(ServeConfig(), engine=engine)
    with TestClient(app, base_url="http://127.0.0.1:8000") as client:
        upload(client)
        assert len(app.state.sessions) == 1
    assert (len(app.state.sessions), app.state.sessions.bytes) == (0, 0)
