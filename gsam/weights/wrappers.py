"""The wrappings of training scripts: dictionaries around weights, prefixes before names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from gsam.errors import CheckpointError
from gsam.text.queries import shorten

T = TypeVar("T")

KEYS = (
    "model", "state_dict", "params", "ema_state_dict", "model_state_dict", "model_state", "net", "network", "module",
    "weights", "state", "sam", "sam_model", "segmenter", "detector", "checkpoint", "ema", "model_ema", "params_ema",
)  # fmt: skip
"""Keys that a state dict lies under: the first that is there, averages last."""
NEVER = ("optim", "sched", "scaler", "amp", "callbacks", "loops", "rng")
"""Beginnings of keys under which tensors lie that are no weights."""
INSIDE = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
"""Parts that PyTorch puts into names wherever a part was compiled, sharded or checkpointed."""
DEEPEST = 4
"""Dictionaries around a state dict, and prefixes before its names, that are taken off."""


def state_dict(found: Any, kind: type[T], file: str) -> dict[str, T]:
    """Find the tensors of a state dict in what a file holds.

    Args:
        found: What the file holds.
        kind: Class of its tensors.
        file: Name for errors.

    Raises:
        CheckpointError: It holds none, or several of which none is called as the weights are.
    """
    for _ in range(DEEPEST):
        if not isinstance(found, Mapping) or (inner := _inner(found, kind, file)) is None:
            break
        found = inner
    tensors = {str(k): v for k, v in found.items() if isinstance(v, kind)} if isinstance(found, Mapping) else {}
    if not tensors:
        keys = [shorten(str(k)) for k in list(found)[:8]] if isinstance(found, Mapping) else []
        held = f"; it has {', '.join(keys)}" if keys else ""
        text = f"{file} holds no state dict{held}. Save the network's state_dict() alone, or under 'model'"
        raise CheckpointError(text, "checkpoint_format")
    return without(tensors, "module.") if all(k.startswith("module.") for k in tensors) else tensors


def _inner(found: Mapping[Any, Any], kind: type, file: str) -> Mapping[Any, Any] | None:
    """The dictionary in a dictionary that the weights are in, None if they are in this one."""
    inside = {k: v for k, v in found.items() if isinstance(v, Mapping) and _holds(v, kind, DEEPEST)}
    for key in KEYS:
        if key in inside:
            return inside[key]
    if any(isinstance(v, kind) for v in found.values()):
        return None
    others = [k for k in inside if not str(k).lower().startswith(NEVER)]
    if len(others) > 1:
        keys = ", ".join(shorten(str(k)) for k in others[:8])
        text = f"{file} holds several state dicts, {keys}: save the one that you mean alone, or under 'model'"
        raise CheckpointError(text, "checkpoint_format")
    return inside[others[0]] if others else None


def _holds(found: Mapping[Any, Any], kind: type, depth: int) -> bool:
    values = list(found.values())
    if any(isinstance(v, kind) for v in values):
        return True
    return depth > 1 and any(isinstance(v, Mapping) and _holds(v, kind, depth - 1) for v in values[:64])


def plain_names(tensors: Mapping[str, T]) -> dict[str, T]:
    """Take what PyTorch's wrappers put into names out of them, unless two names would be one."""
    names = {name: _plain(name) for name in tensors}
    if len(set(names.values())) < len(names):
        return dict(tensors)
    return {names[name]: tensor for name, tensor in tensors.items()}


def _plain(name: str) -> str:
    for word in INSIDE:
        name = name.replace(word, "")
    return name


def prefixes(names: Iterable[str]) -> list[str]:
    """List prefixes that most of the names have, from none to the longest."""
    found, rest = [""], list(names)
    total = len(rest)
    for _ in range(DEEPEST):
        heads = Counter(name.partition(".")[0] for name in rest if "." in name)
        if not heads or (most := heads.most_common(1)[0])[1] * 2 <= total:
            break
        found.append(f"{found[-1]}{most[0]}.")
        rest = [name[len(most[0]) + 1 :] for name in rest if name.startswith(f"{most[0]}.")]
    return found


def without(tensors: Mapping[str, T], prefix: str) -> dict[str, T]:
    """Take a prefix off the names that have it; nothing if two names would be one."""
    names = {name: name.removeprefix(prefix) for name in tensors}
    if not prefix or len(set(names.values())) < len(names):
        return dict(tensors)
    return {names[name]: tensor for name, tensor in tensors.items()}
