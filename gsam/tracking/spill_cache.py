"""Arrays that are kept for later in bounded memory: what was not used lately lies in a temporary file."""

from __future__ import annotations

import collections
import tempfile
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

ROOM = 128 << 20
"""Bytes that stay in memory."""


class SpillCache:
    """A dictionary of arrays; keys are anything hashable.

    What has not been used for longest goes to an unnamed file, which is gone with the process.  Space there is used again
    for arrays of the same size.
    """

    def __init__(self, room: int = ROOM) -> None:
        self.room = room
        self._near: collections.OrderedDict[Any, NDArray[Any]] = collections.OrderedDict()
        self._held = 0
        self._far: dict[Any, tuple[int, tuple[int, ...], np.dtype[Any]]] = {}
        self._free: dict[int, list[int]] = {}
        self._file: IO[bytes] | None = None
        self._end = 0

    def __contains__(self, key: Any) -> bool:
        return key in self._near or key in self._far

    def __len__(self) -> int:
        return len(self._near) + len(self._far)

    def __setitem__(self, key: Any, value: NDArray[Any]) -> None:
        self.pop(key)
        self._near[key] = value
        self._held += value.nbytes
        while self._held > self.room and len(self._near) > 1:
            self._store(*self._near.popitem(last=False))

    def __getitem__(self, key: Any) -> NDArray[Any]:
        """Raises `KeyError`."""
        if key not in self._near:
            value = self._read(key)
            self[key] = value
        self._near.move_to_end(key)
        return self._near[key]

    def pop(self, key: Any) -> None:
        """Forget ``key``, if it is there."""
        if key in self._near:
            self._held -= self._near.pop(key).nbytes
        elif key in self._far:
            at, shape, dtype = self._far.pop(key)
            self._free.setdefault(_size(shape, dtype), []).append(at)

    def clear(self) -> None:
        """Forget everything, and the file."""
        self.__init__(self.room)  # type: ignore[misc]

    def _store(self, key: Any, value: NDArray[Any]) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="gsam-")  # noqa: SIM115
        free = self._free.get(value.nbytes)
        if free:
            at = free.pop()
        else:
            at, self._end = self._end, self._end + value.nbytes
        self._file.seek(at)
        self._file.write(np.ascontiguousarray(value).view(np.uint8).reshape(-1).data)
        self._far[key] = (at, value.shape, value.dtype)
        self._held -= value.nbytes

    def _read(self, key: Any) -> NDArray[Any]:
        at, shape, dtype = self._far[key]
        assert self._file is not None
        self._file.seek(at)
        return np.frombuffer(self._file.read(_size(shape, dtype)), np.uint8).view(dtype).reshape(shape)


def _size(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    return int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
