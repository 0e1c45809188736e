"""Pickled torch modules read as data: their classes are ignored, their tensors named.

A file that holds a whole network (``torch.save(model)``, ultralytics' ``.pt``) names the classes of
its parts and says what was in their ``__dict__``.  Here every class becomes `Inert`, which keeps
what it is told and does nothing: no module is imported and no code of the file's choice runs.
Names are the ones that ``state_dict()`` would give.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping
from typing import Any

PREFIXES = (
    "__main__.", "__torch__.", "accelerate.", "detectron2.", "fvcore.", "lightning.", "lightning_fabric.", "lightning_utilities.",
    "mmcv.", "mmdet.", "mmengine.", "numpy.dtypes.", "numpy.random.", "omegaconf.", "pytorch_lightning.", "timm.",
    "torch.amp.", "torch.cuda.amp.", "torch.distributed.", "torch.nn.", "torch.optim.",
    "torch.utils.data.", "torchvision.", "transformers.", "ultralytics.", "yacs.",
)  # fmt: skip
"""Packages whose classes may be in such a file, or are what training scripts keep."""
_NUMPY = ("_frombuffer", "_reconstruct", "dtype", "ndarray", "scalar")
_PATHS = ("Path", "PosixPath", "PurePath", "PurePosixPath", "PureWindowsPath", "WindowsPath")
_BUILTINS = (
    "bool", "bytearray", "bytes", "complex", "dict", "float", "frozenset", "int", "list", "object", "range", "set",
    "slice", "str", "tuple",
)  # fmt: skip
_BESIDE: Mapping[str, tuple[str, ...]] = {
    "__builtin__": (*_BUILTINS, "long", "unicode", "xrange"),
    "_codecs": ("encode",),
    "argparse": ("Namespace",),
    "builtins": _BUILTINS,
    "collections": ("Counter", "deque"),
    "copy_reg": ("__newobj__", "_reconstructor"),
    "copyreg": ("__newobj__", "__newobj_ex__", "_reconstructor"),
    "datetime": ("date", "datetime", "time", "timedelta", "timezone"),
    "decimal": ("Decimal",),
    "easydict": ("EasyDict",),
    "fractions": ("Fraction",),
    "functools": ("partial",),
    "numpy": (*_NUMPY, *(f"{k}{n}" for k in ("int", "uint") for n in (8, 16, 32, 64)), "bool_", "float16", "float32", "float64"),
    "numpy._core.multiarray": _NUMPY,
    "numpy._core.numeric": _NUMPY,
    "numpy.core.multiarray": _NUMPY,
    "numpy.core.numeric": _NUMPY,
    "pathlib": _PATHS,
    "pathlib._local": _PATHS,
    "random": ("Random",),
    "torch": ("Tensor", "device", "Generator"),
    "torch._utils": ("_rebuild_device_tensor_from_numpy", "_rebuild_qtensor", "_rebuild_sparse_tensor"),
    "torch.jit._pickle": (*(f"build_{k}list" for k in ("int", "tensor", "double", "bool")), "restore_type_tag"),
    "torch.serialization": ("_get_layout",),
    "torch.storage": ("_load_from_bytes",),
    "torch.torch_version": ("TorchVersion",),
    "types": ("SimpleNamespace",),
    "typing": ("Any", "Dict", "List", "Optional", "Tuple", "Union"),
    "uuid": ("UUID",),
    "zoneinfo": ("ZoneInfo._unpickle",),
}  # fmt: skip
"""Other names in such files: settings, counters, times and paths, whose objects are never used."""
DEPTH, PARTS = 64, 100_000
"""Limits of a network's depth and number of parts, so that no file can recurse without end."""


class Inert:
    """An object of any class that keeps its state, forgets its arguments, and can do nothing.

    Without a ``__dict__``, so that a pickle changes nothing of it but ``state``; and the class
    itself takes no state.
    """

    __slots__ = ("state",)

    state: Any

    def __new__(cls, *_: Any, **__: Any) -> Inert:
        made = object.__new__(cls)
        made.state = None
        return made

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        self.state = state


def inert(module: str, name: str) -> bool:
    """Return True if a file may mention this, to be `Inert`."""
    return f"{module}.".startswith(PREFIXES[:2]) or module.startswith(PREFIXES) or name in _BESIDE.get(module, ())


def named_tensors(found: Any, kind: type, *, script: bool = False) -> dict[str, Any] | None:
    """Collect the tensors, instances of ``kind``, of a network or of a checkpoint that holds one.

    Returns None if there is no network.  ``script``: the network is a TorchScript program's, whose
    objects hold parameters, buffers and parts side by side.

    Of a checkpoint, the averaged network (``ema``) where there is one, else ``model``.  Raises
    `pickle.UnpicklingError` for what is no tree of modules.
    """
    if isinstance(found, Mapping):
        found = next((found[k] for k in ("ema", "model") if isinstance(found.get(k), Inert)), None)
    if not isinstance(found, Inert):
        return None
    tensors: dict[str, Any] = {}
    for count, (name, value) in enumerate(_script(found, "", 0) if script else _walk(found, "", 0)):
        if count > PARTS:
            raise pickle.UnpicklingError("a network of too many parts")
        if isinstance(value, kind):
            tensors[name] = value
    return tensors


def _walk(module: Inert, prefix: str, depth: int) -> Iterator[tuple[str, Any]]:
    """Yield each parameter and buffer by its dotted name, and each module itself by its prefix."""
    if depth > DEPTH:
        raise pickle.UnpicklingError("a network that is too deep, or holds itself")
    yield prefix, module
    for name, value in _table(module, "_parameters") + _table(module, "_buffers"):
        yield prefix + name, value
    for name, part in _table(module, "_modules"):
        if isinstance(part, Inert):
            yield from _walk(part, f"{prefix}{name}.", depth + 1)
        elif part is not None:
            raise pickle.UnpicklingError(f"{prefix}{name} is no module")


def _script(module: Inert, prefix: str, depth: int) -> Iterator[tuple[str, Any]]:
    """Yield what an object of a TorchScript program holds, by its dotted name, and the object."""
    if depth > DEPTH:
        raise pickle.UnpicklingError("a network that is too deep, or holds itself")
    yield prefix, module
    held = module.state if isinstance(module.state, Mapping) else {}
    for name, value in held.items():
        if isinstance(value, Inert):
            yield from _script(value, f"{prefix}{name}.", depth + 1)
        else:
            yield f"{prefix}{name}", value


def _table(module: Inert, key: str) -> list[tuple[str, Any]]:
    table = module.state.get(key) if isinstance(module.state, Mapping) else None
    if table is None:
        return []
    if not isinstance(table, Mapping) or not all(isinstance(name, str) for name in table):
        raise pickle.UnpicklingError(f"{key} of a module is no table of names")
    return list(table.items())
