"""Memories that stay on the device: the same tracks, and nothing sent there twice."""

from __future__ import annotations

import gc
from typing import Any

import jax
import numpy as np
import pytest

import gsam
from gsam.tracking import compiled
from gsam.tracking.device_memories import DeviceMemories
from gsam.tracking.memory_selection import SelectedMemory
from gsam.tracking.objects import FrameOutput
from gsam.tracking.spill_cache import SpillCache
from tests.tracking.small import frames, made


def tracked(predictor: gsam.VideoPredictor, *, save_at: Any = None) -> list[bytes]:
    """Three objects with prompts on two frames, forwards and backwards, then a correction."""
    state = predictor.init_state(frames(7))
    predictor.add_new_points_or_box(state, 1, "a", box=[5, 10, 22, 24])
    predictor.add_new_points_or_box(state, 1, "b", points=[[30, 30]], labels=[1])
    predictor.add_new_points_or_box(state, 4, "c", points=[[15, 15]], labels=[1])
    found = []
    for reverse in (False, True):
        found += [masks.tobytes() for _, _, masks in predictor.propagate_in_video(state, reverse=reverse)]
    predictor.add_new_points_or_box(state, 5, "a", points=[[12, 12]], labels=[1])
    return found + [masks.tobytes() for _, _, masks in predictor.propagate_in_video(state)]


@pytest.mark.slow
def test_tracks_are_those_of_memories_on_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = gsam.VideoPredictor(made())
    assert plain._engine.compiled.resident is None  # on a CPU the host is the device
    real = compiled.CompiledTracker.__init__

    def on_device(self: Any, *args: Any, **kwargs: Any) -> None:
        real(self, *args, **kwargs, on_device=True)

    monkeypatch.setattr(compiled.CompiledTracker, "__init__", on_device)
    resident = gsam.VideoPredictor(made())
    assert tracked(resident) == tracked(plain)
    kept = resident._engine.compiled.resident
    assert kept is not None
    assert kept.compilations > 0
    assert kept.sent == 0
    assert len(kept._kept) == 0  # gone with their session


def outputs(count: int) -> list[FrameOutput]:
    cache, some = SpillCache(), np.zeros(2, np.float32)
    found = [FrameOutput(cache, 0.0, 0.0, some, some) for _ in range(count)]
    for i, output in enumerate(found):
        output.memory = np.full((2, 3), i, jax.numpy.bfloat16)
    return found


def test_what_was_dropped_is_sent_again_and_dead_outputs_go() -> None:
    device = jax.local_devices()[0]
    memories = DeviceMemories(device, (2, 3), limit=2 * 2 * 3 * 2)
    a, b, c = some = outputs(3)
    memories.keep(some, jax.numpy.stack([output.memory for output in some]))
    assert list(memories._kept) == [b, c]
    asked = [SelectedMemory([(c, 0), (a, 1)], []), SelectedMemory([], []), SelectedMemory([(b, 0)], [])]
    found = np.asarray(memories.stacked(asked, 4, 2)).astype(int)
    assert found.shape == (4, 2, 2, 3)
    assert found[:, :, 0, 0].tolist() == [[2, 0], [0, 0], [1, 0], [0, 0]]
    assert memories.sent == 2
    assert list(memories._kept) == [a, b]
    del a, b, c, some, asked
    gc.collect()
    assert len(memories._kept) == 0
