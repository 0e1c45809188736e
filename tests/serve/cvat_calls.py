"""Requests as CVAT's server sends them."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from fastapi.testclient import TestClient
from PIL import Image

CALL = "/api/function_invocations"
CVAT = {
    "x-nuclio-project-name": "cvat",
    "x-nuclio-function-namespace": "nuclio",
    "x-nuclio-invoke-via": "domain-name",
    "x-nuclio-path": "/",
}
"""Headers of CVAT's server, beside the function's name."""
BAD_NUMBERS = [True, "1", None, 1e300, [1], {}]


def call(client: TestClient, name: str | None, body: object, **headers: str) -> Any:
    named = {} if name is None else {"x-nuclio-function-name": name}
    return client.post(CALL, json=body, headers={**CVAT, **named, **headers})


def refused(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def b64(image: bytes) -> str:
    return base64.b64encode(image).decode()


def png(pixels: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return b64(buffer.getvalue())
