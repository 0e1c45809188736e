"""Tensors that are still in their file."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from gsam.errors import CheckpointError


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A tensor that is still in its file."""

    file: Path
    offset: int
    """Offset of the first element, in bytes."""
    shape: tuple[int, ...]
    dtype: DTypeLike
    strides: tuple[int, ...] | None = None
    """In elements; None for contiguous."""
    packed: bytes | None = dataclasses.field(default=None, repr=False)
    """Member that the offset is in, where ``file`` is a zip that holds the checkpoint itself."""

    def load(self) -> np.ndarray:
        """Read it: a contiguous array of ``shape`` and ``dtype``, whose memory is its own."""
        if 0 in self.shape:
            return np.zeros(self.shape, self.dtype)
        strides = self.strides or contiguous(self.shape)
        span = 1 + sum((n - 1) * s for n, s in zip(self.shape, strides, strict=True))
        item = np.dtype(self.dtype).itemsize
        if self.packed is not None:
            raw = np.frombuffer(self.packed, np.uint8)[self.offset : self.offset + span * item].copy()
        else:
            with self.file.open("rb") as file:
                file.seek(self.offset)
                raw = np.fromfile(file, np.uint8, span * item)
        if raw.size != span * item:
            raise CheckpointError(f"{self.file.name} is truncated", "checkpoint_truncated")
        flat = raw.view(self.dtype)
        if self.strides is None or self.strides == contiguous(self.shape):
            return flat.reshape(self.shape)
        steps = tuple(s * item for s in strides)
        return np.ascontiguousarray(np.lib.stride_tricks.as_strided(flat, self.shape, steps))


def contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Strides, in elements, of a tensor whose rows follow each other."""
    return tuple(math.prod(shape[i + 1 :]) for i in range(len(shape)))
