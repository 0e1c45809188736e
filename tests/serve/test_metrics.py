"""``/metrics``: which routes, how long, how busy the models are; never who asked for what."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

pytest.importorskip("fastapi")

from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from gsam.serve.app import create_app
from gsam.serve.config import ServeConfig
from gsam.serve.engine import Engine
from tests.serve.fake_words import FakePipe, fake_engine


@pytest.fixture
def served() -> Iterator[tuple[TestClient, FakePipe]]:
    """A server with a pipeline that answers nothing real."""
    pipe = FakePipe()
    engine = fake_engine(pipe)
    app = create_app(ServeConfig(), engine=engine)
    with TestClient(app, base_url="http://127.0.0.1:8000", raise_server_exceptions=False) as client:
        yield client, pipe
    pipe.open.set()
    engine.close()


def numbers(client: TestClient) -> Callable[..., float]:
    """Read the metrics: name and labels -> number, 0 where there is none."""
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    samples = [s for family in text_string_to_metric_families(answer.text) for s in family.samples]

    def value(name: str, **labels: str) -> float:
        return sum(s.value for s in samples if s.name == name and labels.items() <= s.labels.items())

    return value


def test_requests_are_counted_by_route_and_status(served: Any, small: bytes) -> None:
    client, _ = served
    for _ in range(3):
        assert client.get("/livez").status_code == 200
    assert client.post("/v1/segment", files={"image": small}, data={"query": " "}).status_code == 422
    assert client.get("/v1/sessions/secret-of-mine").status_code == 404
    assert client.get("/no/such/secret-of-mine?secret-of-mine").status_code == 404
    assert client.get("/livez", headers={"Host": "evil.example"}).status_code == 403
    value = numbers(client)
    assert value("gsam_requests_total", method="GET", route="/livez", status="200") == 3
    assert value("gsam_requests_total", method="POST", route="/v1/segment", status="422") == 1
    assert value("gsam_requests_total", route="/v1/sessions/{session}", status="404") == 1
    assert value("gsam_requests_total", route="none", status="404") == 1
    assert value("gsam_requests_total", status="403") == 1
    assert value("gsam_request_seconds_count", route="/livez") == 3
    assert value("gsam_request_seconds_bucket", route="/livez", le="+Inf") == 3
    assert value("gsam_request_seconds_bucket", route="/livez", le="5.0") == 3
    assert "secret-of-mine" not in client.get("/metrics").text


def test_methods_that_clients_invent_are_no_labels(served: Any) -> None:
    client, _ = served
    client.request("XYZZY", "/livez")
    assert numbers(client)("gsam_requests_total", method="other") == 1
    assert "XYZZY" not in client.get("/metrics").text


def test_what_goes_wrong_inside_counts_as_500(served: Any, small: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    client, _ = served
    monkeypatch.setattr("gsam.serve.v1.segment.read_form", None)
    assert client.post("/v1/segment", files={"image": small}).status_code == 500
    assert numbers(client)("gsam_requests_total", route="/v1/segment", status="500") == 1


def test_batches_and_the_queue_are_seen(served: Any, small: bytes) -> None:
    client, pipe = served
    pipe.open.clear()
    before = numbers(client)
    assert before("gsam_queue") == before("gsam_batch_images_count") == 0
    with ThreadPoolExecutor(9) as pool:
        jobs = [
            pool.submit(client.post, "/v1/segment", files={"image": small}, data={"query": f"dog{'.' * i}"})
            for i in range(9)
        ]
        for _ in range(1000):
            now = numbers(client)
            if now("gsam_queue") + now("gsam_batch_images_sum") == 9 and now("gsam_batch_images_count") == 2:
                break
        assert now("gsam_queue") == 9 - now("gsam_batch_images_sum")
        assert now("gsam_queue") >= 1
        pipe.open.set()
        for job in jobs:
            job.result()
    after = numbers(client)
    assert after("gsam_queue") == 0
    assert after("gsam_batch_images_sum") == 9
    assert after("gsam_batch_images_count") == len(pipe.begun)


def test_applications_of_one_process_have_numbers_of_their_own(client_of: Callable[..., TestClient]) -> None:
    one, two = client_of(), client_of()
    one.get("/livez")
    assert numbers(one)("gsam_requests_total", route="/livez") == 1
    assert numbers(two)("gsam_requests_total", route="/livez") == 0


def test_compilations_and_readiness_are_told(client: TestClient, engine: Engine, small: bytes) -> None:
    value = numbers(client)
    assert value("gsam_ready") == 1
    assert value("gsam_compilations") == engine.compilations >= 6
    session = client.post("/v1/sessions", files={"image": small}).json()["session"]
    assert numbers(client)("gsam_sessions") == 1
    client.delete(f"/v1/sessions/{session}")
    assert numbers(client)("gsam_sessions") == 0


def test_metrics_need_the_token(client_of: Callable[..., TestClient]) -> None:
    client = client_of(token="xyzzy")
    assert client.get("/metrics").status_code == 401
    assert client.get("/metrics", headers={"Authorization": "Bearer xyzzy"}).status_code == 200
