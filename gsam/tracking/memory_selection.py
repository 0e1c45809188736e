"""Which memories an object has on a frame, as padded arrays (sam2_base.py, _prepare_memory_conditioned_features)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gsam.tracking.objects import FrameOutput, TrackedObject

FEW = 2
"""Slots of the smallest program: the frame with the prompt, and one after it."""


@dataclasses.dataclass(frozen=True)
class MemoryConfig:
    """How far memory goes."""

    slots: int
    """Frames of memory, that with the prompt included (``num_maskmem``)."""
    pointers: int
    """Object pointers (``max_obj_ptrs_in_encoder``)."""
    stride: int = 1
    """Of the remembered frames but the last (``memory_temporal_stride_for_eval``)."""
    prompted: int = -1
    """The nearest frames with prompts that are remembered (``max_cond_frames_in_attn``), -1 for all."""


@dataclasses.dataclass(frozen=True)
class SelectedMemory:
    """What one object remembers on one frame."""

    slots: list[tuple[FrameOutput, int]]
    """Each with the row of the code of its age."""
    pointers: list[tuple[NDArray[np.float32], int]]
    """Each with how many frames ago it was."""


def recall(track: TrackedObject, frame: int, reverse: bool, count: int | None, reach: MemoryConfig) -> SelectedMemory:
    """What ``track`` remembers on ``frame`` of ``count`` (None if nobody knows yet), going forwards or in ``reverse``."""
    near, far = closest(list(track.prompted), frame, reach.prompted)
    slots = [(track.prompted[f], reach.slots - 1) for f in near]
    for ago in range(reach.slots - 1, 0, -1):
        at = before(frame, ago, reverse, reach.stride)
        output = track.followed.get(at) or (track.prompted[at] if at in far else None)
        if output is not None and output.memorised:
            slots.append((output, ago - 1))
    sign = -1 if reverse else 1
    past = [(f, sign * (frame - f)) for f in near if sign * (frame - f) >= 0]
    pointers = [(track.prompted[f].pointer, ago) for f, ago in past]
    for ago in range(1, greatest(count, reach)):
        at = frame - sign * ago
        if at < 0 or (count is not None and at >= count):
            break
        output = track.followed.get(at) or (track.prompted[at] if at in far else None)
        if output is not None:
            pointers.append((output.pointer, ago))
    return SelectedMemory(slots, pointers)


def greatest(count: int | None, reach: MemoryConfig) -> int:
    """How many pointers there can be besides those of frames with prompts."""
    return reach.pointers if count is None else min(count, reach.pointers)


def before(frame: int, ago: int, reverse: bool, stride: int) -> int:
    """The frame that is remembered as ``ago`` steps before: the last one always, the others ``stride`` apart."""
    if ago == 1:
        return frame + 1 if reverse else frame - 1
    if reverse:
        return -(-(frame + 2) // stride) * stride + (ago - 2) * stride
    return (frame - 2) // stride * stride - (ago - 2) * stride


def closest(frames: Sequence[int], frame: int, most: int) -> tuple[list[int], set[int]]:
    """The ``most`` frames nearest to ``frame``, one before and one from it on among them, and the others."""
    if most == -1 or len(frames) <= most:
        return list(frames), set()
    chosen = []
    if earlier := [f for f in frames if f < frame]:
        chosen.append(max(earlier))
    if later := [f for f in frames if f >= frame]:
        chosen.append(min(later))
    rest = sorted((f for f in frames if f not in chosen), key=lambda f: abs(f - frame))
    chosen += rest[: most - len(chosen)]
    return chosen, set(frames) - set(chosen)


def packed(
    recalled: Sequence[SelectedMemory],
    rows: int,
    count: int | None,
    reach: MemoryConfig,
    shape: tuple[int, int],
    width: int,
) -> dict[str, NDArray[Any]]:
    """The fields of a `gsam.models.sam2.memory.Bank`, [rows, ...], for as many objects and padding.

    ``shape`` of a memory, [h w, E], and ``width`` of a pointer.  Slots are `FEW`, ``reach.slots`` or a multiple of it.
    """
    import ml_dtypes

    most = max((len(r.slots) for r in recalled), default=1)
    slots = FEW if most <= FEW else -(-most // reach.slots) * reach.slots
    most = max(1, *(len(r.pointers) for r in recalled))  # on some frames nobody has one: a row that does not count
    pointers = -(-most // reach.pointers) * reach.pointers
    bank: dict[str, NDArray[Any]] = {
        "memory": np.zeros((rows, slots, *shape), ml_dtypes.bfloat16),
        "age": np.zeros((rows, slots), np.int32),
        "keep": np.zeros((rows, slots), bool),
        "pointers": np.zeros((rows, pointers, width), np.float32),
        "offsets": np.zeros((rows, pointers), np.float32),
        "kept": np.zeros((rows, pointers), bool),
        "span": np.full(rows, max(greatest(count, reach) - 1, 1), np.float32),
    }
    for i, own in enumerate(recalled):
        for j, (output, age) in enumerate(own.slots):
            bank["memory"][i, j], bank["age"][i, j], bank["keep"][i, j] = output.recalled, age, True
        for j, (pointer, ago) in enumerate(own.pointers):
            bank["pointers"][i, j], bank["offsets"][i, j], bank["kept"][i, j] = pointer, ago, True
    return bank
