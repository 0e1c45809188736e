"""Which memories an object has on a frame, in numbers that follow from the original's rules."""

from __future__ import annotations

import numpy as np
import pytest

from gsam.tracking.memory_selection import SelectedMemory, before, closest, pack, select_memory
from gsam.tracking.objects import FrameOutput, TrackedObject
from gsam.tracking.spill_cache import SpillCache
from gsam.types import MemoryConfig

CACHE = SpillCache()
SHAPE: tuple[tuple[int, int], int] = (4, 2), 3


def output(frame: int, memory: bool = True) -> FrameOutput:
    remembered = np.full((4, 2), frame, np.float32) if memory else None
    return FrameOutput(CACHE, 1.0, 1.0, np.full(3, frame, np.float32), np.zeros((2, 2), np.float32), remembered)


def track(prompted: list[int], propagated: list[int]) -> TrackedObject:
    made = TrackedObject(1)
    made.prompted = {f: output(f) for f in prompted}
    made.propagated = {f: output(f) for f in propagated}
    return made


def shown(found: SelectedMemory) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Frames and ages of slots, frames and distances of pointers."""
    return [(int(o.memory[0, 0]), age) for o, age in found.slots], [(int(p[0]), ago) for p, ago in found.pointers]


def test_the_frames_before_and_those_with_prompts() -> None:
    slots, pointers = shown(
        select_memory(track([0], [1, 2, 3, 4, 5, 6, 7, 8]), 9, False, 20, MemoryConfig(7, 16, *SHAPE))
    )
    assert slots == [(0, 6), (3, 5), (4, 4), (5, 3), (6, 2), (7, 1), (8, 0)]
    assert pointers == [(0, 9), *((9 - ago, ago) for ago in range(1, 9))]


def test_backwards_it_is_the_frames_after() -> None:
    made = track([8], [7, 6, 5])
    slots, pointers = shown(select_memory(made, 4, True, 9, MemoryConfig(4, 16, *SHAPE)))
    assert slots == [(8, 3), (7, 2), (6, 1), (5, 0)]
    assert pointers == [(8, 4), (5, 1), (6, 2), (7, 3)]


def test_pointers_of_prompts_to_come_do_not_count_but_their_memory_does() -> None:
    slots, pointers = shown(select_memory(track([0, 6], [1]), 2, False, 10, MemoryConfig(3, 16, *SHAPE)))
    assert slots == [(0, 2), (6, 2), (1, 0)]
    assert pointers == [(0, 2), (1, 1)]


def test_a_short_video_has_fewer_pointers_and_a_live_one_all() -> None:
    made = track([0], list(range(1, 30)))
    assert len(select_memory(made, 30, False, None, MemoryConfig(3, 16, *SHAPE)).pointers) == 1 + 15
    assert len(select_memory(made, 3, False, 4, MemoryConfig(3, 16, *SHAPE)).pointers) == 1 + 2


def test_strides_and_the_nearest_prompts() -> None:
    assert [before(10, ago, False, 3) for ago in (1, 2, 3, 4)] == [9, 6, 3, 0]
    assert [before(10, ago, True, 3) for ago in (1, 2, 3)] == [11, 12, 15]
    assert closest([0, 5, 9, 20], 7, -1) == ([0, 5, 9, 20], set())
    assert closest([0, 5, 9, 20], 7, 2) == ([5, 9], {0, 20})
    assert closest([0, 5, 9, 20], 7, 3) == ([5, 9, 0], {20})
    slots, pointers = shown(select_memory(track([0, 5, 9], [6]), 7, False, 30, MemoryConfig(4, 16, *SHAPE, prompted=2)))
    assert slots == [(5, 3), (9, 3), (6, 0)]
    assert pointers == [(5, 2), (6, 1), (0, 7)]


def test_padding_is_marked_and_programs_are_few() -> None:
    config = MemoryConfig(7, 16, *SHAPE)
    few = select_memory(track([0], [1]), 2, False, 20, config)
    many = select_memory(track([0], list(range(1, 9))), 9, False, 20, config)
    shapes = set()
    for some in ([few], [few, many], [many, many, few]):
        bank = pack(some, 4, 20, config)
        shapes.add(bank["memory"].shape[1])
        for i, own in enumerate(some):
            assert bank["keep"][i].sum() == len(own.slots)
            assert bank["kept"][i].sum() == len(own.pointers)
        assert not bank["keep"][len(some) :].any()
    assert shapes == {2, 7}
    assert pack([few], 1, 20, config)["span"] == pytest.approx(15)
    assert pack([few], 1, 1, config)["span"] == 1
