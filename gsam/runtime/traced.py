"""Programs as tracing made them, kept from process to process: a warm start traces nothing.

XLA's own cache keeps what compiling made, and tracing and lowering are done again in every process:
a second of nano's start, several of a large pipeline's.  What they make is kept here too, as
`jax.export` writes it, beside XLA's programs.

A program is found by everything that tracing it reads: the source of gsam and the versions of JAX
and Flax, JAX's settings, the sizes and settings of the stages, and the shapes that it is called
with, but no weights: those are arguments.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import importlib
import importlib.metadata
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gsam import files
from gsam.runtime.compilation_cache import own_cache
from gsam.types import PyTree

LIMIT = 256
"""Programs that are kept; of more, those that were read longest ago go."""
SUFFIX = ".traced"
SKIPPED = frozenset({"params", "spec"})
"""Fields of stages that no program holds: parameters are arguments, and their shapes are in the
key.
"""


class NotKept(Exception):
    """A program that cannot be told by a name from others, or cannot be written."""


def kept(
    function: Callable[..., PyTree], platform: str, owner: Any, static: Sequence[str] = ()
) -> Callable[..., PyTree]:
    """Let a function that is about to be traced take what an earlier process traced.

    Args:
        function: Pure: pytrees of arrays in and out.
        platform: Where it is compiled for.  Accelerators trace as before: their programs may hold
            kernels that were proved on the device.
        owner: All that the function reads beside its arguments, as `described` takes it.
        static: Arguments by name that are no arrays.

    Returns:
        A function of the same arguments and results, for `jax.jit`.
    """

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> PyTree:
        folder = own_cache()
        if folder is None or platform != "cpu" or jax.default_backend() != "cpu" or not _of_gsam(function):
            return function(*args, **kwargs)
        fixed = {name: value for name, value in kwargs.items() if name in static}
        arrays = {name: value for name, value in kwargs.items() if name not in static}
        leaves, tree = jax.tree.flatten((args, arrays))
        try:
            shapes = [jax.ShapeDtypeStruct(x.shape, x.dtype, weak_type=x.aval.weak_type) for x in leaves]
            read = function.__qualname__, described(owner), described(fixed), _surroundings()
            key = repr((read, str(tree), [(x.shape, str(x.dtype), x.aval.weak_type) for x in leaves]))
            file = folder / (hashlib.sha256(key.encode()).hexdigest()[:40] + SUFFIX)
            program, skeleton = _read(file) or _traced(functools.partial(function, **fixed), tree, shapes, file)
        except (NotKept, AttributeError):  # a leaf that is no array
            return function(*args, **kwargs)
        return _tree(skeleton, program.call(*leaves))

    return call


def _of_gsam(function: Callable[..., PyTree]) -> bool:
    """Whether gsam's source tells all that a function does: no other package's class changes it."""
    owner = getattr(function, "__self__", None)
    modules = [function.__module__, *([] if owner is None else [type(owner).__module__])]
    return all(name.startswith("gsam.") for name in modules)


def described(value: Any) -> Any:
    """Describe a static value, equal for equal values in any process.

    Args:
        value: Plain values, arrays, and dataclasses of gsam, nested in any way.

    Returns:
        Plain values, whose `repr` is the description.

    Raises:
        NotKept: There is a function, or an object of a class that gsam does not know.
    """
    if value is None or isinstance(value, bool | int | float | str | bytes):
        return value
    if isinstance(value, Mapping):
        return [(described(k), described(v)) for k, v in value.items()]
    if isinstance(value, list | tuple):
        return [described(v) for v in value]
    if isinstance(value, frozenset | set):
        return sorted(repr(described(v)) for v in value)
    kind = type(value)
    name = f"{kind.__module__}.{kind.__qualname__}"
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        return name, value.shape, str(value.dtype), hashlib.sha256(np.asarray(value).tobytes()).hexdigest()
    if not name.startswith("gsam."):
        raise NotKept(name)
    if callable(dumps := getattr(value, "dumps", None)):  # a tokenizer
        return name, hashlib.sha256(dumps().encode()).hexdigest()
    if not dataclasses.is_dataclass(value) or "<locals>" in name:
        raise NotKept(name)
    fields = [f.name for f in dataclasses.fields(value) if f.name not in SKIPPED]
    return name, [(field, described(getattr(value, field))) for field in fields]


@functools.cache
def _source() -> str:
    """Stand for gsam's source as Python's own compiled files do: by sizes and times."""
    root = Path(__file__).parents[1]
    found = [(p.relative_to(root).as_posix(), p.stat()) for p in root.rglob("*.py")]
    rows = sorted((name, at.st_size, at.st_mtime_ns) for name, at in found)
    return hashlib.sha256(repr(rows).encode()).hexdigest()


def _surroundings() -> tuple[Any, ...]:
    """Name the versions and JAX's settings, which change a trace too."""
    versions = [importlib.metadata.version(name) for name in ("jax", "jaxlib", "flax")]

    config: Any = jax.config
    settings = config.jax_enable_x64, config.jax_default_matmul_precision, config.jax_numpy_dtype_promotion
    return _source(), *versions, settings


