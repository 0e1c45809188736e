"""Is the server there, is it ready, what does it serve."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path

import pytest

pytest.importorskip("fastapi")

from fastapi.testclient import TestClient

from gsam.serve.app import create_app
from gsam.serve.config import ServeConfig
from gsam.serve.engine import Engine


def test_a_server_tells_what_it_serves(client: TestClient) -> None:
    assert client.get("/readyz").json() == {"status": "ready"}
    assert client.get("/v1/models").json()["pipeline"] == "nano"
    assert "grounded_sam" in client.get("/v1/recipes").json()["recipes"]


def test_a_server_is_alive_before_it_is_ready() -> None:
    app = create_app(ServeConfig(), engine=Engine(ServeConfig()))  # which is never started
    with TestClient(app, base_url="http://127.0.0.1") as client:
        assert client.get("/livez").status_code == 200
        answer = client.get("/readyz")
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "5"
        assert answer.json()["error"]["code"] == "not_ready"


def test_models_that_cannot_be_loaded_are_told() -> None:
    engine = Engine(ServeConfig(pipeline="no_such_recipe"))
    engine._prepare()
    with TestClient(create_app(ServeConfig(), engine=engine), base_url="http://127.0.0.1") as client:
        answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "models_failed"
    assert "no_such_recipe" in answer.json()["error"]["message"]


def test_the_page_opens_while_models_are_loaded(monkeypatch: pytest.MonkeyPatch, small: bytes) -> None:
    begun, free = threading.Event(), threading.Event()

    def load(engine: Engine) -> None:
        begun.set()
        assert free.wait(60)

    monkeypatch.setattr(Engine, "_load", load)
    with TestClient(create_app(ServeConfig()), base_url="http://127.0.0.1") as client:
        assert begun.wait(10)
        assert client.get("/livez").json()["status"] == "ok"
        assert client.get("/").status_code == 200
        assert client.get("/openapi.json").status_code == 200
        for answer in (
            client.get("/readyz"),
            client.get("/v1/models"),
            client.post("/v1/segment", files={"image": small}, data={"query": "dog"}),
            client.post("/v1/everything", files={"image": small}),
            client.post("/v1/sessions", files={"image": small}),
        ):
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "not_ready")
            assert answer.headers["retry-after"] == "5"
        assert "gsam_ready 0.0" in client.get("/metrics").text
        free.set()
        until = time.monotonic() + 10
        while client.get("/readyz").status_code == 503 and time.monotonic() < until:
            time.sleep(0.01)
        assert client.get("/readyz").json() == {"status": "ready"}


def test_a_server_says_how_it_answers_words(client: TestClient, engine: Engine) -> None:
    told = client.get("/v1/models").json()
    assert told["batch"] == engine.together == len(engine.pipe.devices)  # a CPU: one for each
    assert told["limits"]["threshold"] == told["threshold"] == engine.pipe.limits.threshold == 0.1
    assert told["limits"]["boxes"] == 32


@pytest.mark.long
def test_first_requests_compile_nothing_and_read_no_file(tmp_path: Path, scene: bytes) -> None:
    shipped = Path(__file__).parents[2] / "weights" / "nano" / "segmenter.safetensors"
    copy = tmp_path / "segmenter.safetensors"
    shutil.copy(shipped, copy)
    config = ServeConfig(given={"segmenter": str(copy)})
    engine = Engine(config)
    engine.start()
    until = time.monotonic() + 300
    while not engine.ready and engine.failure is None and time.monotonic() < until:
        time.sleep(0.05)
    engine.check_ready()
    shutil.rmtree(tmp_path)
    before = engine.compilations
    with TestClient(create_app(config, engine=engine), base_url="http://127.0.0.1") as client:
        found = client.post("/v1/segment", files={"image": scene}, data={"query": "dog. pizza"}).json()
        assert {one["label"] for one in found["segments"]} == {"dog", "pizza"}
        session = client.post("/v1/sessions", files={"image": scene}).json()["session"]
        where = f"/v1/sessions/{session}/predict"
        point = client.post(where, json={"points": [[80, 280]], "labels": [1]}).json()
        assert len(point["masks"]) == 3
        again = {"points": [[80, 280], [300, 20]], "labels": [1, 0], "mask": point["masks"][0]["id"]}
        assert client.post(where, json=again).status_code == 200
        assert client.post(where, json={"box": [10, 200, 150, 345]}).status_code == 200
        assert engine.compilations == before
        assert client.post("/v1/everything", files={"image": scene}).json()["segments"]
    engine.close()


def test_words_clicks_and_everything_share_one_set_of_weights(engine: Engine) -> None:
    slot, _ = next((k, v) for k, v in engine.pipe.steps.items() if type(v) is type(engine.predictor.model))
    assert engine.predictor.model.params is engine.pipe.params[slot]  # those that are on the device
    assert engine._generator_of(engine.predictor).model is engine.predictor.model
