"""Checkpoint files -> named tensors, one at a time and never executed: safetensors and torch.

Nothing here needs torch.  A torch archive is a zip with a pickle that says how tensors lie in raw
storages; the pickle is run by an unpickler that knows the six names such a file needs and refuses
every other; but for the classes of whole networks, which become objects that do nothing
(`gsam.weights.modules`).
"""

from __future__ import annotations

import collections
import dataclasses
import io
import json
import math
import pickle
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

import ml_dtypes
import numpy as np
from numpy.typing import DTypeLike

from gsam.errors import CheckpointError
from gsam.weights.modules import Inert, inert, named_tensors

DTYPES: dict[str, Any] = {
    "F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16, "I64": np.int64,
    "I32": np.int32, "I16": np.int16, "I8": np.int8, "U8": np.uint8, "BOOL": np.bool_,
}  # fmt: skip
STORAGES: dict[str, Any] = {
    "DoubleStorage": np.float64, "FloatStorage": np.float32, "HalfStorage": np.float16,
    "BFloat16Storage": ml_dtypes.bfloat16, "LongStorage": np.int64, "IntStorage": np.int32, "ShortStorage": np.int16,
    "CharStorage": np.int8, "ByteStorage": np.uint8, "BoolStorage": np.bool_,
}  # fmt: skip

MOST_PACKED = 100
"""Times its size that a zipped checkpoint may become: numbers are not packed to a hundredth."""


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
        """Read it: a contiguous array of ``shape`` and ``dtype``."""
        if 0 in self.shape:
            return np.zeros(self.shape, self.dtype)
        strides = self.strides or _contiguous(self.shape)
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
        if self.strides is None or self.strides == _contiguous(self.shape):
            return flat.reshape(self.shape)
        steps = tuple(s * item for s in strides)
        return np.ascontiguousarray(np.lib.stride_tricks.as_strided(flat, self.shape, steps))


