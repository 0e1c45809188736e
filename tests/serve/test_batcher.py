"""Requests of different clients are computed together, none is lost, and none harms another."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi")

from gsam.pipeline.limits import Limits
from gsam.results.result import Result
from gsam.serve.batcher import MOST_TILES, Batcher, check_tiles
from gsam.serve.config import ServeConfig
from gsam.serve.engine import Engine
from gsam.serve.problems import ServeError
from gsam.serve.warming import most_together, warm_words
from gsam.types import View
from tests.serve.fake_words import FakePipe, asked, fake_engine

Run = Callable[..., Any]


@pytest.fixture
def run() -> Iterator[Run]:
    """Run a test with a batcher of a fake pipeline; the batch sizes it told are its ``told``."""
    engines: list[Engine] = []

    def go(pipe: FakePipe, test: Callable[[Batcher], Awaitable[Any]], together: int = 4, **settings: Any) -> Any:
        engine = fake_engine(pipe, together)
        engines.append(engine)

        async def main() -> Any:
            batcher = Batcher(engine, ServeConfig(**settings))
            try:
                return await test(batcher)
            finally:
                batcher.close()

        return asyncio.run(asyncio.wait_for(main(), 60))

    yield go
    for engine in engines:
        engine._pipe.open.set()  # type: ignore[union-attr]
        engine.close()


async def _all(batcher: Batcher, numbers: Sequence[int], **limits: Any) -> list[Any]:
    return await asyncio.gather(*(batcher.find(asked(n, **limits)) for n in numbers), return_exceptions=True)


async def _until(true: Callable[[], bool]) -> None:
    for _ in range(2000):
        if true():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it never came to that")


def test_requests_share_batches_and_each_gets_its_own_answer(run: Run) -> None:
    pipe, told = FakePipe(), []

    async def test(batcher: Batcher) -> None:
        batcher.on_batch = told.append
        assert await _all(batcher, range(11)) == list(range(11))

    run(pipe, test, batch_wait=5.0)
    assert [len(batch) for batch in pipe.begun] == [4, 4, 3]
    assert told == [4, 4, 3]
    assert pipe.sizes == [4, 4, 4]  # 3 are filled up to 4: few programs are compiled


def test_the_one_that_came_first_is_begun_first(run: Run) -> None:
    pipe = FakePipe()
    pipe.open.clear()

    async def test(batcher: Batcher) -> None:
        tasks = []
        for number in range(9):
            tasks.append(asyncio.ensure_future(batcher.find(asked(number))))
            await _until(lambda count=number: len(pipe.begun) + len(batcher._items) > min(count, 2))  # type: ignore[misc]
            await asyncio.sleep(0.03)
        pipe.open.set()
        assert await asyncio.gather(*tasks) == list(range(9))

    run(pipe, test, batch_wait=0.001)
    assert pipe.begun == [[0], [1], [2, 3, 4, 5], [6, 7, 8]]


def test_a_batch_is_of_one_shape_and_of_equal_limits(run: Run) -> None:
    pipe = FakePipe()

    async def test(batcher: Batcher) -> None:
        many = ". ".join(f"thing {chr(97 + i)}" for i in range(20))
        jobs = [asked(0), asked(1, threshold=0.5), asked(2, many), asked(3), asked(4, threshold=0.5), asked(5, many)]
        assert await asyncio.gather(*map(batcher.find, jobs)) == list(range(6))

    run(pipe, test, batch_wait=0.2)
    assert sorted(map(sorted, pipe.begun)) == [[0, 3], [1, 4], [2, 5]]


def test_one_that_is_alone_does_not_wait(run: Run) -> None:
    pipe = FakePipe()

    async def test(batcher: Batcher) -> float:
        begun = time.monotonic()
        assert await batcher.find(asked(7)) == 7
        return time.monotonic() - begun

    assert run(pipe, test, batch_wait=30.0) < 10
    assert pipe.remembered == [True]  # so that its next words cost no encoder


def test_the_first_waits_for_others_that_are_on_their_way_and_not_for_long(run: Run) -> None:
    pipe, arrived = FakePipe(), threading.Event()

    def late() -> Any:
        arrived.wait(30)
        return asked(2)()

    async def test(batcher: Batcher) -> float:
        other = asyncio.ensure_future(batcher.find(late))
        await asyncio.sleep(0)
        begun = time.monotonic()
        assert await batcher.find(asked(1)) == 1
        took = time.monotonic() - begun
        arrived.set()
        assert await other == 2
        return took

    took = run(pipe, test, batch_wait=0.2)
    assert 0.19 < took < 20
    assert pipe.begun == [[1], [2]]


def test_an_image_that_cannot_be_opened_keeps_nobody_waiting(run: Run) -> None:
    pipe = FakePipe()

    def broken() -> Any:
        time.sleep(0.2)
        raise ValueError("no image")

    async def test(batcher: Batcher) -> list[Any]:
        found = await asyncio.gather(batcher.find(broken), batcher.find(asked(1)), return_exceptions=True)
        assert batcher.waiting == 0
        return found

    found = run(pipe, test, batch_wait=120.0)  # more than the test is given, were it waited for
    assert str(found[0]) == "no image"
    assert found[1] == 1


def test_a_batch_is_begun_while_the_one_before_is_computed(run: Run) -> None:
    pipe = FakePipe()
    pipe.open.clear()

    async def test(batcher: Batcher) -> None:
        jobs = asyncio.ensure_future(_all(batcher, range(12)))
        await _until(lambda: len(pipe.begun) == 2)
        await asyncio.sleep(0.05)
        assert len(pipe.begun) == 2  # and no more: a third would only take memory
        pipe.open.set()
        assert await jobs == list(range(12))

    run(pipe, test, batch_wait=5.0)


def test_a_full_queue_refuses_and_loses_none(run: Run) -> None:
    pipe = FakePipe()
    pipe.open.clear()

    async def test(batcher: Batcher) -> None:
        jobs = asyncio.ensure_future(_all(batcher, range(100)))
        await _until(lambda: len(pipe.begun) == 2 and batcher._coming == 0)
        again = asyncio.ensure_future(_all(batcher, range(100, 110)))
        await _until(lambda: batcher.waiting == 16)
        pipe.open.set()
        found = [*await jobs, *await again]
        refused = [one for one in found if isinstance(one, ServeError)]
        answered = [one for one in found if isinstance(one, int)]
        assert (len(answered), len(refused)) == (24, 86)  # the last two of ten found it full again
        assert {(e.status, e.code) for e in refused} == {(503, "busy")}
        assert all(1 <= int(e.headers["Retry-After"]) <= 60 for e in refused)
        assert batcher.waiting == 0
        assert await batcher.find(asked(7)) == 7

    run(pipe, test, queue=16, batch_wait=5.0)


def test_who_leaves_is_not_computed(run: Run) -> None:
    pipe = FakePipe()
    pipe.open.clear()

    async def test(batcher: Batcher) -> None:
        first = [asyncio.ensure_future(batcher.find(asked(n))) for n in range(8)]
        await _until(lambda: len(pipe.begun) == 2)
        waits = [asyncio.ensure_future(batcher.find(asked(n))) for n in range(20, 23)]
        await _until(lambda: len(batcher._items) == 3)
        waits[1].cancel()
        first[0].cancel()  # which is computed already: its result is thrown away
        await asyncio.sleep(0)
        pipe.open.set()
        found = await asyncio.gather(*first, *waits, return_exceptions=True)
        assert [n for n in found if isinstance(n, int)] == [*range(1, 8), 20, 22]
        assert batcher.waiting == 0

    run(pipe, test, batch_wait=5.0)
    assert sorted(n for batch in pipe.begun for n in batch) == [*range(8), 20, 22]


def test_who_leaves_while_the_thread_is_busy_is_not_computed_either(run: Run) -> None:
    pipe, free = FakePipe(), threading.Event()

    async def test(batcher: Batcher) -> None:
        busy = asyncio.ensure_future(batcher._engine.begin(free.wait, 30))
        left, stays = (asyncio.ensure_future(batcher.find(asked(n))) for n in (1, 2))
        await _until(lambda: bool(batcher._running) and not batcher._items)
        left.cancel()
        await asyncio.sleep(0)
        free.set()
        assert await stays == 2
        assert await busy

    run(pipe, test, batch_wait=5.0)
    assert pipe.begun == [[2]]


def test_what_fails_in_a_batch_harms_no_other(run: Run) -> None:
    pipe = FakePipe(lambda numbers: ValueError("poison") if 2 in numbers else None)

    async def test(batcher: Batcher) -> list[Any]:
        return await _all(batcher, range(4))

    found = run(pipe, test, batch_wait=5.0)
    assert found[:2] + found[3:] == [0, 1, 3]
    assert str(found[2]) == "poison"
    assert pipe.begun == [[0, 1, 2, 3], [0], [1], [2], [3]]


def test_without_memory_a_batch_is_halved(run: Run) -> None:
    full = RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1 bytes.")
    pipe = FakePipe(lambda numbers: full if len(numbers) > 2 else None)

    async def test(batcher: Batcher) -> None:
        assert await _all(batcher, range(8)) == list(range(8))

    run(pipe, test, together=8, batch_wait=5.0)
    assert pipe.begun == [[0, 1, 2, 3, 4, 5, 6, 7], [0, 1, 2, 3], [0, 1], [2, 3], [4, 5, 6, 7], [4, 5], [6, 7]]


def test_without_any_memory_it_says_so_and_lives(run: Run) -> None:
    pipe = FakePipe(lambda numbers: MemoryError())

    async def test(batcher: Batcher) -> None:
        found = await _all(batcher, range(4))
        assert {(e.status, e.code, e.headers["Retry-After"]) for e in found} == {(503, "out_of_memory", "5")}
        pipe.fails = lambda numbers: None
        assert await _all(batcher, range(4)) == list(range(4))

    run(pipe, test, batch_wait=5.0)


def test_a_server_that_stops_tells_those_who_wait(run: Run) -> None:
    pipe = FakePipe()
    pipe.open.clear()

    async def test(batcher: Batcher) -> None:
        jobs = asyncio.ensure_future(_all(batcher, range(12)))
        await _until(lambda: len(pipe.begun) == 2)
        batcher.close()
        pipe.open.set()
        found = await jobs
        assert {(e.status, e.code) for e in found} == {(503, "stopping")}

    run(pipe, test, batch_wait=5.0)


@pytest.mark.parametrize("overlap", [0.2, 0.99999])
def test_tiles_have_a_limit_that_costs_nothing_to_check(overlap: float) -> None:
    with pytest.raises(ServeError) as caught:
        check_tiles((6000, 6000), Limits(tile=16, overlap=overlap))
    assert (caught.value.status, caught.value.code) == (422, "too_many_tiles")
    check_tiles((6000, 6000), Limits(tile=1024))


def test_the_limit_of_tiles_counts_them_as_the_pipeline_cuts_them() -> None:
    from gsam.pipeline.tile import tiles

    for size, tile, overlap in [((100, 900), 64, 0.2), ((3000, 4000), 200, 0.0), ((3000, 4000), 250, 0.25)]:
        limits = Limits(tile=tile, overlap=overlap)
        count = len(tiles(size, tile, overlap))
        if count <= MOST_TILES:
            check_tiles(size, limits)
        else:
            with pytest.raises(ServeError, match=f"^{count} tiles"):
                check_tiles(size, limits)


def test_every_size_of_a_batch_is_compiled_before_the_first_request() -> None:
    pipe = FakePipe()
    warm_words(pipe, 6, (8, 8))  # type: ignore[arg-type]
    assert pipe.sizes == [1, 2, 4, 8]
    assert [len(batch) for batch in pipe.begun] == [1, 2, 4, 6]


@pytest.mark.parametrize(
    ("platform", "devices", "side", "wanted", "most"),
    [
        ("cpu", 1, 160, 8, 1),  # more would take memory and no less time
        ("cpu", 4, 160, 8, 4),
        ("cpu", 4, 1024, 2, 2),
        ("gpu", 1, 1024, 8, 8),
        ("gpu", 1, 1024, 3, 3),
        ("gpu", 2, 1024, 32, 32),
    ],
)
def test_as_many_images_go_together_as_pay(platform: str, devices: int, side: int, wanted: int, most: int) -> None:
    pipe = SimpleNamespace(devices=[SimpleNamespace(platform=platform)] * devices, whole_views=[View(side)])
    assert most_together(pipe, wanted) == most  # type: ignore[arg-type]


class Tiled(FakePipe):
    """Finds nothing; images of the colour 9 wait at their third part."""

    def __init__(self) -> None:
        super().__init__(self._hold)
        self.third, self.go_on = threading.Event(), threading.Event()

    def _hold(self, numbers: Sequence[int]) -> None:
        if self.parts == 3 and numbers == [9]:
            self.third.set()
            assert self.go_on.wait(30)

    @property
    def parts(self) -> int:
        return self.begun.count([9])

    def collect(self, begun: list[int]) -> list[Any]:
        none = np.zeros(0, np.float32)
        boxes, ids = np.zeros((0, 4), np.float32), np.zeros(0, np.int64)
        return [Result(np.zeros((16, 16, 3), np.uint8), ["dog"], boxes, [], ids, none, none) for _ in begun]


@pytest.mark.parametrize("leaves", [True, False])
def test_an_image_in_tiles_holds_up_nobody_and_ends_when_nobody_waits(run: Run, leaves: bool) -> None:
    pipe = Tiled()

    async def test(batcher: Batcher) -> None:
        large = asyncio.ensure_future(batcher.find(asked(9, tile=16, overlap=0.0)))
        await _until(pipe.third.is_set)
        other = await batcher.find(asked(1))
        assert len(other) == 0
        assert not large.done()
        if leaves:
            large.cancel()
            await asyncio.sleep(0)
        pipe.go_on.set()
        await asyncio.wait({large})
        await _until(lambda: not batcher._running)

    run(pipe, test, together=1)
    assert pipe.parts == (3 if leaves else 5)  # the whole and four tiles
