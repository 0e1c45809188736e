"""Memories of a tracker where it computes, so that no frame sends them there again."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from gsam.runtime.program import Program
from gsam.tracking.memory_selection import SelectedMemory
from gsam.tracking.objects import FrameOutput

LIMIT = 1 << 30
"""Bytes of memories that stay on the device."""


class DeviceMemories:
    """The memories used last, on the device, beside the host's copies that outlive them."""

    def __init__(self, device: jax.Device, shape: tuple[int, ...], limit: int = LIMIT) -> None:
        """``shape`` of a memory, [h w, E]; ``limit`` in bytes."""
        self._device = device
        self._nothing = jax.device_put(jnp.zeros(shape, jnp.bfloat16), device)
        self._most = max(limit // self._nothing.nbytes, 1)
        self._kept: weakref.WeakKeyDictionary[FrameOutput, jax.Array] = weakref.WeakKeyDictionary()
        self._split = Program(_rows, device.platform, owner=())
        self._stack = Program(_stacked, device.platform, static=["rows"], owner=())
        self.sent = 0
        """Number of memories that had to be sent there again."""

    @property
    def compilations(self) -> int:
        """Number of programs compiled so far."""
        return self._split.compilations + self._stack.compilations

    def keep(self, outputs: Sequence[FrameOutput], memory: jax.Array) -> None:
        """Keep the memories of some outputs.

        Args:
            outputs: Of one frame.
            memory: [R, h w, E] with a row for each of them and more, on the device.
        """
        for output, own in zip(outputs, self._split(memory), strict=False):
            self._add(output, own)

    def stacked(self, selected: Sequence[SelectedMemory], rows: int, slots: int) -> jax.Array:
        """Stack what some objects read.

        Args:
            selected: One for each object.
            rows: Objects of the program; those beyond ``selected`` read zeros.
            slots: Memories that each reads; those it does not have are zeros.

        Returns:
            [rows, slots, h w, E].
        """
        found = [[self._of(output) for output, _ in own.slots] for own in selected]
        spare: list[list[jax.Array]] = [[]] * (rows - len(found))
        padded = [[*own, *[self._nothing] * (slots - len(own))] for own in [*found, *spare]]
        return self._stack([one for own in padded for one in own], rows=rows)

    def _of(self, output: FrameOutput) -> jax.Array:
        known = self._kept.pop(output, None)
        if known is None:
            known = jax.device_put(output.memory, self._device)
            self.sent += 1
        self._add(output, known)  # the last that was used
        return known

    def _add(self, output: FrameOutput, memory: jax.Array) -> None:
        self._kept.pop(output, None)
        self._kept[output] = memory
        while len(self._kept) > self._most:
            del self._kept[next(iter(self._kept))]


def _rows(memory: jax.Array) -> list[jax.Array]:
    """Pure: each row by itself."""
    return [memory[i] for i in range(memory.shape[0])]


def _stacked(parts: Sequence[jax.Array], *, rows: int) -> Any:
    """Pure: rows times some memories, [rows, slots, h w, E]."""
    every = jnp.stack(parts)
    return every.reshape(rows, -1, *every.shape[1:])
