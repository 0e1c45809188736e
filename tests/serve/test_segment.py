"""``/v1/segment``: what the library finds, as JSON or pictures; and what is refused."""

from __future__ import annotations

import base64
import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi")

from fastapi.testclient import TestClient
from PIL import Image

import gsam
from gsam.results.masks import rle
from gsam.serve.engine import Engine
from tests.serve.fake_words import FakePipe, fake_engine

QUERY = "dog. pizza. umbrella"
ClientOf = Callable[..., TestClient]


@pytest.fixture(scope="module")
def library() -> gsam.Pipeline:
    """The pipeline as users of the library have it."""
    return gsam.load("nano")


def send(client: TestClient, image: bytes, **fields: Any) -> Any:
    """Ask by a form."""
    return client.post("/v1/segment", files={"image": ("../../x.png", image)}, data=fields)


def plain(result: gsam.Result) -> Any:
    """A result as its JSON is read."""
    return json.loads(json.dumps({**result.to_dict(), "image": None}))


def code_of(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


@pytest.mark.long
def test_a_form_is_answered_as_the_library_answers(client: TestClient, scene: bytes, library: gsam.Pipeline) -> None:
    answer = send(client, scene, query=QUERY)
    true = library(scene, QUERY)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == plain(true)
    assert {one["label"] for one in answer.json()["segments"]} == {"dog", "pizza", "umbrella"}
    order = np.argsort(-true.scores, kind="stable")
    for segment, i in zip(answer.json()["segments"], order, strict=True):
        assert np.array_equal(rle.decode(segment["mask"]), true.mask(int(i)))


@pytest.mark.long
@pytest.mark.parametrize("query", [["pizza", "dog"], {"pizza": "food", "apple": "food"}, "dog, pizza"])
def test_json_is_answered_as_the_library_answers(
    query: Any, client: TestClient, scene: bytes, library: gsam.Pipeline
) -> None:
    true = plain(library(scene, query, threshold=0.4, nms=0.6))
    image = base64.b64encode(scene).decode()
    for sent in (image, f"data:image/png;base64,{image}"):
        body = {"image": sent, "query": query, "threshold": 0.4, "nms": 0.6}
        assert client.post("/v1/segment", json=body).json() == true
    assert true["segments"]
    text = query if isinstance(query, str) else json.dumps(query)
    assert send(client, scene, query=text, threshold="0.4", nms="0.6").json() == true


@pytest.mark.long
def test_every_limit_is_obeyed(client: TestClient, scene: bytes, library: gsam.Pipeline) -> None:
    limits = {"threshold": 0.35, "nms": 0.5, "duplicate": 0.9, "group": 0.8, "inside": 0.5, "reject": 0.1, "boxes": 2}
    limits |= {"mask_threshold": 1.5}
    answer = send(client, scene, query=QUERY, **limits).json()
    assert answer == plain(library(scene, QUERY, **limits))  # type: ignore[arg-type]
    assert len(answer["segments"]) == 2
    by_default = {one["label"]: one["area"] for one in send(client, scene, query=QUERY).json()["segments"]}
    assert all(one["area"] < by_default[one["label"]] for one in answer["segments"])


@pytest.mark.long
def test_large_images_are_looked_at_in_tiles(client: TestClient, scene: bytes, library: gsam.Pipeline) -> None:
    answer = send(client, scene, query="dog. pizza", tile=300, overlap=0.3)
    assert answer.json() == plain(library(scene, "dog. pizza", tile=300, overlap=0.3))
    assert answer.json()["segments"]
    assert code_of(send(client, scene, query="dog", tile=16, overlap=0.9)) == (422, "too_many_tiles")


def test_masks_come_in_every_kind(client: TestClient, scene: bytes) -> None:
    true = send(client, scene, query="pizza").json()["segments"][0]
    mask = rle.decode(true["mask"])
    rest = {key: value for key, value in true.items() if key != "mask"}
    none = send(client, scene, query="pizza", masks="none").json()["segments"][0]
    assert none == rest
    packed = send(client, scene, query="pizza", masks="png").json()["segments"][0]
    x0, y0, x1, y1 = packed["png_box"]
    drawn = np.asarray(Image.open(io.BytesIO(base64.b64decode(packed["png"]))))
    assert np.array_equal(drawn > 0, mask[y0:y1, x0:x1])
    rings = send(client, scene, query="pizza", masks="polygons").json()["segments"][0]
    assert "mask" not in rings
    xy = np.array(rings["polygons"][0][0])
    assert np.all(np.abs([*xy.min(0), *xy.max(0)] - np.array(rle.bounds(true["mask"]))) <= 1)


@pytest.mark.long
def test_an_overlay_is_the_library_s(client: TestClient, scene: bytes, library: gsam.Pipeline) -> None:
    answer = send(client, scene, query=QUERY, format="overlay")
    assert answer.headers["content-type"] == "image/png"
    picture = Image.open(io.BytesIO(answer.content))
    assert picture.format == "PNG"
    assert picture.size == (512, 512)
    assert np.array_equal(np.asarray(picture), np.asarray(library(scene, QUERY).plot()))


def test_label_numbers_are_those_of_the_json(client: TestClient, scene: bytes) -> None:
    asked_for = json.dumps({"dog": "Hund", "pizza": "Essen", "umbrella": "傘"})
    answer = send(client, scene, query=asked_for, format="labels")
    picture = Image.open(io.BytesIO(answer.content))
    numbers = np.asarray(picture)
    assert picture.size == (512, 512)
    assert numbers.dtype == np.uint8
    assert json.loads(picture.text["queries"]) == ["Hund", "Essen", "傘"]  # type: ignore[attr-defined]
    found = send(client, scene, query=asked_for).json()["segments"]
    free = np.ones((512, 512), bool)
    for segment in found:  # best first
        mask = rle.decode(segment["mask"]) & free
        assert np.all(numbers[mask] == segment["label_id"] + 1)
        free &= ~mask
    assert np.all(numbers[free] == 0)
    assert len(np.unique(numbers)) == 4


@pytest.mark.parametrize(
    ("fields", "status", "code", "says"),
    [
        ({}, 422, "query_empty", "no query"),
        ({"query": " . "}, 422, "query_empty", "nothing is asked for"),
        ({"query": "dog\x00"}, 422, "query_control_character", "control character"),
        ({"query": "a" * 2001}, 422, "query_too_long", "at most 2000"),
        ({"query": json.dumps([f"thing {i}" for i in range(513)])}, 422, "query_too_many", "at most 512"),
        ({"query": "[dog"}, 422, "query_invalid", "has to be JSON"),
        ({"query": '{"dog": 1}'}, 422, "query_invalid", "not int"),
        ({"query": "[[1]]"}, 422, "query_invalid", "not list"),
        ({"query": "dog", "thresold": "0.5"}, 422, "field_unknown", "did you mean 'threshold'"),
        ({"query": "dog", "box_threshold": "0.5"}, 422, "field_unknown", "'threshold' here"),
        ({"query": "dog", "max_pixels": "5"}, 422, "field_unknown", "no field 'max_pixels'"),
        ({"query": "dog", "threshold": "high"}, 422, "usage", "between 0 and 1"),
        ({"query": "dog", "threshold": "nan"}, 422, "usage", "between 0 and 1"),
        ({"query": "dog", "threshold": "1.5"}, 422, "usage", "between 0 and 1"),
        ({"query": "dog", "boxes": "2.5"}, 422, "usage", "whole number"),
        ({"query": "dog", "boxes": "100"}, 422, "usage", "at most 32"),
        ({"query": "dog", "tile": "3"}, 422, "usage", "tile"),
        ({"query": "dog", "text_threshold": "0.3"}, 422, "usage", "phrases"),
        ({"query": "dog", "masks": "bitmap"}, 422, "masks_kind", "rle"),
        ({"query": "dog", "format": "xml"}, 422, "format_unknown", "overlay"),
        ({"query": "dog", "format": "labels", "masks": "png"}, 422, "masks_kind", "format=json only"),
    ],
)
def test_wrong_fields_are_named(
    fields: dict[str, str], status: int, code: str, says: str, client: TestClient, small: bytes
) -> None:
    answer = send(client, small, **fields)
    assert code_of(answer) == (status, code)
    assert says in answer.json()["error"]["message"]


def test_json_has_to_have_the_right_types(client: TestClient, small: bytes) -> None:
    image = base64.b64encode(small).decode()
    for body in ({"threshold": True}, {"threshold": None}, {"threshold": [0.5]}, {"boxes": {}}):
        assert code_of(client.post("/v1/segment", json={"image": image, "query": "dog", **body})) == (422, "usage")
    for query in (5, True, [], {}, [5], None):
        answer = client.post("/v1/segment", json={"image": image, "query": query})
        assert answer.status_code == 422
        assert answer.json()["error"]["code"].startswith("query_")
    assert code_of(client.post("/v1/segment", json={"query": "dog"})) == (422, "image_field")


def test_a_bad_image_is_told_and_the_next_is_answered(client: TestClient, scene: bytes, small: bytes) -> None:
    for image in (b"", b"<html>", scene[:1000]):
        answer = send(client, image, query="dog")
        assert answer.status_code == 400
        assert answer.json()["error"]["code"].startswith("image_")
    assert send(client, small, query="dog").json()["segments"] == []


def test_limits_of_the_server_count(client_of: ClientOf, scene: bytes, small: bytes) -> None:
    client = client_of(max_query=20, max_queries=3, max_pixels=10_000)
    assert code_of(send(client, small, query="a" * 21)) == (422, "query_too_long")
    assert code_of(send(client, small, query=json.dumps({"dog": "a" * 21}))) == (422, "query_too_long")
    assert code_of(send(client, small, query="dog. cat. cow. pig")) == (422, "query_too_many")
    assert code_of(send(client, scene, query="dog")) == (413, "image_too_large")
    assert send(client, small, query="dog. cat. cow").status_code == 200


@pytest.mark.long
def test_clients_at_the_same_time_share_batches(
    client_of: ClientOf, scene: bytes, library: gsam.Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = client_of(batch_wait=2.0)
    monkeypatch.setattr(client.app.state.batcher, "_most", 4)  # type: ignore[attr-defined]
    queries = ["dog", "pizza", "umbrella. dog", "apple"]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda query: send(client, scene, query=query), queries))
    for query, answer in zip(queries, answers, strict=True):
        found, true = answer.json()["segments"], plain(library(scene, query))["segments"]
        assert [one["label"] for one in found] == [one["label"] for one in true]
        for one, other in zip(found, true, strict=True):
            assert rle.overlaps([one["mask"]], [other["mask"]])[0, 0] > 0.97
            assert one["score"] == pytest.approx(other["score"], abs=0.01)
    lines = dict(line.rsplit(" ", 1) for line in client.get("/metrics").text.splitlines() if line[0] != "#")
    assert float(lines["gsam_batch_images_sum"]) == 4
    assert float(lines["gsam_batch_images_count"]) < 4


