"""Converted checkpoints: our names, axes and precision, in one safetensors file."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from gsam import files
from gsam.errors import CheckpointError
from gsam.files import atomic_file
from gsam.weights import hashes

NAMES = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "int64": "I64", "int32": "I32",
    "int16": "I16", "int8": "I8", "uint8": "U8", "bool": "BOOL",
}  # fmt: skip
VERSION = 1
"""Version of the conversion: another one converts again."""


def place(folder: Path, name: str, sources: Sequence[Path], dtype: DTypeLike) -> Path:
    """Where the converted copy of these files is or will be; files that change get another."""
    seen: list[Any] = [VERSION, str(np.dtype(dtype))]
    for file in sorted(sources):
        found = file.stat()
        seen.append((str(file.resolve()), found.st_size, found.st_mtime_ns))
    digest = hashlib.sha256(json.dumps(seen).encode()).hexdigest()[:16]
    return folder / f"{re.sub(r'[^A-Za-z0-9._-]+', '--', name)}-{digest}.safetensors"


def keep(params: Mapping[str, Any], target: Path) -> None:
    """Write parameters, a tensor at a time, whole or not at all.

    A disk that is full or read-only is no error.
    """
    with contextlib.suppress(OSError):
        write(params, target)
        sha256 = files.sha256(target)
        with atomic_file(_note(target)) as file:
            file.write(f"{sha256}\n".encode())
        hashes.remember(target, sha256)


def intact(copy: Path) -> bool:
    """Return True for a copy that is as it was written, by its SHA-256.

    It is computed once, and again after the file changed.
    """
    try:
        hashes.verify_once(copy, _note(copy).read_text().strip())
    except (OSError, ValueError, CheckpointError):
        return False
    return True


def _note(copy: Path) -> Path:
    """Where the hash of a copy is kept."""
    return copy.parent.with_name(f"{copy.parent.name}-sha256") / f"{copy.name}.sha256"


def write(params: Mapping[str, Any], target: Path, note: Mapping[str, str] | None = None) -> None:
    """Tensors as one safetensors file, with a ``note`` in its header, whole or not at all.

    Raises `OSError`.
    """
    header: dict[str, Any] = {"__metadata__": dict(note)} if note else {}
    at = 0
    for name, value in params.items():
        size = value.size * np.dtype(value.dtype).itemsize
        header[name] = {"dtype": NAMES[str(value.dtype)], "shape": value.shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with atomic_file(target) as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for value in params.values():
            file.write(np.ascontiguousarray(value).reshape(-1).view(np.uint8).data)