def read(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a file or folder.

    A folder has ``model.safetensors``, its shards, or ``pytorch_model.bin``.

    A zip may hold one torch archive more, as EfficientSAM-S is shipped; that one is unpacked in
    memory.

    Raises `CheckpointError`: ``checkpoint_missing``, ``checkpoint_truncated``,
    ``checkpoint_unsafe``, ``checkpoint_format``.
    """
    path = Path(path)
    if path.is_dir():
        return _read_folder(path)
    if not path.is_file():
        raise CheckpointError(f"no such file: {path}", "checkpoint_missing")
    with path.open("rb") as file:
        head = file.read(16)
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if head[:4] == b"PK\x03\x04":
        return _read_torch(path)
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


def _read_folder(folder: Path) -> dict[str, Tensor]:
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        try:
            places = {str(k): str(v) for k, v in json.loads(index.read_text())["weight_map"].items()}
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{index.name} is no index of shards: {error!r}", "checkpoint_format") from None
        tensors: dict[str, Tensor] = {}
        for shard in sorted(set(places.values())):
            if Path(shard).name != shard or not shard.endswith(".safetensors"):
                raise CheckpointError(f"{index.name} names a file outside its folder: {shard!r}", "checkpoint_unsafe")
            tensors |= read(folder / shard)
        if missing := sorted(set(places) - set(tensors)):
            raise CheckpointError(f"{index.name} lists {missing[0]}, no shard has it", "checkpoint_truncated")
        return tensors
    for name in ("model.safetensors", "pytorch_model.bin"):
        if (folder / name).is_file():
            return read(folder / name)
    single = sorted(folder.glob("*.safetensors"))
    if len(single) == 1:
        return read(single[0])
    raise CheckpointError(f"no model.safetensors or pytorch_model.bin in {folder}", "checkpoint_missing")


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


class _Storage(NamedTuple):  # tuples, because a pickle can write into the __dict__ of what has one
    key: str
    dtype: DTypeLike
    elements: int


class _Kind(NamedTuple):
    """Stand-in for ``torch.FloatStorage`` and its like."""

    dtype: DTypeLike


class _View(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _rebuild_tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> _View:
    if not isinstance(storage, _Storage):
        raise pickle.UnpicklingError("a tensor without a storage")
    view = _View(storage, int(offset), tuple(map(int, size)), tuple(map(int, stride)))
    last = view.offset + sum((n - 1) * s for n, s in zip(view.shape, view.strides, strict=True))
    if min((view.offset, *view.shape, *view.strides)) < 0 or (0 not in view.shape and last >= storage.elements):
        raise pickle.UnpicklingError("a tensor that reaches beyond its storage")
    return view


def _rebuild_parameter(data: Any, *_: Any) -> Any:
    return data


class _Unpickler(pickle.Unpickler):
    """Knows what a state dict or a network needs.

    Everything else is refused before it is looked up.
    """

    KNOWN: Mapping[tuple[str, str], Any] = {
        ("collections", "OrderedDict"): collections.OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
        ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
        ("torch", "Size"): tuple,
        **{("torch", name): _Kind(dtype) for name, dtype in STORAGES.items()},
    }

    def find_class(self, module: str, name: str) -> Any:
        if inert(module, name):
            return Inert
        try:
            return self.KNOWN[module, name]
        except KeyError:
            raise CheckpointError(
                f"refused: the file wants to use {module}.{name}. A state dict needs no such thing; do not load this file "
                "with other tools unless you trust where it comes from",
                "checkpoint_unsafe",
            ) from None

    def persistent_load(self, pid: Any) -> _Storage:
        kind, storage, key, _, count = pid
        if kind != "storage" or not isinstance(storage, _Kind):
            raise pickle.UnpicklingError("an unknown kind of storage")
        return _Storage(str(key), storage.dtype, int(count))


def _read_torch(path: Path, packed: bytes | None = None) -> dict[str, Tensor]:
    """Read a torch archive, the file or ``packed`` in it."""
    try:
        with zipfile.ZipFile(path if packed is None else io.BytesIO(packed)) as archive:
            entries = {i.filename: i for i in archive.infolist()}
            names = [n for n in entries if n.endswith("data.pkl") and n.count("/") <= 1]
            if not names:
                if packed is None and (inner := _inner(path, archive)) is not None:
                    return _read_torch(path, inner)
                raise CheckpointError(f"{path.name} is a zip file, but no torch checkpoint", "checkpoint_format")
            root = names[0][: -len("data.pkl")]
            if any(n.startswith(root + "code/") for n in entries):
                raise CheckpointError(
                    f"{path.name} is a TorchScript program, not a state dict; use the model's safetensors instead",
                    "checkpoint_format",
                )
            if root + "byteorder" in entries and archive.read(root + "byteorder") != b"little":
                raise CheckpointError(f"{path.name} was written on a big-endian machine", "checkpoint_format")
            with archive.open(names[0]) as file:
                found = _Unpickler(file).load()
    except (zipfile.BadZipFile, EOFError) as error:
        raise CheckpointError(f"{path.name} is damaged or truncated: {error}", "checkpoint_truncated") from None
    except CheckpointError:
        raise
    except Exception as error:  # a crafted pickle fails in any way it likes
        raise CheckpointError(f"{path.name} cannot be read: {error}", "checkpoint_format") from None
    views = _state_dict(path, found)
    with path.open("rb") if packed is None else io.BytesIO(packed) as file:
        places = {name: _place(path, file, entries, root, name, view) for name, view in views.items()}
    return places if packed is None else {k: dataclasses.replace(t, packed=packed) for k, t in places.items()}


def _inner(path: Path, archive: zipfile.ZipFile) -> bytes | None:
    """The one torch archive in a zip, or None.

    What unpacks to far more than weights can is refused before it does.
    """
    found = [i for i in archive.infolist() if i.filename.endswith((".pt", ".pth")) and not _hidden(i.filename)]
    if len(found) != 1:
        return None
    if found[0].file_size > MOST_PACKED * max(found[0].compress_size, 1):
        raise CheckpointError(
            f"{path.name} holds a file that is {found[0].file_size:,} bytes unpacked", "checkpoint_unsafe"
        )
    content = archive.read(found[0])
    return content if content[:4] == b"PK\x03\x04" else None


def _hidden(name: str) -> bool:
    """Return True for hidden files and those that a Mac puts beside every file."""
    return name.startswith("__MACOSX/") or name.rsplit("/", 1)[-1].startswith(".")


def _state_dict(path: Path, found: Any) -> dict[str, _View]:
    """The tensors, out of the wrappers training scripts put around them, or out of a network."""
    try:
        tensors = named_tensors(found, _View)
    except pickle.UnpicklingError as error:
        raise CheckpointError(f"{path.name} cannot be read: {error}", "checkpoint_format") from None
    found = found if tensors is None else tensors
    for key in ("model", "state_dict", "params", "ema_state_dict"):
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
            break
    views = {k: v for k, v in found.items() if isinstance(v, _View)} if isinstance(found, Mapping) else {}
    if not views:
        raise CheckpointError(f"{path.name} holds no state dict", "checkpoint_format")
    if all(str(k).startswith("module.") for k in views):
        views = {k[len("module.") :]: v for k, v in views.items()}
    return {str(k): v for k, v in views.items()}


def _place(
    path: Path, file: IO[bytes], entries: dict[str, zipfile.ZipInfo], root: str, name: str, view: _View
) -> Tensor:
    entry = entries.get(f"{root}data/{view.storage.key}")
    item = np.dtype(view.storage.dtype).itemsize
    if entry is None or entry.compress_type != zipfile.ZIP_STORED or entry.file_size < view.storage.elements * item:
        raise CheckpointError(f"{path.name}: the numbers of {name} are missing", "checkpoint_truncated")
    file.seek(entry.header_offset + 26)  # the local header's extra field is not the directory's
    lengths = file.read(4)
    if len(lengths) < 4:
        raise CheckpointError(f"{path.name} is damaged: {name} is beyond its end", "checkpoint_truncated")
    name_length, extra_length = struct.unpack("<HH", lengths)
    start = entry.header_offset + 30 + name_length + extra_length
    strides = None if view.strides == _contiguous(view.shape) else view.strides
    return Tensor(path, start + view.offset * item, view.shape, view.storage.dtype, strides)


def _contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(math.prod(shape[i + 1 :]) for i in range(len(shape)))