# Queues, deadlines and clients that leave, with a pipeline that can be held


@pytest.fixture
def held(client_of: ClientOf) -> Iterator[Callable[..., tuple[TestClient, FakePipe]]]:
    """A server whose pipeline never answers until it is told."""
    made: list[tuple[FakePipe, Engine]] = []

    def make(**settings: Any) -> tuple[TestClient, FakePipe]:
        client, pipe = client_of(**settings), FakePipe()
        pipe.open.clear()
        engine = fake_engine(pipe, 1)
        made.append((pipe, engine))
        state = client.app.state  # type: ignore[attr-defined]
        state.engine = state.batcher._engine = engine
        return client, pipe

    yield make
    for pipe, engine in made:
        pipe.open.set()
        engine.close()


def test_a_full_queue_is_told_with_when_to_come_again(held: Any, small: bytes) -> None:
    client, _ = held(queue=2, deadline=3.0)
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: send(client, small, query="dog"), range(12)))
        statuses = [answer.status_code for answer in answers]
        assert len(statuses) == 12  # none lost: each is answered
        assert set(statuses) == {503, 504}
        assert statuses.count(504) <= 4  # two that are computed, two that wait
        for answer in answers:
            if answer.status_code == 503:
                assert answer.json()["error"]["code"] == "busy"
                assert int(answer.headers["retry-after"]) >= 1
    assert client.get("/livez").status_code == 200
    assert client.app.state.batcher.waiting == 0


