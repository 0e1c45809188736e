"""A disk-backed cache of arrays: those not used lately lie in a temporary file."""

from __future__ import annotations

import collections
import tempfile
from typing import IO, Any

import numpy as np

MEMORY_LIMIT = 128 << 20
"""Bytes that stay in memory."""


class SpillCache:
    """A dictionary of arrays; keys are anything hashable.

    Beyond ``limit`` bytes, the least recently used go to an unnamed file, which is gone with the
    process.  Space there is used again for arrays of the same size.
    """

    def __init__(self, limit: int = MEMORY_LIMIT) -> None:
        self.limit = limit
        self._in_memory: collections.OrderedDict[Any, np.ndarray] = collections.OrderedDict()
        self._bytes = 0
        self._on_disk: dict[Any, tuple[int, tuple[int, ...], np.dtype]] = {}
        self._free: dict[int, list[int]] = {}
        self._file: IO[bytes] | None = None
        self._end = 0

    def __contains__(self, key: Any) -> bool:
        return key in self._in_memory or key in self._on_disk

    def __len__(self) -> int:
        return len(self._in_memory) + len(self._on_disk)

    def __setitem__(self, key: Any, value: np.ndarray) -> None:
        self.pop(key)
        self._in_memory[key] = value
        self._bytes += value.nbytes
        while self._bytes > self.limit and len(self._in_memory) > 1:
            self._spill(*self._in_memory.popitem(last=False))

    def __getitem__(self, key: Any) -> np.ndarray:
        """Get the array of ``key``.  Raises `KeyError`."""
        if key not in self._in_memory:
            value = self._read(key)
            self[key] = value
        self._in_memory.move_to_end(key)
        return self._in_memory[key]

    def pop(self, key: Any) -> None:
        """Drop the array of ``key``, if there is one."""
        if key in self._in_memory:
            self._bytes -= self._in_memory.pop(key).nbytes
        elif key in self._on_disk:
            at, shape, dtype = self._on_disk.pop(key)
            self._free.setdefault(_size(shape, dtype), []).append(at)

    def clear(self) -> None:
        """Drop all arrays, and the file."""
        self.__init__(self.limit)  # type: ignore[misc]

    def _spill(self, key: Any, value: np.ndarray) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="gsam-")  # noqa: SIM115
        free = self._free.get(value.nbytes)
        if free:
            at = free.pop()
        else:
            at, self._end = self._end, self._end + value.nbytes
        self._file.seek(at)
        self._file.write(np.ascontiguousarray(value).view(np.uint8).reshape(-1).data)
        self._on_disk[key] = (at, value.shape, value.dtype)
        self._bytes -= value.nbytes

    def _read(self, key: Any) -> np.ndarray:
        at, shape, dtype = self._on_disk[key]
        assert self._file is not None
        self._file.seek(at)
        return np.frombuffer(self._file.read(_size(shape, dtype)), np.uint8).view(dtype).reshape(shape)


def _size(shape: tuple[int, ...], dtype: np.dtype) -> int:
    return int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
