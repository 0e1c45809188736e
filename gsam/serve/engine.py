"""The models of a server: loaded and compiled before it says that it is ready, run in threads."""

from __future__ import annotations

import asyncio
import collections
import functools
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from gsam.serve.config import ServeConfig
from gsam.serve.problems import LOG, ServeError

if TYPE_CHECKING:  # loading JAX takes a second, in which the page is open already
    from gsam.models.promptable import PromptableSegmenter
    from gsam.pipeline import Pipeline
    from gsam.predictors.automatic.candidates import Candidates
    from gsam.predictors.automatic.generator import MaskGenerator
    from gsam.predictors.image import Predictor

P = ParamSpec("P")
T = TypeVar("T")
READERS = 4
"""Threads that open images and write answers."""
COLLECTORS = 2
"""Threads that wait for the device: a batch in each, or an image in tiles in one."""
NO_MEMORY = "out_of_memory"
WARM_SHAPE = (192, 256)
"""Height and width of the image that programs are compiled with; most cameras' have this ratio."""


class Engine:
    """The pipeline and the predictor, and the threads that they work in.

    Words, clicks and the images of sessions have a thread each, so that a click does not wait for
    another's image to be encoded; on one device they share it.  Batches are waited for in threads
    of their own.
    """

    def __init__(self, config: ServeConfig) -> None:
        self.config = config
        self.failure: str | None = None
        self.together = 1
        """Images that pay to be computed together here, at most; known when it is ready."""
        self._ready = threading.Event()
        self._pipe: Pipeline | None = None
        self._predictor: Predictor | None = None
        self._generator: MaskGenerator | None = None
        self._everything: Mapping[str, Any] = {}
        self._reading = ThreadPoolExecutor(READERS, "gsam-read")
        self._words = ThreadPoolExecutor(1, "gsam-words")
        self._collecting = ThreadPoolExecutor(COLLECTORS, "gsam-collect")
        self._clicks = ThreadPoolExecutor(1, "gsam-clicks")
        self._images = ThreadPoolExecutor(1, "gsam-images")
        self._waiting = collections.Counter[ThreadPoolExecutor]()

    def start(self) -> None:
        """Begin to load and compile, in a thread."""
        threading.Thread(target=self._prepare, name="gsam-load", daemon=True).start()

    def close(self) -> None:
        """Let the threads end; what they have begun is finished."""
        for pool in (self._reading, self._words, self._collecting, self._clicks, self._images):
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

    @property
    def compilations(self) -> int:
        """Number of programs compiled so far."""
        return sum(one.compilations for one in (self._pipe, self._predictor, self._generator) if one is not None)

    def check_ready(self) -> None:
        """Raise `ServeError` 503 while the models are loaded, or if they cannot be."""
        if self.failure is not None:
            raise ServeError(503, "models_failed", self.failure)
        if not self.ready:
            raise ServeError(503, "not_ready", "the models are being loaded", {"Retry-After": "5"})

    async def read(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Open images in a thread.  Raises `ServeError` 503 if too much waits."""
        return await self.run(self._reading, functools.partial(function, *args, **kwargs))

    async def write(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Make an answer in a thread; what is computed already is never refused."""
        return await self._go(self._reading, functools.partial(function, *args, **kwargs))

    async def on_words(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run the pipeline in its thread.  Raises `ServeError` 503 if too much waits."""
        return await self.run(self._words, functools.partial(function, *args, **kwargs))

    async def on_clicks(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run the predictor in its thread; images that are set are this thread's."""
        return await self.run(self._clicks, functools.partial(function, *args, **kwargs))

    async def on_images(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Encode images for clicks in a thread.  Raises `ServeError` 503 if too much waits."""
        return await self.run(self._images, functools.partial(function, *args, **kwargs))

    async def begin(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Begin a batch in the thread of words; whoever calls it sees to it that few wait."""
        return await self._go(self._words, functools.partial(function, *args, **kwargs))

    async def collect(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Wait for a batch in a thread; as few as `COLLECTORS` at a time."""
        return await self._go(self._collecting, functools.partial(function, *args, **kwargs))

    async def everything(self, pixels: NDArray[np.uint8]) -> Candidates:
        """Find everything in an image, in the thread of words; the first time compiles.

        Args:
            pixels: [H, W, 3] uint8 RGB.

        Returns:
            The masks as run lengths with their boxes and scores.

        Raises:
            gsam.errors.UsageError: The segmenter takes no points.
        """
        predictor = self.predictor
        return await self.on_words(lambda: self._generator_of(predictor).find(pixels))

    async def run(self, pool: ThreadPoolExecutor, call: Callable[[], T]) -> T:
        """Run in a pool, of this engine or another's, that does not have too much to do.

        Raises:
            ServeError: 503 ``busy``; 503 ``out_of_memory``.
        """
        if self._waiting[pool] >= self.config.queue:
            raise ServeError(503, "busy", "too many requests are waiting: try again", {"Retry-After": "1"})
        return await self._go(pool, call)

    async def _go(self, pool: ThreadPoolExecutor, call: Callable[[], T]) -> T:
        self._waiting[pool] += 1
        future = asyncio.get_running_loop().run_in_executor(pool, call)
        future.add_done_callback(lambda _: self._left(pool))
        try:
            return await future
        except Exception as error:
            if out_of_memory(error):
                raise no_memory() from error
            raise

    def _left(self, pool: ThreadPoolExecutor) -> None:
        self._waiting[pool] -= 1

    def _prepare(self) -> None:
        try:
            self._load()
            self._ready.set()
            LOG.info("ready")
        except Exception as error:
            from gsam.dataset.report import explain

            self.failure = explain(error)
            LOG.error("the models cannot be loaded: %s", self.failure)

    def _load(self) -> None:
        """Load the models, and compile what first requests need."""
        from gsam.build.pipelines import load
        from gsam.predictors.image import Predictor
        from gsam.serve.warming import looks_again, most_together, settings_everywhere, warm_clicks, warm_words

        pipe = load(self.config.pipeline, **self.config.given)
        self.together = most_together(pipe, self.config.batch)
        self._everything = settings_everywhere(self.config)
        warm_words(pipe, self.together, WARM_SHAPE)
        segmenter: Any = self.config.predictor or self._segmenter_of(pipe)
        closer = self.config.predictor is None and looks_again(pipe)
        predictor = Predictor(segmenter, device=pipe.devices[0], refine=closer)
        warm_clicks(predictor, WARM_SHAPE)
        self._pipe, self._predictor = pipe, predictor

    def _segmenter_of(self, pipe: Pipeline) -> PromptableSegmenter:
        if pipe.segmenter is None:
            raise ServeError(503, "no_predictor", f"{pipe.name} has no segmenter that answers clicks: give --predictor")
        return pipe.segmenter

    def _generator_of(self, predictor: Predictor) -> MaskGenerator:
        """The generator of masks, made at its first use; in the thread of words only."""
        from gsam.predictors.automatic.generator import MaskGenerator

        if self._generator is None:
            self._generator = MaskGenerator(
                predictor.model, device=predictor.device, progress=False, **self._everything
            )
        return self._generator


def out_of_memory(error: BaseException) -> bool:
    """Tell whether something failed for want of memory, the device's or the machine's."""
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)


def no_memory() -> ServeError:
    """Make the error of a request that there is no memory for now."""
    return ServeError(503, NO_MEMORY, "not enough memory for this now: try again, or send less", {"Retry-After": "5"})