def test_what_is_late_is_told_and_not_computed(held: Any, small: bytes) -> None:
    client, pipe = held(deadline=0.5)
    with ThreadPoolExecutor(5) as pool:
        answers = list(pool.map(lambda _: send(client, small, query="dog"), range(5)))
    assert {code_of(answer) for answer in answers} == {(504, "deadline")}
    assert len(pipe.begun) == 2
    pipe.open.set()
    until = time.monotonic() + 10
    while client.app.state.batcher._running and time.monotonic() < until:
        time.sleep(0.01)
    assert len(pipe.begun) == 2  # the other three have left the queue


def test_a_client_that_leaves_is_not_computed(held: Any, small: bytes) -> None:
    """By hand through ASGI: the body, and then ``http.disconnect``."""
    import asyncio

    client, pipe = held()
    batcher = client.app.state.batcher
    head, body = _form(small)
    left = threading.Event()

    async def ask(gone: bool) -> int:
        sent = False

        async def receive() -> dict[str, Any]:
            nonlocal sent
            if not sent:
                sent = True
                return {"type": "http.request", "body": body, "more_body": False}
            while not (gone and left.is_set()):
                await asyncio.sleep(0.005)
            return {"type": "http.disconnect"}

        status = 0

        async def send_to(message: Any) -> None:
            nonlocal status
            status = message.get("status", status)

        await client.app(_scope(head), receive, send_to)
        return status

    async def main() -> list[int]:
        tasks = [asyncio.ensure_future(ask(gone)) for gone in (False, False)]
        while len(pipe.begun) < 2:
            await asyncio.sleep(0.005)
        tasks.append(asyncio.ensure_future(ask(True)))
        while batcher.waiting < 1:
            await asyncio.sleep(0.005)
        left.set()
        gone = await tasks[2]
        assert batcher.waiting == 0
        pipe.open.set()
        return [gone, *await asyncio.gather(*tasks[:2])]

    statuses = asyncio.run(asyncio.wait_for(main(), 60))
    assert statuses[0] == 499
    assert len(pipe.begun) == 2


def test_without_memory_it_is_told_and_the_server_lives(client_of: ClientOf, engine: Engine, small: bytes) -> None:
    client = client_of()
    pipe = FakePipe(lambda numbers: RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes."))
    fake = fake_engine(pipe)
    state = client.app.state  # type: ignore[attr-defined]
    state.engine = state.batcher._engine = fake
    answer = send(client, small, query="dog")
    assert code_of(answer) == (503, "out_of_memory")
    assert answer.headers["retry-after"] == "5"
    assert "RESOURCE" not in answer.text
    state.engine = state.batcher._engine = engine
    assert send(client, small, query="dog").status_code == 200
    fake.close()


def _form(image: bytes) -> tuple[bytes, bytes]:
    import httpx

    request = httpx.Request("POST", "http://127.0.0.1", files={"image": image}, data={"query": "dog"})
    return request.headers["content-type"].encode(), request.read()


def _scope(content_type: bytes) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/v1/segment",
        "raw_path": b"/v1/segment",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"127.0.0.1:8000"), (b"content-type", content_type)],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8000),
    }
