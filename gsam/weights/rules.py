"""Official tensor names -> our paths: renames per layout, one rule per kind, no leftovers."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike

from gsam.errors import CheckpointError

Shape = tuple[int, ...]
Axes = tuple[int, ...]
EXACT = ("positional_encoding_gaussian_matrix", "logit_scale", "logit_bias")
"""Tensors that stay float32 in half precision: position angles, temperature and bias of logits."""


class Shaped(Protocol):
    """Anything with a shape."""

    @property
    def shape(self) -> Shape: ...


@dataclasses.dataclass(frozen=True)
class Layout:
    """The tensor names of one official kind of file of a family."""

    name: str
    renames: tuple[tuple[str, str], ...]
    """Regular expressions and replacements, all applied in order to the dotted name."""
    unused: tuple[tuple[str, str], ...] = ()
    """Tensors known to be in such files and not in the model: full regular expression, reason."""
    tied: tuple[tuple[str, str], ...] = ()
    """Two names of one tensor, of which a file may hold either or both: (the other, the one used).
    """
    transposed: str = r"$^"
    """Which of our paths are transposed convolutions."""
    stacked: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Tensors that stack several of ours: regular expression, and each part's replacement."""
    straight: str = r"$^"
    """Official names, in full, of matrices whose axes are ours: parameters that are no layer's."""
    back: tuple[tuple[str, str], ...] | None = None
    """The way back, from our dotted paths with ``weight`` for kernels: regular expressions and
    replacements, see `gsam.weights.official_names`.  None where there is none.
    """


@dataclasses.dataclass(frozen=True)
class Move:
    """One tensor's way: from an official name, its axes permuted."""

    name: str
    axes: Axes | None