def _read(file: Path) -> tuple[Any, Any] | None:
    """The program of a file and the structure of its results; None where it is not there whole."""
    from jax import export

    try:
        head, _, body = file.read_bytes().partition(b"\n")
        note = json.loads(head)
        if note["sha256"] != hashlib.sha256(body).hexdigest():
            return None
        program = export.deserialize(bytearray(body))
        with contextlib.suppress(OSError):
            os.utime(file)
        return program, note["results"]
    except (OSError, ValueError, LookupError, TypeError, ImportError):
        return None


def _traced(function: Callable[..., PyTree], tree: Any, shapes: list[Any], file: Path) -> tuple[Any, Any]:
    """Trace a function, and keep what came of it where it can be kept."""
    from jax import export

    skeleton: list[Any] = []

    def flat(*leaves: Any) -> list[Any]:
        args, arrays = jax.tree.unflatten(tree, leaves)
        results, made = jax.tree.flatten(function(*args, **arrays))
        skeleton.append(_skeleton(jax.tree.unflatten(made, range(len(results)))))
        return results

    try:
        program = export.export(jax.jit(flat), platforms=["cpu"])(*shapes)
        body = program.serialize()
    except (ValueError, NotImplementedError, ImportError) as error:  # told by the function itself where it is its own
        raise NotKept(str(error)) from error
    note = {"sha256": hashlib.sha256(body).hexdigest(), "results": skeleton[-1]}
    with contextlib.suppress(OSError), files.atomic_file(file) as out:
        out.write(json.dumps(note).encode() + b"\n" + body)
        _prune(file.parent)
    return program, note["results"]


def _prune(folder: Path) -> None:
    aged = sorted(folder.glob(f"*{SUFFIX}"), key=lambda p: p.stat().st_mtime)
    for old in aged[:-LIMIT]:
        old.unlink(missing_ok=True)


def _skeleton(value: Any) -> Any:
    """A pytree whose leaves are their numbers, as JSON: ``[kind, keys, parts]``."""
    if value is None or isinstance(value, int):
        return value
    if isinstance(value, dict):
        return ["dict", list(value), [_skeleton(v) for v in value.values()]]
    kind = type(value)
    if kind in (list, tuple):
        return [kind.__name__, None, [_skeleton(v) for v in value]]
    named = dataclasses.is_dataclass(value) or issubclass(kind, tuple)
    if not kind.__module__.startswith("gsam.") or not named:
        raise NotImplementedError(f"{kind.__qualname__} cannot be kept")
    names = list(getattr(kind, "_fields", ())) or [f.name for f in dataclasses.fields(value)]
    return [f"{kind.__module__}:{kind.__qualname__}", names, [_skeleton(getattr(value, n)) for n in names]]


def _tree(skeleton: Any, leaves: list[Any]) -> Any:
    """The pytree of a skeleton, with these leaves."""
    if skeleton is None:
        return None
    if isinstance(skeleton, int):
        return leaves[skeleton]
    kind, keys, parts = skeleton[0], skeleton[1], [_tree(part, leaves) for part in skeleton[2]]
    if kind in ("list", "tuple"):
        return parts if kind == "list" else tuple(parts)
    named = dict(zip(keys, parts, strict=True))
    if kind == "dict":
        return named
    module, _, name = kind.partition(":")
    return getattr(importlib.import_module(module), name)(**named)
