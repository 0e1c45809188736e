"""Working ahead: in order, bounded, errors in their place, and no thread is left behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from gsam.inputs.video import open_frames
from gsam.inputs.video.prefetch import ahead
from tests.inputs.video.made import until_error


def threads() -> int:
    return sum(t.name == "gsam-frames" for t in threading.enumerate())


def until(true: object) -> None:
    end = time.monotonic() + 5
    while not true() and time.monotonic() < end:  # type: ignore[operator]
        time.sleep(0.002)


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_in_order_and_never_further_than_allowed(depth: int) -> None:
    made: list[int] = []

    def source() -> Iterator[int]:
        for i in range(20):
            made.append(i)
            yield i

    taken, most = 0, 0
    for i in ahead(source(), depth):
        assert i == taken
        taken += 1
        until(lambda: len(made) >= min(taken + depth, 20))  # noqa: B023
        time.sleep(0.002)
        most = max(most, len(made) - taken)
    assert taken == 20
    assert most == depth
    assert threads() == 0


def test_it_works_while_nobody_asks() -> None:
    def source() -> Iterator[str]:
        yield threading.current_thread().name
        yield threading.current_thread().name

    assert list(ahead(source(), 2)) == ["gsam-frames"] * 2
    assert list(ahead(source(), 0)) == [threading.current_thread().name] * 2


def test_errors_come_after_what_was_good() -> None:
    def source() -> Iterator[int]:
        yield 1
        yield 2
        raise KeyError("three")

    seen, error = until_error(ahead(source(), 4))
    assert seen == [1, 2]
    assert isinstance(error, KeyError)
    assert threads() == 0


def test_stopping_early_ends_the_thread_and_closes_the_source() -> None:
    closed = threading.Event()

    def source() -> Iterator[int]:
        try:
            while True:
                yield 0
        finally:
            closed.set()

    walk = ahead(source(), 2)
    assert next(walk) == 0
    assert threads() == 1
    walk.close()
    assert closed.wait(5)
    until(lambda: threads() == 0)
    assert threads() == 0


def test_frames_are_read_ahead_as_far_as_asked() -> None:
    made: list[int] = []

    def source() -> Iterator[np.ndarray]:
        for i in range(30):
            made.append(i)
            yield np.zeros((4, 4, 3), np.uint8)

    walk = iter(open_frames(source(), ahead=3))
    next(walk)
    until(lambda: len(made) >= 4)
    time.sleep(0.02)
    assert len(made) == 4
    walk.close()  # type: ignore[attr-defined]