@dataclasses.dataclass(frozen=True)
class Part:
    """Some rows of a tensor of a file."""

    whole: Any
    index: int
    count: int

    @property
    def shape(self) -> Shape:
        rows, *rest = self.whole.shape
        return (rows // self.count, *rest)

    def load(self) -> np.ndarray:
        rows = self.shape[0]
        return np.array(self.whole.load()[self.index * rows : (self.index + 1) * rows])  # and let go of the others


def unstack(tensors: Mapping[str, Any], shapes: Mapping[str, Shaped], layout: Layout) -> dict[str, Any]:
    """The tensors of a file, with those taken apart that the layout says are stacked."""
    out: dict[str, Any] = {}
    for name, tensor in tensors.items():
        found = next(((p, parts) for p, parts in layout.stacked if re.search(p, name)), None)
        if found is None or name in shapes or not tensor.shape or tensor.shape[0] % len(found[1]):
            out[name] = tensor
            continue
        pattern, parts = found
        out |= {re.sub(pattern, part, name): Part(tensor, i, len(parts)) for i, part in enumerate(parts)}
    return out


def plan(tensors: Mapping[str, Shaped], shapes: Mapping[str, Shaped], layout: Layout) -> dict[str, Move]:
    """Our path -> where it comes from, for every path of the model, using every tensor of the file.

    Works on shapes alone.  Raises `CheckpointError` listing the first ten differences: missing,
    left over, misshapen.
    """
    moves: dict[str, Move] = {}
    wrong: list[str] = []
    for name, tensor in useful(tensors, shapes, layout).items():
        path = rename(name, shapes, layout)
        if path not in shapes:
            near = difflib.get_close_matches(path, shapes, 1) if len(wrong) < 10 else ()  # slow, and ten are shown
            wrong.append(f"left over: {name}" + (f" (nearest: {near[0]})" if near else ""))
            continue
        axes = permutation(name, path, len(tensor.shape), layout)
        needed = tuple(shapes[path].shape)
        if axes is not None and len(needed) == len(axes):  # in the order of the file
            needed = tuple(needed[axes.index(i)] for i in range(len(axes)))
        if path in moves:
            wrong.append(f"{name} and {moves[path].name} are both {path}")
        elif tuple(tensor.shape) != needed:
            wrong.append(f"shape: {name} is {tuple(tensor.shape)}, the model needs {needed}")
        else:
            moves[path] = Move(name, axes)
    named = {rename(n, shapes, layout) for n in unstack(tensors, shapes, layout)}
    wrong += [f"missing: {path}" for path in shapes if path not in moves and path not in named]
    if wrong:
        more = f"\n  and {len(wrong) - 10} more" if len(wrong) > 10 else ""
        raise CheckpointError(
            "the checkpoint does not fit:\n  " + "\n  ".join(wrong[:10]) + more, "checkpoint_mismatch"
        )
    return moves


def useful(tensors: Mapping[str, Any], shapes: Mapping[str, Shaped], layout: Layout) -> dict[str, Any]:
    """The tensors of a file, taken apart, without second names and what is known to be unused."""
    tensors = unstack(tensors, shapes, layout)
    aliases = _aliases(tensors, shapes, layout)
    spare = [re.compile(pattern) for pattern, _ in layout.unused]
    return {n: t for n, t in tensors.items() if n not in aliases and not any(p.fullmatch(n) for p in spare)}


def _aliases(tensors: Mapping[str, Any], shapes: Mapping[str, Shaped], layout: Layout) -> dict[str, str]:
    """Second names of tensors in the file, but for those that the model keeps apart."""
    return {a: b for a, b in layout.tied if a in tensors and b in tensors and not _apart(a, b, shapes, layout)}


def _apart(a: str, b: str, shapes: Mapping[str, Shaped], layout: Layout) -> bool:
    one, two = rename(a, shapes, layout), rename(b, shapes, layout)
    return one != two and one in shapes


def rename(name: str, shapes: Mapping[str, Shaped], layout: Layout) -> str:
    """Rename an official tensor to our path; a name that is a path already stays."""
    if name in shapes:
        return name
    path = _renamed(name, layout.renames)
    stem, _, leaf = path.rpartition("/")
    if leaf == "weight":
        return next((p for kind in ("kernel", "scale", "embedding") if (p := f"{stem}/{kind}") in shapes), path)
    return path


@functools.lru_cache(1 << 16)  # the same names are tried for every variant of a family
def _renamed(name: str, renames: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in renames:
        name = re.sub(pattern, replacement, name)
    return name.replace(".", "/")


def permutation(name: str, path: str, rank: int, layout: Layout) -> Axes | None:
    """torch's [out, in] and [out, in, h, w] -> [in, out] and [h, w, in, out]."""
    if name == path or not path.endswith("/kernel") or re.fullmatch(layout.straight, name):
        return None
    if rank != 4:
        return (1, 0) if rank == 2 else None
    return (2, 3, 0, 1) if re.search(layout.transposed, path) else (2, 3, 1, 0)


def fit(tensors: Mapping[str, Shaped], layouts: Sequence[Layout], shapes: Mapping[str, Shaped]) -> Layout:
    """The layout that explains most of the names."""

    def explained(layout: Layout) -> int:
        return sum(rename(n, shapes, layout) in shapes for n in unstack(tensors, shapes, layout))

    return max(layouts, key=explained)


def precision(path: str, dtype: DTypeLike) -> np.dtype:
    """Return the dtype in which a model of ``dtype`` keeps a tensor."""
    wanted = np.dtype(dtype)
    return np.dtype(np.float32) if wanted.itemsize < 4 and path.rsplit("/", 1)[-1] in EXACT else wanted


def convert(
    tensors: Mapping[str, Any], shapes: Mapping[str, Shaped], layout: Layout, dtype: DTypeLike
) -> dict[str, Any]:
    """Read, permute and cast every tensor (but see `EXACT`), one at a time: path -> jax array.

    A parameter may be the very memory of the array that was loaded, so ``load`` must give one that
    nobody else writes to.

    Raises `CheckpointError` for numbers that are not finite, integer weights, and tied tensors that
    differ.
    """
    import jax

    moves = plan(tensors, shapes, layout)
    tensors = unstack(tensors, shapes, layout)
    for other, used in _aliases(tensors, shapes, layout).items():
        one, two = tensors[other], tensors[used]
        if one.shape != two.shape or not np.array_equal(one.load(), two.load()):
            raise CheckpointError(f"{other} and {used} should be one tensor, and differ", "checkpoint_mismatch")
    params: dict[str, Any] = {}
    for path, move in moves.items():
        value = tensors[move.name].load()
        if value.dtype.kind in "iub":
            raise CheckpointError(f"{move.name} is {value.dtype}: quantised weights are not read", "checkpoint_format")
        value = value if move.axes is None else value.transpose(move.axes)
        with np.errstate(over="ignore"):
            value = value.astype(precision(path, dtype), order="C", copy=False)
        if not np.isfinite(value).all():  # as they are used: 1e300 is finite in float64 only
            raise CheckpointError(f"{move.name} holds numbers that are not finite", "checkpoint_not_finite")
        params[path] = jax.device_put(value)  # compiles nothing, which jnp.asarray does for every shape
    return params
