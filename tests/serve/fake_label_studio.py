"""A Label Studio of a few paths, and requests as it makes them.

It gives pictures to those who show a token, and tokens for tokens.
"""

from __future__ import annotations

import contextlib
import json
import threading
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from fastapi.testclient import TestClient

from gsam.results.masks import brush

LEGACY = "0123456789abcdef0123456789abcdef01234567"
PERSONAL = "aaaa.bbbb.cccc"
DOG = [351.0, 166.0, 504.0, 344.0]
"""The box of the dog, as `gsam.nano.heldout.sample` drew it."""
LABELS = '<Label value="Hund" predicted_values="dog"/><Label value="Pizza"/>'
HEAD = '<View><Image name="pic" value="$image"/>'
BOXES = f'{HEAD}<RectangleLabels name="box" toName="pic">{LABELS}</RectangleLabels></View>'
ALL = f"""{HEAD}<TextArea name="words" toName="pic"/>
  <KeyPointLabels name="point" toName="pic" smart="true">{LABELS}</KeyPointLabels>
  <RectangleLabels name="box" toName="pic">{LABELS}</RectangleLabels>
  <BrushLabels name="brush" toName="pic">{LABELS}</BrushLabels>
  <PolygonLabels name="outline" toName="pic">{LABELS}</PolygonLabels></View>"""
UPLOADED = "/data/upload/1/scene.png"


class FakeLabelStudio(ThreadingHTTPServer):
    """Remembers who asked for what."""

    daemon_threads = True

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files, self.elsewhere = files, ""
        self.asked: list[tuple[str, str | None]] = []
        self.given = 0
        self.valid = {f"Token {LEGACY}"}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: FakeLabelStudio

    def do_GET(self) -> None:
        who, path = self.headers.get("Authorization"), self.path.partition("?")[0]
        self.server.asked.append((self.path, who))
        if path == "/open.png":
            return self._send(200, self.server.files["scene.png"])
        if path.startswith("/away"):
            return self._send(302, b"", Location=self.server.elsewhere)
        if path == "/login-first.png":
            return self._send(302, b"", Location="/user/login/?next=/")
        if path == "/user/login/":
            return self._send(200, b"<!doctype html><title>Log in</title>")
        if who not in self.server.valid:
            return self._send(401, b'{"detail": "no"}')
        if path == "/api/current-user/whoami":
            return self._send(200, b'{"id": 1}')
        name = "scene.png" if path.startswith(("/data/local-files/", "/tasks/")) else path.rpartition("/")[2]
        if name not in self.server.files:
            return self._send(404, b"")
        return self._send(200, self.server.files[name])

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, None))
        if self.path != "/api/token/refresh/" or body != {"refresh": PERSONAL}:
            return self._send(401, b"{}")
        self.server.given += 1
        self.server.valid = {f"Bearer short{self.server.given}"}
        return self._send(200, json.dumps({"access": f"short{self.server.given}"}).encode())

    def _send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@contextlib.contextmanager
def fake_label_studio(files: dict[str, bytes]) -> Iterator[FakeLabelStudio]:
    """Serve files, each by its name at the end of any path."""
    server = FakeLabelStudio(files)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def ask(client: TestClient, config: Any = ALL, image: Any = UPLOADED, context: Any = None, number: Any = 7) -> Any:
    """What one task is answered."""
    request = {
        "tasks": [{"id": number, "data": {"image": image}, "annotations": [], "predictions": []}],
        "project": "1.1795406520",
        "label_config": config,
        "params": {"login": None, "password": None, "context": context},
    }
    answer = client.post("/predict", json=request)
    assert answer.status_code == 200, answer.text
    (found,) = answer.json()["results"]
    return found


def status(client: TestClient) -> Any:
    return client.get("/v1/integrations").json()["label_studio"]


def point(x: float, y: float, positive: int = 1, label: str = "Hund") -> dict[str, Any]:
    value = {"x": x / 5.12, "y": y / 5.12, "width": 0.3, "keypointlabels": [label]}
    return {
        "id": uuid.uuid4().hex,
        "type": "keypointlabels",
        "from_name": "point",
        "to_name": "pic",
        "is_positive": positive,
        "value": value,
    }


def rectangle(box: list[float]) -> dict[str, Any]:
    x0, y0, x1, y1 = (v / 5.12 for v in box)
    value = {"x": x0, "y": y0, "width": x1 - x0, "height": y1 - y0, "rotation": 0, "rectanglelabels": ["Hund"]}
    return {"id": uuid.uuid4().hex, "type": "rectanglelabels", "from_name": "box", "to_name": "pic", "value": value}


def written(*texts: str) -> dict[str, Any]:
    return {
        "id": uuid.uuid4().hex,
        "type": "textarea",
        "from_name": "words",
        "to_name": "pic",
        "value": {"text": list(texts)},
    }


def overlap(result: dict[str, Any], box: list[float]) -> float:
    """IoU of a brush's bounds and a box."""
    size = result["original_height"], result["original_width"]
    mask = brush.unpack(bytes(result["value"]["rle"]), size)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    own = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    x0, y0, x1, y1 = np.maximum(own[:2], box[:2]).tolist() + np.minimum(own[2:], box[2:]).tolist()
    inside = max(x1 - x0, 0) * max(y1 - y0, 0)
    area = lambda b: (b[2] - b[0]) * (b[3] - b[1])  # noqa: E731
    return float(inside / (area(own) + area(box) - inside))
