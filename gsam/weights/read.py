"""Checkpoint files -> named tensors, one at a time and never executed: safetensors and torch."""

from __future__ import annotations

import collections
import json
import struct
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from gsam.errors import CheckpointError
from gsam.weights import wrappers
from gsam.weights.find import weight_files
from gsam.weights.tensor import Tensor as Tensor
from gsam.weights.torch_archive import read_archive

DTYPES: dict[str, Any] = {
    "F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16, "I64": np.int64,
    "I32": np.int32, "I16": np.int16, "I8": np.int8, "U8": np.uint8, "BOOL": np.bool_,
}  # fmt: skip


def read(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a file or folder, by the names that the model gave them.

    A folder has ``model.safetensors`` or ``pytorch_model.bin``, their shards with an index, or one
    file of weights.

    A zip may hold one torch archive more, as EfficientSAM-S is shipped; that one is unpacked in
    memory.

    Raises `CheckpointError`: ``checkpoint_missing``, ``checkpoint_truncated``,
    ``checkpoint_unsafe``, ``checkpoint_format``.
    """
    path = Path(path)
    try:
        found = _read_folder(path) if path.is_dir() else _read_file(path)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}", "checkpoint_missing") from None
    return wrappers.plain_names(found)


def _read_file(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise CheckpointError(f"no such file: {path}", "checkpoint_missing")
    with path.open("rb") as file:
        head = file.read(16)
    if path.suffix.lower() == ".safetensors" or _is_safetensors(path, head):
        return _read_safetensors(path)
    if head[:4] == b"PK\x03\x04":
        return read_archive(path)
    if head[:2] in (b"\x80\x02", b"\x80\x04", b"\x80\x03"):
        raise CheckpointError(
            f"{path.name} is in torch's format from before 1.6, which is not read here. In an environment with torch: "
            "torch.save(torch.load(PATH, weights_only=True), NEW)",
            "checkpoint_format",
        )
    if head.lstrip()[:1] == b"<":
        text = f"{path.name} is a web page, not a checkpoint: the download went wrong. Delete it and load it again"
        raise CheckpointError(text, "checkpoint_format")
    raise CheckpointError(f"{path.name} is neither safetensors nor a torch archive", "checkpoint_format")


def _is_safetensors(path: Path, head: bytes) -> bool:
    """Return True for a file that begins as safetensors do, whatever it is called."""
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= path.stat().st_size - 8


def _read_folder(folder: Path) -> dict[str, Tensor]:
    for name in ("model.safetensors", "pytorch_model.bin"):
        if (index := folder / f"{name}.index.json").is_file():
            return _read_shards(index, Path(name).suffix)
    for name in ("model.safetensors", "pytorch_model.bin"):
        if (folder / name).is_file():
            return _read_file(folder / name)
    for found in (sorted(folder.glob("*.safetensors")), weight_files(folder)):
        if len(found) == 1:
            return _read_file(found[0])
        if found:
            names = ", ".join(sorted(f.name for f in found)[:3])
            text = f"{folder} has several files of weights ({names}) and no model.safetensors: name the file"
            raise CheckpointError(text, "checkpoint_missing")
    raise CheckpointError(f"no model.safetensors or pytorch_model.bin in {folder}", "checkpoint_missing")


def _read_shards(index: Path, suffix: str) -> dict[str, Tensor]:
    try:
        places = {str(k): str(v) for k, v in json.loads(index.read_text())["weight_map"].items()}
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{index.name} is no index of shards: {error!r}", "checkpoint_format") from None
    tensors: dict[str, Tensor] = {}
    for shard in sorted(set(places.values())):
        if Path(shard).name != shard or not shard.endswith(suffix):
            raise CheckpointError(f"{index.name} names a file outside its folder: {shard!r}", "checkpoint_unsafe")
        tensors |= _read_file(index.parent / shard)
    if missing := sorted(set(places) - set(tensors)):
        raise CheckpointError(f"{index.name} lists {missing[0]}, no shard has it", "checkpoint_truncated")
    return tensors


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np"):  # checks sizes, overlaps and gaps
            pass
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path.name} is damaged: {error}", "checkpoint_truncated") from None
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length), object_pairs_hook=_no_duplicates)
    header.pop("__metadata__", None)
    return {
        name: Tensor(
            path, 8 + length + entry["data_offsets"][0], tuple(entry["shape"]), _dtype(path, name, entry["dtype"])
        )
        for name, entry in header.items()
    }


def _dtype(path: Path, name: str, word: str) -> Any:
    if word not in DTYPES:
        raise CheckpointError(f"{path.name}: {name} is {word}, which is not supported", "checkpoint_format")
    return DTYPES[word]


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    counts = collections.Counter(k for k, _ in pairs)
    if twice := [k for k, n in counts.items() if n > 1]:
        raise CheckpointError(f"the tensor {twice[0]!r} is in the file's header twice", "checkpoint_truncated")
    return dict(pairs)
