"""Requests of different clients computed together: by shape, in order, and none for nothing."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from gsam.serve.config import ServeConfig
from gsam.serve.engine import COLLECTORS, NO_MEMORY, Engine
from gsam.serve.problems import ServeError

if TYPE_CHECKING:
    from gsam.inputs.image import Picture
    from gsam.pipeline import Pipeline
    from gsam.pipeline.limits import Limits
    from gsam.results.result import Result
    from gsam.text.queries import Queries

Asked: TypeAlias = "tuple[Picture, Queries, Limits]"
"""An image and what is asked of it."""
MOST_TILES = 400
"""Parts that one image is looked at in, at most."""
SLOWEST = 60
"""Seconds that a client is asked to stay away, at most."""


@dataclasses.dataclass(eq=False)
class Item:
    """An image that waits, and what is asked of it."""

    picture: Picture
    queries: Queries
    limits: Limits
    shape: Hashable
    """Equal for items that one program computes together; None for an image in tiles."""
    since: float
    answer: asyncio.Future[Result]
    """Done before its time where nobody waits any more."""


class Place:
    """A request that may ask once: the room for it is kept while its image is opened."""

    def __init__(self, batcher: Batcher) -> None:
        self._batcher = batcher
        self.open = True

    async def ask(self, picture: Picture, queries: Queries, limits: Limits) -> Result:
        """Wait for the result of an image.

        Args:
            picture: The image, its views made ahead by `prepared` where that is possible.
            queries: What is asked.
            limits: Those of the call.

        Returns:
            The same result as that of the pipeline's call.

        Raises:
            ServeError: 422 ``too_many_tiles``; 503 ``out_of_memory``.
        """
        self.leave()
        return await self._batcher._ask(picture, queries, limits)

    def leave(self) -> None:
        """Give the room back, if it was not used."""
        if self.open:
            self.open = False
            self._batcher._coming -= 1


class Batcher:
    """A queue in front of a pipeline, for one event loop.

    A batch is begun when it is full, when its first has waited ``batch_wait``, or when the device
    is idle and no other request is on its way.  One may be begun while the one before is computed.
    """

    def __init__(self, engine: Engine, config: ServeConfig, *, most: int | None = None) -> None:
        """Make a queue.

        Args:
            engine: The models and their threads.
            config: Its length and patience.
            most: Images computed together, at most; by default as many as pay.
        """
        self._engine = engine
        self._config = config
        self._most = most
        self._items: dict[Item, None] = {}  # in order
        self._coming = 0
        self._running: set[asyncio.Task[None]] = set()
        self._in_tiles = False
        self._timer: asyncio.TimerHandle | None = None
        self._pace = 0.0
        self.on_batch: Callable[[int], None] = lambda count: None
        """Called with the number of images of each batch."""

    @property
    def waiting(self) -> int:
        """Number of requests that wait, those whose image is being opened included."""
        return len(self._items) + self._coming

    @property
    def most(self) -> int:
        """Images computed together, at most."""
        return self._engine.together if self._most is None else self._most

    @contextlib.contextmanager
    def place(self) -> Iterator[Place]:
        """Take a place in the queue before the image is opened.

        Raises:
            ServeError: 503 ``busy``, with ``Retry-After``: as many wait as may.
        """
        if self.waiting >= self._config.queue:
            seconds = min(max(math.ceil(self._pace * self.waiting), 1), SLOWEST)
            raise ServeError(
                503, "busy", f"{self.waiting} requests are waiting: try again", {"Retry-After": str(seconds)}
            )
        self._coming += 1
        place = Place(self)
        try:
            yield place
        finally:
            place.leave()
            self._pump()  # others need not wait for this one any more

    async def find(self, opened: Callable[[], Asked]) -> Result:
        """Open an image in a thread and wait for its result.

        Args:
            opened: Opens the image, and gives it with what is asked.

        Raises:
            ServeError: As of `place` and `Place.ask`.
        """
        with self.place() as place:
            picture, queries, limits = await self._engine.write(self._opened, opened)
            return await place.ask(picture, queries, limits)

    def close(self) -> None:
        """Refuse what waits, and forget what is begun."""
        for item in list(self._items):
            _fail(item, ServeError(503, "stopping", "the server is stopping"))
        self._items.clear()
        for task in self._running:
            task.cancel()
        self._stop_timer()

    def _opened(self, opened: Callable[[], Asked]) -> Asked:
        from gsam.runtime.batch import prepared

        picture, queries, limits = opened()
        if not limits.tiled(picture.pixels.shape):
            picture = prepared(picture, self._engine.pipe.views)
        return picture, queries, limits

    async def _ask(self, picture: Picture, queries: Queries, limits: Limits) -> Result:
        loop = asyncio.get_running_loop()
        shape = self._shape_of(picture, queries, limits)
        item = Item(picture, queries, limits, shape, loop.time(), loop.create_future())
        self._items[item] = None
        self._pump()
        try:
            return await item.answer
        finally:
            self._items.pop(item, None)

    def _shape_of(self, picture: Picture, queries: Queries, limits: Limits) -> Hashable:
        from gsam.inputs.image import canvas
        from gsam.runtime.shapes import query_bucket

        height, width = picture.pixels.shape[:2]
        if limits.tiled((height, width)):
            check_tiles((height, width), limits)
            return None
        canvases = (canvas(view, [(height, width)]) for view in self._engine.pipe.views)
        return (limits, query_bucket(len(queries.prompts)), *canvases)

    def _pump(self) -> None:
        """Begin what is due, and see to it that the rest is looked at in time."""
        self._stop_timer()
        while len(self._running) < COLLECTORS and (batch := self._due()):
            for item in batch:
                del self._items[item]
            self._in_tiles = self._in_tiles or batch[0].shape is None
            task = asyncio.get_running_loop().create_task(self._compute(batch))
            self._running.add(task)
            task.add_done_callback(self._ended)
        waiting = [item for item in self._items if item.shape is not None]
        if waiting and len(self._running) < COLLECTORS:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(waiting[0].since + self._config.batch_wait, self._pump)

    def _due(self) -> list[Item]:
        """The batch to begin now, that of the one who waits longest first; empty for none."""
        groups: dict[Hashable, list[Item]] = {}
        for item in self._items:
            groups.setdefault(item.shape, []).append(item)
        idle = not self._running and not self._coming
        now = asyncio.get_running_loop().time()
        for shape, items in groups.items():
            if shape is None:
                if not self._in_tiles:
                    return items[:1]
            elif idle or len(items) >= self.most or now >= items[0].since + self._config.batch_wait:
                return items[: self.most]
        return []

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            self._pump()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def _compute(self, batch: Sequence[Item]) -> None:
        loop = asyncio.get_running_loop()
        begun, count = loop.time(), len(batch)
        try:
            await self._answer(batch)
        finally:
            if batch[0].shape is None:
                self._in_tiles = False
            self._pace += ((loop.time() - begun) / count / COLLECTORS - self._pace) / 4
            for item in batch:
                _fail(item, ServeError(503, "stopping", "the server is stopping"))  # if it has no answer yet

    async def _answer(self, batch: Sequence[Item]) -> None:
        """Answer all of a batch; one that fails is computed in parts, down to each alone."""
        batch = [item for item in batch if not item.answer.done()]
        if not batch:
            return
        try:
            found = await self._results(batch)
        except Exception as error:
            if len(batch) == 1:
                _fail(batch[0], error)
                return
            memory = isinstance(error, ServeError) and error.code == NO_MEMORY
            part = (len(batch) + 1) // 2 if memory else 1
        else:
            for item, result in found:
                if not item.answer.done():
                    item.answer.set_result(result)
            return
        for start in range(0, len(batch), part):  # outside of `except`: what failed holds no memory any more
            await self._answer(batch[start : start + part])

    async def _results(self, batch: Sequence[Item]) -> list[tuple[Item, Result]]:
        pipe = self._engine.pipe
        if batch[0].shape is None:
            self.on_batch(1)
            return [(batch[0], await self._engine.collect(_by_tiles, pipe, batch[0], self.most))]
        remember = len(batch) == 1 and not self._items  # the next words about one image cost no encoder
        alive, begun = await self._engine.begin(_begun, pipe, batch, remember)
        if not alive:
            return []
        self.on_batch(len(alive))
        return list(zip(alive, await self._engine.collect(pipe.collect, begun), strict=True))


def check_tiles(size: tuple[int, int], limits: Limits) -> None:
    """Refuse an image that would be looked at in too many tiles.

    Args:
        size: Its height and width.
        limits: Those of the call.

    Raises:
        ServeError: 422 ``too_many_tiles``.
    """
    step = max(limits.tile * (1 - limits.overlap), 1.0)
    count = math.prod(math.ceil(max(side - limits.tile, 0) / step) + 1 for side in size)
    if count > MOST_TILES:
        raise ServeError(
            422, "too_many_tiles", f"{count} tiles, at most {MOST_TILES} are looked at: a larger tile, or less overlap"
        )


def _begun(pipe: Pipeline, batch: Sequence[Item], remember: bool) -> tuple[list[Item], Any]:
    """Start the device on those of a batch that somebody still waits for, filled up to a size that
    is compiled.
    """
    from gsam.runtime.shapes import filled

    alive = [item for item in batch if not item.answer.done()]
    if not alive:
        return [], None
    pairs = [(item.picture, item.queries) for item in alive]
    size = filled(len(alive), pipe.devices)
    return alive, pipe.dispatch(pairs, alive[0].limits, size, remember=remember and size == 1)


def _by_tiles(pipe: Pipeline, item: Item, most: int) -> Result:
    """Look at a large image in tiles, as long as somebody waits for it."""
    from gsam.pipeline.tile import by_tiles
    from gsam.runtime.shapes import filled

    def find(some: Sequence[Picture]) -> list[Result]:
        if item.answer.done():
            raise ServeError(503, "stopping", "nobody waits any more")
        size = filled(len(some), pipe.devices)
        return pipe.collect(pipe.dispatch([(part, item.queries) for part in some], item.limits, size))

    return by_tiles(item.picture, item.limits, most, find)


def _fail(item: Item, error: Exception) -> None:
    if not item.answer.done():
        item.answer.set_exception(error)
