"""Flax modules as pure functions of flat `Params`: the only file that knows Flax's graph API.

A module is built without arrays (every parameter is a `jax.ShapeDtypeStruct`), and real parameters
are bound by name inside `jax.jit`.  Binding costs nothing once traced, does not depend on the order
of the dictionary, and refuses parameters that do not fit.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
from collections.abc import Callable, Collection, Mapping
from typing import Generic, Protocol, TypeVar, cast

import jax
import jax.numpy as jnp
from flax import nnx, traverse_util

from gsam.types import Params

M = TypeVar("M", bound=nnx.Module)


def param(*shape: int) -> nnx.Param[jax.Array]:
    """Declare a float32 parameter by its shape, without allocating it.

    It is typed as in a module that `Spec.bind` returned, where it holds an array.
    """
    return cast("nnx.Param[jax.Array]", nnx.Param(jax.ShapeDtypeStruct(shape, jnp.float32)))


class Shaped(Protocol):
    """Anything with a shape: an array of the host or of a device, or a description of one."""

    @property
    def shape(self) -> tuple[int, ...]: ...


class MismatchError(ValueError):
    """The parameters given do not fit the model."""


@dataclasses.dataclass(frozen=True, eq=False)
class Spec(Generic[M]):
    """A model without its numbers: its parameters' names and shapes, and how to run it on them."""

    graphdef: nnx.GraphDef[M]
    """Flax's static description of the module."""
    shapes: Mapping[str, jax.ShapeDtypeStruct]
    """Shape and dtype of each parameter, by its name in `Params`."""
    paths: tuple[tuple[object, ...], ...]
    """The path of each parameter in Flax's tree, in the order of ``shapes``."""

    @property
    def size(self) -> int:
        """Number of parameters, counted as scalars."""
        return sum(functools.reduce(int.__mul__, s.shape, 1) for s in self.shapes.values())

    def check(self, params: Mapping[str, Shaped]) -> None:
        """Raise `MismatchError`, naming ten differences at most, unless ``params`` fits exactly."""
        differences = [f"missing {k}{_nearest(k, params)}" for k in sorted(self.shapes.keys() - params.keys())]
        differences += [f"unexpected {k}{_nearest(k, self.shapes)}" for k in sorted(params.keys() - self.shapes.keys())]
        differences += [
            f"shape of {k} is {tuple(params[k].shape)}, the model has {s.shape}"
            for k, s in self.shapes.items()
            if k in params and tuple(params[k].shape) != s.shape
        ]
        if differences:
            more = f"\n  and {len(differences) - 10} more" if len(differences) > 10 else ""
            raise MismatchError("parameters do not fit the model:\n  " + "\n  ".join(differences[:10]) + more)

    def bind(self, params: Mapping[str, jax.Array]) -> M:
        """Return the module that holds ``params``.  Call it inside `jax.jit`.

        Raises:
            MismatchError: The names or the shapes of ``params`` are not the model's.
        """
        self.check(params)
        tree = traverse_util.unflatten_dict({p: params[_join(p)] for p in self.paths})
        return nnx.merge(self.graphdef, nnx.State(tree))


def spec(make: Callable[[], M]) -> Spec[M]:
    """Describe the module that ``make`` builds, without allocating a tensor."""
    graphdef, state = nnx.split(make())
    flat = traverse_util.flatten_dict(nnx.to_pure_dict(state))
    shapes = {_join(p): jax.ShapeDtypeStruct(v.shape, v.dtype) for p, v in flat.items()}
    return Spec(graphdef, shapes, tuple(flat))


def random_params(spec: Spec[M], seed: int = 0) -> Params:
    """Draw random parameters that keep activations at unit order, for tests and for training.

    Args:
        spec: The model, see `spec`.
        seed: Seed of the random numbers.
    """
    keys = jax.random.split(jax.random.key(seed), len(spec.shapes))
    return {name: _initial(name, s.shape, k) for (name, s), k in zip(sorted(spec.shapes.items()), keys, strict=True)}


def _initial(name: str, shape: tuple[int, ...], key: jax.Array) -> jax.Array:
    leaf = name.rsplit("/", 1)[-1]
    if leaf in ("scale", "running_var"):
        return jnp.ones(shape)
    if leaf == "bias":
        return jnp.zeros(shape)
    if leaf == "kernel":
        fan_in = functools.reduce(int.__mul__, shape[:-1], 1)
        return jax.random.truncated_normal(key, -2.0, 2.0, shape) / fan_in**0.5
    return 0.02 * jax.random.normal(key, shape)


def _join(path: tuple[object, ...]) -> str:
    return "/".join(map(str, path))


def _nearest(name: str, names: Collection[str]) -> str:
    near = difflib.get_close_matches(name, names, 1) if len(names) < 5000 else []
    return f" (nearest: {near[0]})" if near and near[0] != name else ""
