"""A pipeline without models, for what is about queues: it answers with the number of the image."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from gsam.inputs.image import Picture
from gsam.pipeline.limits import Limits
from gsam.serve.config import ServeConfig
from gsam.serve.engine import Engine
from gsam.text.queries import parse_queries


class FakePipe:
    """Records its batches; it can be held, and it fails as it is told."""

    name = "fake"
    compilations = 0

    def __init__(self, fails: Callable[[Sequence[int]], Exception | None] = lambda numbers: None) -> None:
        self.devices = [SimpleNamespace(platform="cpu")]
        self.views: tuple[Any, ...] = ()
        self.limits = Limits()
        self.fails = fails
        self.begun: list[list[int]] = []
        """The numbers of the images of each batch that was begun, also of those that failed."""
        self.sizes: list[int] = []
        self.remembered: list[bool] = []
        self.open = threading.Event()
        """Batches are finished while it is set."""
        self.open.set()

    def limits_for(self, settings: Mapping[str, Any]) -> Limits:
        return self.limits.for_call(settings, phrases=False)

    def dispatch(self, batch: Sequence[Any], limits: Limits, size: int, *, remember: bool = False) -> list[int]:
        numbers = [int(picture.pixels[0, 0, 0]) for picture, _ in batch]
        self.begun.append(numbers)
        self.sizes.append(size)
        self.remembered.append(remember)
        if error := self.fails(numbers):
            raise error
        return numbers

    def collect(self, begun: list[int]) -> list[Any]:
        assert self.open.wait(30)
        return begun


def fake_engine(pipe: FakePipe, together: int = 4) -> Engine:
    """An engine that is ready, with a pipeline that is none."""
    engine = Engine(ServeConfig())
    engine._pipe = pipe  # type: ignore[assignment]
    engine.together = together
    engine._ready.set()
    return engine


def asked(number: int, query: str = "dog", **limits: Any) -> Callable[[], Any]:
    """An image that is known by its colour, and what is asked of it."""
    picture = Picture(np.full((32, 32, 3), number, np.uint8))
    return lambda: (picture, parse_queries(query), Limits(**limits))
