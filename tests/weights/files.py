"""Checkpoint files built by hand, byte by byte where torch would not write them."""

from __future__ import annotations

import gzip
import json
import math
import pickle
import struct
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gsam.weights.rules import Layout, permutation, rename

LISTS: dict[str, dict[str, Any]] = json.loads(
    gzip.decompress((Path(__file__).parents[1] / "keys" / "lists.json.gz").read_bytes())
)

STORAGE = {"float32": "FloatStorage", "float64": "DoubleStorage", "int64": "LongStorage"}


class Name:
    """What pickles as a reference to ``module.name``, without importing it."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name


class Call:
    """What pickles as a call of ``module.name`` with ``args``, and then a state to put into the
    result.
    """

    def __init__(self, module: str, name: str, *args: Any, state: Any = None) -> None:
        self.module, self.name, self.args, self.state = module, name, args, state


class Stored:
    """What pickles as a tensor's storage."""

    def __init__(self, dtype: str, key: str, count: int) -> None:
        self.dtype, self.key, self.count = dtype, key, count


def pickled(value: Any) -> bytes:
    """A pickle of plain values and the classes above, with nothing of Python's own checks."""
    return b"\x80\x02" + _code(value) + b"."


def _code(value: Any) -> bytes:
    if isinstance(value, Name):
        return f"c{value.module}\n{value.name}\n".encode()
    if isinstance(value, Call):
        made = _code(Name(value.module, value.name)) + _code(value.args) + b"R"
        return made + (b"" if value.state is None else _code(value.state) + b"b")
    if isinstance(value, Stored):
        kind = Name("torch", STORAGE[value.dtype])
        return _code(("storage", kind, value.key, "cpu", value.count)) + b"Q"
    if isinstance(value, tuple):
        return b"(" + b"".join(map(_code, value)) + b"t"
    if isinstance(value, dict):
        return b"}(" + b"".join(_code(k) + _code(v) for k, v in value.items()) + b"u"
    return pickle.dumps(value, 2)[2:-1]


def tensor(dtype: str, key: str, count: int, shape: Sequence[int], strides: Sequence[int], offset: int = 0) -> Call:
    """A tensor as torch pickles it."""
    place = Stored(dtype, key, count)
    return Call("torch._utils", "_rebuild_tensor_v2", place, offset, tuple(shape), tuple(strides), False, {})


def archive(path: Path, value: Any, data: Mapping[str, bytes] = {}, compression: int = zipfile.ZIP_STORED) -> Path:
    """A torch archive with a pickle and storages of one's own."""
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("archive/data.pkl", value if isinstance(value, bytes) else pickled(value))
        file.writestr("archive/byteorder", b"little")
        for key, raw in data.items():
            file.writestr(f"archive/data/{key}", raw)
        file.writestr("archive/version", b"3\n")
    return path


def state_dict(path: Path, tensors: Mapping[str, np.ndarray], key: str | None = None) -> Path:
    """A state dict as ``torch.save`` writes it: flat, or in a dictionary under ``key``."""
    value: dict[str, Any] = {}
    data = {}
    for i, (name, array) in enumerate(tensors.items()):
        strides = [s // array.itemsize for s in np.zeros(array.shape, array.dtype).strides]
        value[name] = tensor(array.dtype.name, str(i), array.size, array.shape, strides)
        data[str(i)] = array.tobytes()
    return archive(path, value if key is None else {key: value}, data)


def safetensors(path: Path, header: Mapping[str, Any] | bytes, data: bytes, length: int | None = None) -> Path:
    """A safetensors file with any header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


def entry(shape: Sequence[int], begin: int, end: int, dtype: str = "F32") -> dict[str, Any]:
    """A tensor in a safetensors header."""
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


def hollow(folder: Path, source: str, config: dict[str, Any]) -> Path:
    """A checkpoint of a real size in which only names and shapes are written; the rest is a hole in
    the file.
    """
    header, end = {}, 0
    for name, shape in LISTS[source]["keys"].items():
        begin, end = end, end + 4 * math.prod(shape)
        header[name] = entry(shape, begin, end)
    path = safetensors(folder / "model.safetensors", header, b"")
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size + end)
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def official(params: Mapping[str, jax.Array], shapes: Mapping[str, Any], layout: Layout, names: Sequence[str]) -> dict:
    """Our parameters under official names and in torch's axes: the way back of
    `gsam.weights.rules.convert`.
    """
    back = {rename(name, shapes, layout): name for name in names}
    found = {}
    for path, value in params.items():
        array = np.asarray(value)
        axes = permutation(back[path], path, array.ndim, layout)
        found[back[path]] = np.ascontiguousarray(array if axes is None else array.transpose(np.argsort(axes)))
    return found


def random(shapes: Mapping[str, Any]) -> dict[str, jax.Array]:
    """Random parameters, without compiling anything as `gsam.bind.random_params` does."""
    rng = np.random.default_rng(0)
    return {name: jax.numpy.asarray(rng.normal(size=s.shape).astype(np.float32)) for name, s in shapes.items()}


def nano_sam() -> tuple[dict[str, jax.Array], dict[str, np.ndarray]]:
    """Random parameters of nano_sam, and the same as a state dict in SAM's original layout."""
    from gsam.models import sam
    from gsam.models.sam import port

    model = sam.spec(sam.VARIANTS["nano_sam"])
    params = random(model.shapes)
    original = next(layout for layout in port.LAYOUTS if layout.name == "original")
    return params, official(params, model.shapes, original, list(LISTS["sam_vit_b_01ec64"]["keys"]))
