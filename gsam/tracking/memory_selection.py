"""Select the memories that an object reads on a frame.

Source: ``_prepare_memory_conditioned_features`` of sam2/modeling/sam2_base.py.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gsam.tracking.objects import FrameOutput, TrackedObject
from gsam.types import MemoryConfig

FEW = 2
"""Slots of the smallest program: the frame with the prompt, and one after it."""


@dataclasses.dataclass(frozen=True)
class SelectedMemory:
    """The memories and pointers that one object reads on one frame."""

    slots: list[tuple[FrameOutput, int]]
    """Each with the row of the code of its age."""
    pointers: list[tuple[NDArray[np.float32], int]]
    """Each with how many frames ago it was."""


def select_memory(
    tracked: TrackedObject, frame: int, reverse: bool, count: int | None, config: MemoryConfig
) -> SelectedMemory:
    """Select what an object reads on ``frame``, going forwards or in ``reverse``.

    ``count``: frames of the video, None if unknown.
    """
    near, far = closest(list(tracked.prompted), frame, config.prompted)
    slots = [(tracked.prompted[f], config.slots - 1) for f in near]
    for ago in range(config.slots - 1, 0, -1):
        at = before(frame, ago, reverse, config.stride)
        output = tracked.propagated.get(at) or (tracked.prompted[at] if at in far else None)
        if output is not None and output.has_memory:
            slots.append((output, ago - 1))
    sign = -1 if reverse else 1
    past = [(f, sign * (frame - f)) for f in near if sign * (frame - f) >= 0]
    pointers = [(tracked.prompted[f].pointer, ago) for f, ago in past]
    for ago in range(1, pointer_limit(count, config)):
        at = frame - sign * ago
        if at < 0 or (count is not None and at >= count):
            break
        output = tracked.propagated.get(at) or (tracked.prompted[at] if at in far else None)
        if output is not None:
            pointers.append((output.pointer, ago))
    return SelectedMemory(slots, pointers)


def pointer_limit(count: int | None, config: MemoryConfig) -> int:
    """Count the pointers there can be besides those of frames with prompts."""
    return config.pointers if count is None else min(count, config.pointers)


def before(frame: int, ago: int, reverse: bool, stride: int) -> int:
    """The frame whose memory is ``ago`` steps old: the last one, the others ``stride`` apart."""
    if ago == 1:
        return frame + 1 if reverse else frame - 1
    if reverse:
        return -(-(frame + 2) // stride) * stride + (ago - 2) * stride
    return (frame - 2) // stride * stride - (ago - 2) * stride


def closest(frames: Sequence[int], frame: int, most: int) -> tuple[list[int], set[int]]:
    """Split frames into the ``most`` nearest to ``frame`` and the others.

    Among the nearest are one before it and one from it on.
    """
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


def pack(
    selected: Sequence[SelectedMemory], rows: int, count: int | None, config: MemoryConfig, *, memories: bool = True
) -> dict[str, np.ndarray]:
    """Pad what some objects read to the fields of a `gsam.types.Bank`, [rows, ...].

    Slots are `FEW`, ``config.slots`` or a multiple of it, so that programs are few. Without
    ``memories`` those themselves are left out.
    """
    import ml_dtypes

    most = max((len(own.slots) for own in selected), default=1)
    slots = FEW if most <= FEW else -(-most // config.slots) * config.slots
    most = max(1, *(len(own.pointers) for own in selected))  # on some frames nobody has one: a row that does not count
    pointers = -(-most // config.pointers) * config.pointers
    bank: dict[str, np.ndarray] = {
        "age": np.zeros((rows, slots), np.int32),
        "keep": np.zeros((rows, slots), bool),
        "pointers": np.zeros((rows, pointers, config.pointer_width), np.float32),
        "offsets": np.zeros((rows, pointers), np.float32),
        "kept": np.zeros((rows, pointers), bool),
        "span": np.full(rows, max(pointer_limit(count, config) - 1, 1), np.float32),
    }
    if memories:
        bank["memory"] = np.zeros((rows, slots, *config.shape), ml_dtypes.bfloat16)
    for i, own in enumerate(selected):
        for j, (output, age) in enumerate(own.slots):
            bank["age"][i, j], bank["keep"][i, j] = age, True
            if memories:
                bank["memory"][i, j] = output.memory
        for j, (pointer, ago) in enumerate(own.pointers):
            bank["pointers"][i, j], bank["offsets"][i, j], bank["kept"][i, j] = pointer, ago, True
    return bank
