"""The column HTTP of tests/bad: each row that can be sent is, and gets its status and its code."""

from __future__ import annotations

import io
import json
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi")

from fastapi.testclient import TestClient

from gsam.serve.app import create_app
from gsam.serve.config import ServeConfig
from gsam.serve.engine import Engine
from tests.bad import serving
from tests.bad.clicks import SIZE
from tests.bad.sending import Sent
from tests.bad.table import Row, rows
from tests.serve.listening import Raw, listening

SENT = [row for row in rows() if row.http is not None and row.sent is not None]


@pytest.fixture(scope="module")
def served(engine: Engine) -> Iterator[TestClient]:
    """A server with the usual settings, but time to compile what 512 queries need."""
    with TestClient(create_app(ServeConfig(deadline=600.0), engine=engine), base_url="http://127.0.0.1") as client:
        yield client


@pytest.fixture(scope="module")
def session(served: TestClient) -> str:
    """A session of an image of the size that the rows' clicks are about."""
    buffer = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "PNG")
    answer = served.post("/v1/sessions", files={"image": buffer.getvalue()})
    assert answer.status_code == 201
    return str(answer.json()["session"])


def send(client: TestClient, sent: Sent, session: str) -> Any:
    path = sent.path.format(session=session)
    with sent.around():
        if sent.file is not None:
            return client.post(path, data=sent.fields, files={"image": (sent.name, sent.file)})
        content = json.dumps(sent.fields)  # which lets NaN and infinity through
        return client.post(path, content=content, headers={"Content-Type": "application/json"})


@pytest.mark.long
@pytest.mark.parametrize("row", [pytest.param(row, id=row.id) for row in SENT])
def test_row(row: Row, served: TestClient, session: str, client_of: Callable[..., TestClient], tmp_path: Path) -> None:
    sent = row.sent
    assert sent is not None
    answer = send(client_of(**sent.settings) if sent.settings else served, sent, session)
    assert answer.status_code == row.http, answer.text
    if answer.status_code >= 400:
        code = answer.json()["error"]["code"]
        assert code == (sent.code or row.expect.partition(" ")[2])
        assert answer.json()["error"]["message"]
        assert "\n" not in answer.json()["error"]["message"]
    elif sent.same is not None and row.expect == "ok":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = row.make(tmp_path)()
        sent.same(found, answer.json())


class Here:
    """The server that `serving.CASES` ask."""

    def __init__(self, client_of: Callable[..., TestClient], engine: Engine, image: bytes) -> None:
        self._client_of, self._engine, self.image = client_of, engine, image

    def ask(self, path: str, settings: Any = None, method: str = "POST", **request: Any) -> Any:
        return self._client_of(**(settings or {})).request(method, path, **request)

    def say(self, text: bytes, *more: bytes, settings: Any = None) -> Any:
        config = ServeConfig(**(settings or {}))
        with listening(create_app(config, engine=self._engine), config) as port, Raw(port) as raw:
            raw.send(text)
            for drop in more:
                time.sleep(0.03)
                raw.send(drop)
            return raw.response()

    def unready(self, path: str, method: str = "POST", **request: Any) -> Any:
        app = create_app(ServeConfig(), engine=Engine(ServeConfig()))  # which is never started
        with TestClient(app, base_url="http://127.0.0.1") as client:
            return client.request(method, path, **request)


@pytest.mark.long
@pytest.mark.parametrize("case", [pytest.param(case, id=case.id) for case in serving.CASES])
def test_case(
    case: serving.Case,
    client_of: Callable[..., TestClient],
    engine: Engine,
    small: bytes,
    caplog: pytest.LogCaptureFixture,
) -> None:
    answer = case.ask(Here(client_of, engine, small))
    assert answer.status_code == case.http, answer.text
    if case.http >= 400:
        assert answer.json()["error"]["code"] == case.code
        assert answer.json()["error"]["message"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "Traceback" not in answer.text
    if case.check is not None:
        case.check(answer)
    assert "gsam.serve" not in {record.name for record in caplog.records}, "what clients do wrong is not logged"


def test_rows_with_a_status_are_sent() -> None:
    assert [row.id for row in rows() if row.http is not None and row.sent is None] == []


def test_images_queries_and_clicks_are_sent() -> None:
    """Those that are not need Python: arrays, options of `gsam.Picture`, files of this machine."""
    kinds: dict[str, list[str]] = {"images": [], "queries": [], "clicks": []}
    for row in SENT:
        number = int("".join(c for c in row.id if c.isdigit()))
        kind = "images" if number < 20 else "queries" if number < 26 else "clicks" if number < 32 else ""
        kinds.get(kind, []).append(row.id)
    assert {kind: len(found) for kind, found in kinds.items()} == {"images": 61, "queries": 36, "clicks": 38}
