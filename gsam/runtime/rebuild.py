"""Pickling by recipe: what was asked for travels, and the receiver builds it again."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ParamSpec, Self, TypeVar

import jax

from gsam.errors import UsageError
from gsam.registry import roles_of

P = ParamSpec("P")
M = TypeVar("M", bound="Rebuildable")
ENDINGS = (".toml", ".safetensors", ".pth", ".pt", ".bin")
"""Endings of files that a call may name."""
PLAIN = (str, bytes, int, float, bool, os.PathLike, type, jax.Device)


class Rebuildable:
    """An object that is pickled as the call that made it, without weights or programs.

    The call is that of the class, or of the function that `by_recipe` wraps. Another process makes
    the object anew, on its own devices: it needs the same model files, and it compiles or finds its
    programs in the cache. Images that were set and texts that were remembered do not travel.
    """

    _call: tuple[Callable[..., Any], Mapping[str, Any]] | None = None
    _rebuilt_by_name = True
    """Whether a call of the class can be made again from its arguments."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        made = super().__new__(cls)
        if cls._rebuilt_by_name:
            made._call = _call(cls, args, kwargs)
        return made

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[()]]:
        kind = type(self).__name__
        if self._call is None:
            raise UsageError(f"this {kind} {_WHY.format('is made of steps')}", "not_picklable")
        function, arguments = self._call
        for name, value in arguments.items():
            if not _travels(value):
                raise UsageError(f"this {kind} {_WHY.format(f'was given {name}={_short(value)}')}", "not_picklable")
        anchored = {name: _anchored(value) for name, value in arguments.items()}
        return functools.partial(_make, function, anchored), ()


_WHY = (
    "{}, which cannot be pickled: pickle a function that builds it, and call that in each process (docs/processes.md)"
)


def by_recipe(function: Callable[P, M]) -> Callable[P, M]:
    """Let what ``function`` returns be pickled as the call that made it."""

    @functools.wraps(function)
    def remembered(*args: P.args, **kwargs: P.kwargs) -> M:
        made = function(*args, **kwargs)
        made._call = _call(remembered, args, kwargs)
        return made

    return remembered


def _call(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[Callable[..., Any], Mapping[str, Any]] | None:
    """A call by the names of its arguments; None where they do not fit, as the call will tell."""
    try:
        bound = inspect.signature(function).bind(*args, **kwargs)
    except TypeError:
        return None
    named: dict[str, Any] = {}
    for name, value in bound.arguments.items():
        kind = bound.signature.parameters[name].kind
        named |= value if kind is inspect.Parameter.VAR_KEYWORD else {name: value}
    return function, named


@dataclasses.dataclass(frozen=True)
class _DeviceNumber:
    """A device as another process may know it."""

    platform: str
    number: int

    def found(self) -> jax.Device:
        for device in jax.local_devices(backend=self.platform):
            if device.id == self.number:
                return device
        raise UsageError(
            f"what was pickled is for {self.platform} device {self.number}, which is not here", "no_device"
        )


def _make(function: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    return function(**{name: _here(value) for name, value in arguments.items()})


def _here(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return type(value)(map(_here, value))
    return value.found() if isinstance(value, _DeviceNumber) else value


def _travels(value: Any) -> bool:
    """Whether a value means the same in another process: names, numbers, types, lists of them."""
    if isinstance(value, Mapping):
        return all(map(_travels, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_travels, value))
    return value is None or isinstance(value, PLAIN) or _is_array(value)


def _is_array(value: Any) -> bool:
    return hasattr(value, "dtype") and not isinstance(value, jax.Array)


def _anchored(value: Any) -> Any:
    """A value as another process understands it: devices by their numbers, whole paths.

    A name without a folder or an ending is no path: it may be that of a recipe or a model.
    """
    if isinstance(value, list | tuple):
        return type(value)(map(_anchored, value))
    if isinstance(value, jax.Device):
        return _DeviceNumber(value.platform, value.id)
    if isinstance(value, os.PathLike):
        return Path(value).absolute()
    if not isinstance(value, str) or roles_of(value) or not (os.sep in value or value.endswith(ENDINGS)):
        return value
    return os.path.abspath(value) if os.path.lexists(value) else value


def _short(value: Any) -> str:
    return (
        type(value).__name__ if not isinstance(value, list | tuple) else f"a list of {type(next(iter(value))).__name__}"
    )
