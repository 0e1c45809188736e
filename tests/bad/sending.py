"""The same bad and odd input on its way to a server, for the column HTTP of the table.

A row says how it is sent by the function that makes its call: `Sendable` is such a function.
``tests/serve/test_bad_over_http.py`` sends them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SEGMENT, EVERYTHING, PREDICT = "/v1/segment", "/v1/everything", "/v1/sessions/{session}/predict"


@dataclasses.dataclass(frozen=True)
class Sent:
    """One request."""

    path: str
    fields: Mapping[str, Any]
    """Of the form, if there is a file, else of the JSON."""
    file: bytes | None = None
    name: str = "a.jpg"
    """The name of the file, as a browser would send it."""
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Of the server."""
    around: Callable[[], AbstractContextManager[Any]] = contextlib.nullcontext
    """The world in which it is sent."""
    code: str | None = None
    """Of the answer, where it is not that of the row's error."""
    same: Callable[[Any, Any], None] | None = None
    """Compares what the row's call returns with the JSON of the answer."""


@dataclasses.dataclass(frozen=True)
class Sendable:
    """The function that prepares a row's input, and the request with the same input."""

    make: Callable[[Path], Callable[[], Any]]
    sent: Sent

    def __call__(self, folder: Path) -> Callable[[], Any]:
        return self.make(folder)


def png_of(pixels: np.ndarray) -> bytes:
    """Pixels [H, W, 3] as a file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def uploaded(data: bytes, name: str = "a.jpg") -> Sent:
    """An image, asked for dogs."""

    def same(picture: Any, answer: Any) -> None:
        height, width = picture.pixels.shape[:2]
        assert (answer["width"], answer["height"]) == (width, height)

    return Sent(SEGMENT, {"query": "dog", "masks": "none"}, data, name, same=same)


def clicked(**prompt: Any) -> Sent | None:
    """What `gsam.Predictor.predict` is asked, if a click over HTTP can ask it."""
    names = {"point_coords": "points", "point_labels": "labels", "box": "box"}
    if not set(prompt) <= set(names):
        return None  # low-resolution masks are not sent, only the ids of earlier ones

    def same(found: Any, answer: Any) -> None:
        size = list(found.masks.shape[1:]) if hasattr(found, "masks") else list(found[0].shape[1:])
        assert [m["mask"]["size"] for m in answer["masks"]] == [size] * len(answer["masks"])
        assert answer["masks"]

    return Sent(PREDICT, {names[key]: plain(value) for key, value in prompt.items()}, same=same)


def plain(value: Any) -> Any:
    """Arrays and tuples as JSON has them."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return value.item() if isinstance(value, np.generic) else value
