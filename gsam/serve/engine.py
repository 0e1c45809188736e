"""The models of a server: loaded and compiled before it says that it is ready, run in threads."""

from __future__ import annotations

import asyncio
import collections
import functools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

import numpy as np

from gsam.build.pipelines import load
from gsam.dataset.report import explain
from gsam.models.promptable import PromptableSegmenter
from gsam.pipeline import Pipeline
from gsam.predictors.image import Predictor
from gsam.serve.config import ServeConfig
from gsam.serve.problems import LOG, ServeError

P = ParamSpec("P")
T = TypeVar("T")
READERS = 4
"""Threads that open images and write answers."""
WARM_SIDE = 256
"""Side in pixels of the image that programs are compiled with; they serve all sizes."""


class Engine:
    """The pipeline and the predictor, and the threads that they work in.

    Words and clicks have a thread each, so that a click does not wait for another's image to be
    encoded; on one device they share it.
    """

    def __init__(self, config: ServeConfig) -> None:
        self.config = config
        self.failure: str | None = None
        self._ready = threading.Event()
        self._pipe: Pipeline | None = None
        self._predictor: Predictor | None = None
        self._reading = ThreadPoolExecutor(READERS, "gsam-read")
        self._words = ThreadPoolExecutor(1, "gsam-words")
        self._clicks = ThreadPoolExecutor(1, "gsam-clicks")
        self._waiting = collections.Counter[ThreadPoolExecutor]()

    def start(self) -> None:
        """Begin to load and compile, in a thread."""
        threading.Thread(target=self._prepare, name="gsam-load", daemon=True).start()

    def close(self) -> None:
        """Let the threads end; what they have begun is finished."""
        for pool in (self._reading, self._words, self._clicks):
            pool.shutdown(wait=False, cancel_futures=True)

    @property
    def ready(self) -> bool:
        """Whether every program that a first request needs is compiled."""
        return self._ready.is_set()

    @property
    def pipe(self) -> Pipeline:
        """The pipeline that answers words.  Raises `ServeError` 503 before it is ready."""
        self.check_ready()
        assert self._pipe is not None
        return self._pipe

    @property
    def predictor(self) -> Predictor:
        """The predictor that answers clicks.  Raises `ServeError` 503 before it is ready."""
        self.check_ready()
        assert self._predictor is not None
        return self._predictor

    def check_ready(self) -> None:
        """Raise `ServeError` 503 while the models are loaded, or if they cannot be."""
        if self.failure is not None:
            raise ServeError(503, "models_failed", self.failure)
        if not self.ready:
            raise ServeError(503, "not_ready", "the models are being loaded", {"Retry-After": "5"})

    async def read(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run host work (opening, encoding answers) in a thread."""
        return await self._run(self._reading, functools.partial(function, *args, **kwargs))

    async def on_words(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run the pipeline in its thread."""
        return await self._run(self._words, functools.partial(function, *args, **kwargs))

    async def on_clicks(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run the predictor in its thread; images that are set are this thread's."""
        return await self._run(self._clicks, functools.partial(function, *args, **kwargs))

    async def _run(self, pool: ThreadPoolExecutor, call: Callable[[], T]) -> T:
        """Run in a pool that does not have too much to do.  Raises `ServeError` 503."""
        if self._waiting[pool] >= self.config.queue:
            raise ServeError(503, "busy", "too many requests are waiting: try again", {"Retry-After": "1"})
        self._waiting[pool] += 1
        future = asyncio.get_running_loop().run_in_executor(pool, call)
        future.add_done_callback(lambda _: self._left(pool))
        return await future

    def _left(self, pool: ThreadPoolExecutor) -> None:
        self._waiting[pool] -= 1

    def _prepare(self) -> None:
        try:
            self._load()
            self._ready.set()
            LOG.info("ready")
        except Exception as error:
            self.failure = explain(error)
            LOG.error("the models cannot be loaded: %s", self.failure)

    def _load(self) -> None:
        pipe = load(self.config.pipeline, **self.config.given)
        image = np.full((WARM_SIDE, WARM_SIDE, 3), 127, np.uint8)
        pipe(image, "warm")
        segmenter: Any = self.config.predictor or self._segmenter_of(pipe)
        predictor = Predictor(segmenter, device=pipe.devices[0])
        predictor.set_image(image)
        for multimask in (True, False):
            predictor.predict([[20, 20]], [1], multimask_output=multimask)
        predictor.reset_image()
        self._pipe, self._predictor = pipe, predictor

    def _segmenter_of(self, pipe: Pipeline) -> Any:
        """The pipeline's own segmenter: one set of weights serves words and clicks."""
        found = next((step for step in pipe.steps.values() if isinstance(step, PromptableSegmenter)), None)
        if found is None:
            raise ServeError(503, "no_predictor", f"{pipe.name} has no segmenter that answers clicks: give --predictor")
        return found
