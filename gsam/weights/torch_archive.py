"""torch's archives -> named tensors: a zip with a pickle that says how tensors lie in raw storages.

Nothing here needs torch, and nothing in a file is executed: `gsam.weights.pickled` carries the
pickle out on plain values, and knows the names that state dicts, networks and the files of training
scripts need.  Of a TorchScript program the tensors are read and the code is not.
"""

from __future__ import annotations

import dataclasses
import io
import pickle
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

import ml_dtypes
import numpy as np

from gsam.errors import CheckpointError
from gsam.text.queries import shorten
from gsam.weights import wrappers
from gsam.weights.modules import Inert, inert, named_tensors
from gsam.weights.pickled import Known, Machine
from gsam.weights.tensor import Tensor, contiguous

STORAGES: dict[str, Any] = {
    "DoubleStorage": np.float64, "FloatStorage": np.float32, "HalfStorage": np.float16,
    "BFloat16Storage": ml_dtypes.bfloat16, "LongStorage": np.int64, "IntStorage": np.int32, "ShortStorage": np.int16,
    "CharStorage": np.int8, "ByteStorage": np.uint8, "BoolStorage": np.bool_,
}  # fmt: skip
DTYPES: dict[str, Any] = {
    "float64": np.float64, "float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16,
    "int64": np.int64, "int32": np.int32, "int16": np.int16, "int8": np.int8, "uint8": np.uint8, "bool": np.bool_,
}  # fmt: skip
OTHER_DTYPES = frozenset(
    {"complex32", "complex64", "complex128", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz"}
    | {"qint8", "qint32", "quint8", "quint4x2", "quint2x4", "uint16", "uint32", "uint64", "strided", "sparse_coo"}
    | {"contiguous_format", "channels_last", "preserve_format"}
)
MOST_UNPACKED, ALWAYS = 3, 4 << 20
"""Times its size, or bytes, that a zipped checkpoint may become: numbers are hardly packed."""
MOST_MADE, ALWAYS_MADE = 4, 64 << 20
"""Times the size of the file, and bytes beside that, that its pickle may make."""
RANK = 64
"""Most axes of a tensor."""
SMALL = 1 << 20
"""Elements that a tensor may have whatever its storage has, by strides of 0."""


class _Storage(NamedTuple):
    key: str
    dtype: Any
    """None for numbers of a kind that is not read, and of none."""
    elements: int


class _Kind(NamedTuple):
    """Stand-in for ``torch.FloatStorage``, ``torch.float32`` and their like."""

    dtype: Any


class _View(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _numbers(values: Any) -> tuple[int, ...]:
    if not isinstance(values, (tuple, list)) or len(values) > RANK or not all(type(v) is int for v in values):
        raise pickle.UnpicklingError("a tensor whose sizes are no numbers")
    return tuple(values)


def _rebuild_tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Any:
    if not isinstance(storage, _Storage):
        raise pickle.UnpicklingError("a tensor without a storage")
    if storage.dtype is None:
        return Inert()
    view = _View(storage, _numbers((offset,))[0], _numbers(size), _numbers(stride))
    last = view.offset + sum((n - 1) * s for n, s in zip(view.shape, view.strides, strict=True))
    if min((view.offset, *view.shape, *view.strides)) < 0 or (0 not in view.shape and last >= storage.elements):
        raise pickle.UnpicklingError("a tensor that reaches beyond its storage")
    count = 1
    for n in view.shape:
        count *= n
        if count > max(storage.elements, SMALL) and 0 not in view.shape:
            raise pickle.UnpicklingError("a tensor that is far larger than its storage")
    return view


def _rebuild_of_kind(storage: Any, offset: Any, size: Any, stride: Any, _: Any, __: Any, kind: Any, *___: Any) -> Any:
    """A tensor on a storage of bytes (``_rebuild_tensor_v3``)."""
    if not isinstance(storage, _Storage) or not isinstance(kind, _Kind):
        raise pickle.UnpicklingError("a tensor without a storage")
    if kind.dtype is None:
        return Inert()
    item = np.dtype(kind.dtype).itemsize
    return _rebuild_tensor(_Storage(storage.key, kind.dtype, storage.elements // item), offset, size, stride)


def _rebuild_as(build: Any, _: Any, args: Any, *__: Any) -> Any:
    """A tensor of a class of its own (``_rebuild_from_type_v2``), without the class."""
    return build.build(*args) if isinstance(build, Known) and isinstance(args, tuple) else Inert()


def _size(values: Any = ()) -> Any:
    return tuple(values) if isinstance(values, (tuple, list)) and len(values) <= RANK else Inert()


def _dictionary(*args: Any) -> Any:
    return Inert() if args and args != (None,) and not _is_factory(args) else {}


def _is_factory(args: tuple[Any, ...]) -> bool:
    return len(args) == 1 and (args[0] is Inert or isinstance(args[0], Known))


KNOWN: Mapping[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): Known(_dictionary),
    ("collections", "defaultdict"): Known(_dictionary),
    ("torch._utils", "_rebuild_tensor_v2"): Known(_rebuild_tensor),
    ("torch._utils", "_rebuild_tensor_v3"): Known(_rebuild_of_kind),
    ("torch._utils", "_rebuild_parameter"): Known(lambda data, *_: data),
    ("torch._utils", "_rebuild_parameter_with_state"): Known(lambda data, *_: data),
    ("torch._tensor", "_rebuild_from_type_v2"): Known(_rebuild_as),
    ("torch._tensor", "_rebuild_from_type"): Known(_rebuild_as),
    ("torch", "Size"): Known(_size),
    ("torch", "UntypedStorage"): _Kind(None),
    ("torch.storage", "UntypedStorage"): _Kind(None),
    **{("torch", name): _Kind(dtype) for name, dtype in (STORAGES | DTYPES).items()},
    **{("torch", name): _Kind(None) for name in OTHER_DTYPES},
}
"""Names that stand for something; those of `gsam.weights.modules` stand for nothing."""


def _find(module: str, name: str) -> Any:
    if (module, name) in KNOWN:
        return KNOWN[module, name]
    if inert(module, name):
        return Inert
    if module == "torch" and name.endswith("Storage") and name.isidentifier():
        return _Kind(None)
    raise CheckpointError(
        f"refused: the file wants to use {shorten(f'{module}.{name}')}. A state dict needs no such thing; do not load this "
        "file with other tools unless you trust where it comes from",
        "checkpoint_unsafe",
    )


def _stored(pid: Any) -> _Storage:
    if not isinstance(pid, tuple) or len(pid) != 5 or pid[0] != "storage" or not isinstance(pid[1], _Kind):
        raise pickle.UnpicklingError("an unknown kind of storage")
    key, count = pid[2], pid[4]
    if not isinstance(key, (str, int)) or type(count) is not int or count < 0:
        raise pickle.UnpicklingError("a storage without a name or a size")
    return _Storage(str(key), pid[1].dtype, count)


def read_archive(path: Path, packed: bytes | None = None) -> dict[str, Tensor]:
    """Read a torch archive, the file or ``packed`` in it.

    Raises `CheckpointError` as `gsam.weights.read.read` does.
    """
    size = path.stat().st_size if packed is None else len(packed)
    try:
        with zipfile.ZipFile(path if packed is None else io.BytesIO(packed)) as archive:
            entries = {i.filename: i for i in archive.infolist()}
            names = [n for n in entries if n.endswith("data.pkl") and n.count("/") <= 1]
            if not names:
                if packed is None and (inner := _inner(path, archive, size)) is not None:
                    return read_archive(path, inner)
                raise CheckpointError(f"{path.name} is a zip file, but no torch checkpoint", "checkpoint_format")
            root = names[0][: -len("data.pkl")]
            script = any(n.startswith(root + "code/") for n in entries)
            if root + "byteorder" in entries and _member(path, archive, entries[root + "byteorder"], size) != b"little":
                raise CheckpointError(f"{path.name} was written on a big-endian machine", "checkpoint_format")
            raw = _member(path, archive, entries[names[0]], size)
        found = Machine(raw, _find, _stored, MOST_MADE * size + ALWAYS_MADE).load()
        tensors = named_tensors(found, _View, script=script)
    except (zipfile.BadZipFile, EOFError) as error:
        raise CheckpointError(f"{path.name} is damaged or truncated: {error}", "checkpoint_truncated") from None
    except CheckpointError as error:
        text = str(error)
        raise CheckpointError(text if path.name in text else f"{path.name}: {text}", error.code) from None
    except Exception as error:  # a crafted zip or pickle fails in any way it likes
        why = shorten(str(error) or type(error).__name__)
        raise CheckpointError(f"{path.name} cannot be read: {why}", "checkpoint_format") from None
    if script and tensors is None:
        text = f"{path.name} is a TorchScript program without a network; name the model's state dict instead"
        raise CheckpointError(text, "checkpoint_format")
    views = wrappers.state_dict(found if tensors is None else tensors, _View, path.name)
    with path.open("rb") if packed is None else io.BytesIO(packed) as file:
        places = {name: _place(path, file, size, entries, root, name, view) for name, view in views.items()}
    return places if packed is None else {k: dataclasses.replace(t, packed=packed) for k, t in places.items()}


def _member(path: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo, size: int) -> bytes:
    """The bytes of a member; one that unpacks to far more than weights can is refused before."""
    if entry.file_size > max(MOST_UNPACKED * min(entry.compress_size, size), ALWAYS):
        text = f"{path.name} holds a file that is {entry.file_size:,} bytes unpacked"
        raise CheckpointError(text, "checkpoint_unsafe")
    with archive.open(entry) as file:
        return file.read(entry.file_size)  # with a size, or what is packed may become 2 GB first


def _inner(path: Path, archive: zipfile.ZipFile, size: int) -> bytes | None:
    """The one torch archive in a zip, or None."""
    found = [i for i in archive.infolist() if i.filename.endswith((".pt", ".pth")) and not _hidden(i.filename)]
    if len(found) != 1:
        return None
    content = _member(path, archive, found[0], size)
    return content if content[:4] == b"PK\x03\x04" else None


def _hidden(name: str) -> bool:
    """Return True for hidden files and those that a Mac puts beside every file."""
    return name.startswith("__MACOSX/") or name.rsplit("/", 1)[-1].startswith(".")


def _place(
    path: Path, file: IO[bytes], size: int, entries: dict[str, zipfile.ZipInfo], root: str, name: str, view: _View
) -> Tensor:
    entry = entries.get(f"{root}data/{view.storage.key}")
    item = np.dtype(view.storage.dtype).itemsize
    needed = view.storage.elements * item
    if entry is None or entry.compress_type != zipfile.ZIP_STORED or entry.file_size < needed:
        raise CheckpointError(f"{path.name}: the numbers of {shorten(name)} are missing", "checkpoint_truncated")
    file.seek(entry.header_offset + 26)  # the local header's extra field is not the directory's
    lengths = file.read(4)
    if len(lengths) < 4:
        raise CheckpointError(f"{path.name} is damaged: {shorten(name)} is beyond its end", "checkpoint_truncated")
    name_length, extra_length = struct.unpack("<HH", lengths)
    start = entry.header_offset + 30 + name_length + extra_length
    if start + needed > size:
        raise CheckpointError(f"{path.name} is damaged: {shorten(name)} is beyond its end", "checkpoint_truncated")
    strides = None if view.strides == contiguous(view.shape) else view.strides
    return Tensor(path, start + view.offset * item, view.shape, view.storage.dtype, strides)
