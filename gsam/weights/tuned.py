"""Folders of models that gsam trained: what their ``gsam.json`` says, and adapters on their base.

Such a folder holds ``model.safetensors``, all tensors under official names, or
``adapters.safetensors``, which has LoRA's matrices and the tensors that replace the base's.  The
base is then found by its name, compared by its hash, and the adapters are merged into it.
"""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gsam.errors import CheckpointError
from gsam.types import Json
from gsam.weights.adapters import LEFT, RIGHT, merge
from gsam.weights.identify import family_modules

NOTE = "gsam.json"
FULL, ADAPTERS = "model.safetensors", "adapters.safetensors"
"""Files of weights in such a folder, one or the other."""


@dataclasses.dataclass(frozen=True)
class Note:
    """Content of a folder's ``gsam.json``."""

    family: str
    """A family of `gsam.registry`."""
    variant: str | None
    """Official name of the base, or of what that was trained from; None where it has none."""
    config: Any
    """The family's sizes."""
    base: str
    """Name of the model that training began with; a path is absolute."""
    base_sha256: str
    """Hash of its weights, see `gsam.weights.identity.weights_hash`."""
    what: str
    """The part that was trained, such as ``decoder``, ``lora`` or ``all``."""
    licence: str | None
    """Licence of the base's weights, where it is known."""
    scale: float | None
    """Factor of LoRA's adapters; None for a folder that has none."""
    settings: Json
    """Settings that the trainer noted, ``lora`` with its rank and targets among them."""

    def to_json(self) -> Json:
        """Give the content of the file."""
        return {"trained": 1} | dataclasses.asdict(self)


def note_of(path: Path) -> Note | None:
    """Read the note of a trained model.

    Args:
        path: Its folder, or a file of weights in it.

    Returns:
        The note; None for any other model.

    Raises:
        CheckpointError: The note is damaged, or of a newer gsam.
    """
    folder = path if path.is_dir() else path.parent
    file = folder / NOTE
    if not file.is_file() or (not path.is_dir() and path.name not in (FULL, ADAPTERS)):
        return None
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(values, dict) or "trained" not in values:
            return None
        if values["trained"] != 1:
            raise ValueError("it is of a newer gsam")
        module, _ = family_modules(values["family"])
        config = config_of(next(type(c) for c in module.VARIANTS.values()), values["config"])
        rest = {f.name: values[f.name] for f in dataclasses.fields(Note) if f.name not in ("family", "config")}
        if not isinstance(rest["base"], str) or not isinstance(rest["base_sha256"], str):
            raise TypeError("its base is no name and hash")
        if rest["scale"] is not None and not -1e6 < float(rest["scale"]) < 1e6:
            raise ValueError("the scale of its adapters is out of range")
        return Note(family=values["family"], config=config, **rest)
    except (ValueError, LookupError, TypeError, AttributeError, OSError) as error:
        if isinstance(error, json.JSONDecodeError) and not any((folder / f).is_file() for f in (FULL, ADAPTERS)):
            return None  # an Orbax folder's, perhaps: who reads that says so
        raise CheckpointError(f"{file} does not describe a trained model: {error!r}", "checkpoint_format") from None


def config_of(kind: Any, values: Mapping[str, Any]) -> Any:
    """Make a frozen dataclass from what `dataclasses.asdict` and JSON made of it.

    Args:
        kind: The class.
        values: Its fields.
    """
    kinds = typing.get_type_hints(kind)

    def value(name: str, given: Any) -> Any:
        if isinstance(given, dict):
            hint = kinds.get(name)
            several = [k for k in typing.get_args(hint) or (hint,) if dataclasses.is_dataclass(k)]
            fitting = [k for k in several if given.keys() == {f.name for f in dataclasses.fields(k)}] or several
            return config_of(fitting[0], given) if fitting else given
        return tuple(given) if isinstance(given, list) else given

    return kind(**{name: value(name, given) for name, given in values.items()})


def apply(
    params: Mapping[str, Any], changes: Mapping[str, NDArray[Any]], scale: float, where: Path
) -> dict[str, NDArray[np.float32]]:
    """Put what was trained into its base: tensors are replaced, then adapters merged.

    Args:
        params: The base's flat parameters, float32.
        changes: The tensors of ``adapters.safetensors``.
        scale: Factor of the adapters.
        where: The file, for errors.

    Returns:
        The parameters of the model, float32, on the host.

    Raises:
        CheckpointError: A tensor fits none of the base's, or holds numbers that are not finite.
    """
    adapters = {k: v for k, v in changes.items() if k.endswith((f"/{LEFT}", f"/{RIGHT}"))}
    replaced = {k: v for k, v in changes.items() if k not in adapters}
    for name, value in replaced.items():
        if name not in params or tuple(params[name].shape) != value.shape:
            text = f"{where}: {name} {value.shape} is no tensor of its base"
            raise CheckpointError(text, "checkpoint_mismatch")
    if broken := [k for k, v in changes.items() if not np.isfinite(v).all()]:
        raise CheckpointError(f"{where}: {broken[0]} holds numbers that are not finite", "checkpoint_not_finite")
    try:
        merged = merge({**params, **replaced}, adapters, scale)
    except ValueError as error:
        raise CheckpointError(f"{where} does not fit its base: {error}", "checkpoint_mismatch") from None
    return {k: np.asarray(v, np.float32) for k, v in merged.items()}
