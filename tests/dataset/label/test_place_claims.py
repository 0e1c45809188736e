"""Claims on parts: held while their process lives, and taken over when it is dead."""

from __future__ import annotations

import collections
import json
import os
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from gsam.dataset.label.claims import Claims
from gsam.dataset.label.place import LocalPlace, Place, place_of


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """A place of each kind, prepared."""
    if request.param == "bucket":
        fsspec = pytest.importorskip("fsspec")
    made = place_of(tmp_path if request.param == "folder" else f"memory://{uuid.uuid4().hex}")
    made.prepare()
    yield made
    if request.param == "bucket":
        fsspec.filesystem("memory").store.clear()


def foreign(**more: object) -> bytes:
    return json.dumps({"host": "elsewhere", "pid": 1, **more}).encode()


def wait_until(true: object, seconds: float = 10.0) -> None:
    until = time.monotonic() + seconds
    while not true():  # type: ignore[operator]
        assert time.monotonic() < until
        time.sleep(0.02)


def test_a_claim_is_held_until_its_holder_is_dead(place: Place) -> None:
    one, two = Claims(place, 0.05, 1.0), Claims(place, 0.05, 1.0)
    with one.held(3) as mine, two.held(3) as other, two.held(4) as free:
        assert (mine, other, free) == (True, False, True)
        time.sleep(1.3)  # signs of life are given
        with two.held(3) as still:
            assert not still
    with two.held(3) as mine:
        assert mine
    assert place.names("claims") == []


def test_claims_overlap_and_one_thread_keeps_them(place: Place) -> None:
    one, two = Claims(place, 0.05, 1.0), Claims(place, 0.05, 1.0)
    first, second = one.take(1), one.take(2)
    assert first is not None
    assert second is not None
    assert one.take(1) is None  # it has it already
    assert (first.part, second.part) == (1, 2)
    assert sum(thread.name == "gsam-claims" for thread in threading.enumerate()) == 1
    time.sleep(1.3)
    assert two.take(1) is None
    assert two.take(2) is None
    first.release()
    first.release()
    taken = two.take(1)
    assert taken is not None
    first.release()  # no longer its own
    assert place.names("claims") == ["000001", "000002"]
    taken.release()
    with one:
        assert one.take(5) is not None
    assert place.names("claims") == []
    wait_until(lambda: all(thread.name != "gsam-claims" for thread in threading.enumerate()))
    again = one.take(1)
    assert again is not None
    again.release()


def test_a_claim_that_was_taken_over_is_not_removed_by_its_first_holder(place: Place) -> None:
    one = Claims(place, 100, 200)
    claim = one.take(1)
    assert claim is not None
    place.put("claims/000001", foreign())
    claim.release()
    assert place.read("claims/000001") == foreign()


def test_a_process_of_this_machine_that_is_gone_holds_nothing(place: Place) -> None:
    claims = Claims(place)
    place.put("claims/000007", foreign())
    assert claims.take(7) is None
    place.put("claims/000007", json.dumps({**claims.me, "pid": 2**22 + 1}).encode())
    with claims.held(7) as mine:
        assert mine
    assert place.names("claims") == []


def test_a_claim_that_is_old_by_the_store_s_clock(tmp_path: Path) -> None:
    place = LocalPlace(tmp_path)
    claims, path = Claims(place), tmp_path / "claims" / "000007"
    place.put("claims/000007", foreign())
    assert claims.take(7) is None
    os.utime(path, (1, 1))
    with claims.held(7) as mine:
        assert mine
    for content in (b"", b"[1]", b'{"pid": "x"}', b"\xff"):  # half written, by a file system without links
        place.put("claims/000007", content)
        assert claims.take(7) is None
        os.utime(path, (1, 1))
        with claims.held(7) as mine:
            assert mine


def test_a_clock_that_was_set_back(tmp_path: Path) -> None:
    place = LocalPlace(tmp_path)
    claims, path = Claims(place, 0.1, 0.5), tmp_path / "claims" / "000007"
    place.put("claims/000007", foreign())
    os.utime(path, (4e9, 4e9))
    assert place.age("claims/000007") < -1e6
    assert claims.take(7) is None
    time.sleep(0.3)
    os.utime(path, (4e9 + 1, 4e9 + 1))  # a sign of life, in the future too
    time.sleep(0.3)
    assert claims.take(7) is None
    time.sleep(0.6)
    with claims.held(7) as mine:  # none for long enough
        assert mine


def test_one_of_many_takes_a_dead_one_s_claim(tmp_path: Path) -> None:
    place, won = LocalPlace(tmp_path), collections.Counter[bool]()
    for number in range(10):
        place.put(f"claims/{number:06d}", foreign())
        os.utime(tmp_path / "claims" / f"{number:06d}", (1, 1))
        wait, go = threading.Barrier(8), threading.Event()
        won.clear()

        def one(part: int, wait: threading.Barrier, go: threading.Event) -> None:
            claims = Claims(LocalPlace(tmp_path))
            wait.wait()
            with claims.held(part) as got:
                won[got] += 1
                go.wait(5)

        threads = [threading.Thread(target=one, args=(number, wait, go)) for _ in range(8)]
        for thread in threads:
            thread.start()
        wait_until(lambda: won.total() == 8)
        go.set()
        for thread in threads:
            thread.join()
        assert won == {True: 1, False: 7}


def test_claims_of_parts_that_are_done_are_swept(place: Place) -> None:
    for number in (1, 2):
        place.put(f"claims/{number:06d}", foreign())
    Claims(place).sweep({1, 5})
    assert place.names("claims") == ["000002"]
