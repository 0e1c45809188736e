"""X-AnyLabeling's videos: requests as its client makes them, and answers as it reads them."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi")
av = pytest.importorskip("av")

from fastapi.testclient import TestClient  # noqa: E402
from PIL import Image  # noqa: E402

from gsam.results.masks import polygons  # noqa: E402
from gsam.serve.video_folder import LOCK  # noqa: E402
from tests.serve import clips  # noqa: E402

CLIP = Path(__file__).parents[2] / "notebooks" / "clip.mp4"
MODEL = "gsam-video"
WORDS = "cow. cactus. blue circle"
COUNT = 6
SIZE = (158, 172)
Clients = Callable[..., TestClient]


def uri(picture: Image.Image, form: str = "PNG") -> str:
    buffer = io.BytesIO()
    picture.save(buffer, form)
    return f"data:image/{form.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def plain(count: int, width: int = 64, height: int = 48) -> list[str]:
    """Frames of one colour each."""
    return [uri(Image.new("RGB", (width, height), (10 + 9 * i, 90, 120))) for i in range(count)]


def post(client: Any, name: str, **fields: object) -> Any:
    return client.post(f"/v1/video/{name}", json={"model": MODEL, **fields})


def data(answer: Any) -> Any:
    body = answer.json()
    assert (answer.status_code, body["success"]) == (200, True), body
    return body["data"]


def begun(client: Any, frames: list[str]) -> str:
    """Begin a session; its id."""
    found = data(post(client, "init", frames=frames, start_frame_index=0))
    assert found["total_frames"] == len(frames)
    return str(found["session_id"])


def asked(client: Any, session: str, frame: int = 0, **fields: object) -> list[dict[str, Any]]:
    """The shapes of words or points on a frame."""
    params = fields.pop("params", {"epsilon_factor": 0.0})
    return list(data(post(client, "prompt", session_id=session, frame_index=frame, params=params, **fields))["masks"])


def share(x: float, y: float) -> list[float]:
    """A point of the clip as the client sends it."""
    return [x / SIZE[1], y / SIZE[0]]


def clicked(client: Any, session: str, frame: int = 0, point: tuple[float, float] = (120, 110)) -> list[dict[str, Any]]:
    return asked(client, session, frame, points=[share(*point)], point_labels=[1], obj_id=10000)


def told(client: Any, session: str, **fields: object) -> list[dict[str, Any]]:
    """The events of a following, as the client reads them."""
    answer = post(client, "propagate/stream", session_id=session, **fields)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/event-stream")
    return [found for _, found in clips.events(answer.text.split("\n")) if found.get("type")]


def refused(answer: Any) -> tuple[int, str]:
    body = answer.json()
    assert body["success"] is False
    assert body["message"] == body["error"]["message"]
    return answer.status_code, body["error"]["code"]


def files(folder: Path) -> list[Path]:
    """The files and folders of videos."""
    return [f for f in folder.glob("*/*") if f.name != LOCK]


def filled(shapes: list[dict[str, Any]]) -> np.ndarray:
    return polygons.filled([[np.array(shape["points"])] for shape in shapes], SIZE)


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / max((a | b).sum(), 1))
