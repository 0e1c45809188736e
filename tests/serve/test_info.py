"""Is the server there, is it ready, what does it serve."""

from __future__ import annotations

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
