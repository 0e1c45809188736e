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

PREFIXES = ("torch.nn.", "ultralytics.")
"""Packages whose classes may be in such a file."""
BESIDE = frozenset(
    {
        ("builtins", "set"),  # every torch module keeps one: the names of its buffers that are not saved
        ("__builtin__", "set"),
        ("numpy", "dtype"),  # numbers of the training, beside the network
        ("numpy.core.multiarray", "scalar"),
        ("numpy._core.multiarray", "scalar"),
        ("_codecs", "encode"),
    }
)
"""Other classes in such files, whose objects are never used: they become `Inert` too."""
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
    return module.startswith(PREFIXES) or (module, name) in BESIDE


def named_tensors(found: Any, kind: type) -> dict[str, Any] | None:
    """Collect the tensors, instances of ``kind``, of a network or of a checkpoint that holds one.

    Returns None if there is no network.

    Of a checkpoint, the averaged network (``ema``) where there is one, else ``model``.  Raises
    `pickle.UnpicklingError` for what is no tree of modules.
    """
    if isinstance(found, Mapping):
        found = next((found[k] for k in ("ema", "model") if isinstance(found.get(k), Inert)), None)
    if not isinstance(found, Inert):
        return None
    tensors: dict[str, Any] = {}
    for count, (name, value) in enumerate(_walk(found, "", 0)):
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


def _table(module: Inert, key: str) -> list[tuple[str, Any]]:
    table = module.state.get(key) if isinstance(module.state, Mapping) else None
    if table is None:
        return []
    if not isinstance(table, Mapping) or not all(isinstance(name, str) for name in table):
        raise pickle.UnpicklingError(f"{key} of a module is no table of names")
    return list(table.items())
