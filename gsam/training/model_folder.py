"""The model that a training run begins with, and the folder in which it leaves what it made.

The folder serves wherever a model is named, and so does the run's that holds it as ``model/``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import glob
import json
import os
import re
import shutil
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gsam import bind
from gsam.build.stages import check_role
from gsam.errors import CheckpointError, OutputError, UsageError
from gsam.files import atomic_folder
from gsam.registry import FAMILIES
from gsam.training.lora import Lora
from gsam.training.model_card import Scored, model_card
from gsam.types import Json
from gsam.weights import find, ported, store
from gsam.weights.folders import data_folder
from gsam.weights.identify import role_module
from gsam.weights.identity import weights_hash
from gsam.weights.pth_layout import FORMAT, layout_of, tensors_of
from gsam.weights.tuned import ADAPTERS, FULL, NOTE, Note, note_of

DESCRIBED = ("config.json", "preprocessor_config.json", "processor_config.json")
"""Files by which transformers reads a folder; they are taken over with the names it knows."""

FINGERPRINTS = {"data": "data", "held_out": "held-out data", "images": "image files"}
"""Settings in ``run.json`` that are fingerprints of data, and their names on the card."""


@dataclasses.dataclass(frozen=True, eq=False)
class Base:
    """A model before training, with its numbers on the host."""

    name: str
    """By which it is found again: an official name, a hub id, or an absolute path."""
    family: str
    """A family of `gsam.registry`."""
    config: Any
    """The family's sizes."""
    params: Mapping[str, NDArray[np.float32]]
    """All parameters that the role needs, flat."""
    spec: bind.Spec[Any]
    """The model without its numbers."""
    sha256: str
    """Hash of its weights, see `gsam.weights.identity.weights_hash`."""
    tokenizer: Path | None
    """A ``tokenizer.json`` or the folder that has one."""
    variant: str | None
    """The official name it has, or that of the model it was trained from."""
    licence: str | None
    """Licence of its weights, where the manifests or its own note say one."""
    role: str = "segment"
    """Role that it is trained for."""
    scratch: bool = False
    """True for a model of random numbers, which no file holds; ``name`` is then that of the model
    whose decoder it began with.
    """


def load_base(name: str | Path, role: str = "segment") -> Base:
    """Load the model that training begins with.

    Args:
        name: Any name of a model: an official one, a hub id, a folder (that of an earlier run is
            one) or a file.
        role: What it is trained for, one of `gsam.registry.ROLES`.

    Returns:
        The model, its parameters float32 on the host.

    Raises:
        CheckpointError: The model cannot be found, trusted or understood.
        UsageError: There is no model of this name, or it cannot play ``role``.

    Example:
        >>> base = load_base("nano_sam")
        >>> base.family, base.variant, len(base.sha256)
        ('sam', 'nano_sam', 64)
    """
    found = find.find(name)
    loaded = store.load(name, role=role)
    check_role(str(name), FAMILIES[loaded.family].roles, role)
    note = note_of(found.path)
    variant = found.variant or (note.variant if note is not None else None)
    here = Path(str(name)).expanduser()
    return Base(
        name=str(here.resolve()) if found.variant is None and here.exists() else str(name),
        family=loaded.family,
        config=loaded.config,
        params={k: np.asarray(v, np.float32) for k, v in loaded.params.items()},
        spec=role_module(loaded.family, role).spec(loaded.config),
        sha256=weights_hash(name),
        tokenizer=loaded.tokenizer,
        variant=variant,
        licence=(note.licence if note is not None else None) or _licence(variant),
        role=role,
    )


def write_model(
    folder: Path,
    base: Base,
    params: Mapping[str, Any] | None = None,
    *,
    adapters: Mapping[str, Any] | None = None,
    lora: Lora | None = None,
    what: str = "all",
    settings: Json | None = None,
    scores: Sequence[Scored] = (),
    card: str | None = None,
) -> Path:
    """Write what was trained as a folder that serves wherever a model is named.

    Without adapters it holds ``model.safetensors`` with every tensor under its official name, which
    PyTorch's tools take; with adapters ``adapters.safetensors``, small, and the base is needed to
    load it.  Beside it lie ``gsam.json``, which names the base with its hash, a model card and the
    tokenizer.  A model that is there already is replaced when the new one is whole.

    Args:
        folder: The folder, by convention ``model`` in that of the run.
        base: The model before training.
        params: Trained parameters by path, any of ``base``'s; those that are left out are the
            base's.
        adapters: What `Lora.init` made, as trained since.
        lora: What made ``adapters``.
        what: The part that was trained, such as ``decoder``.
        settings: What to note of the training beside it, as JSON; the data's fingerprints are read
            from ``run.json`` beside ``folder``.
        scores: Figures before and after training, for the model card.
        card: Another model card than that of `gsam.training.model_card`.

    Returns:
        ``folder``.

    Raises:
        ValueError: Parameters that are not the base's, or adapters without ``lora``.
        CheckpointError: Numbers that are not finite (``checkpoint_not_finite``).
        UsageError: There is something else in ``folder`` (``output_exists``).
        OutputError: The folder cannot be written: a full disk, for instance.  What was there stays.
    """
    if (adapters is None) != (lora is None):
        raise ValueError("adapters need the Lora that made them, and the other way round")
    if folder.exists() and note_of(folder) is None and any(folder.iterdir()):
        raise UsageError(f"{folder} holds something else than a trained model: move it away", "output_exists")
    new = {k: np.asarray(v, np.float32) for k, v in (params or {}).items()}
    _check(base, new, adapters or {})
    if adapters is not None and lora is not None:
        lora.merge(base.params, adapters)  # raises for adapters that do not fit
    note = Note(
        family=base.family,
        variant=base.variant,
        config=base.config,
        base=base.name,
        base_sha256=base.sha256,
        what=what,
        licence=base.licence,
        scale=None if lora is None else lora.scale,
        settings=_data_of(folder.parent) | dict(settings or {}) | _noted(lora),
    )
    try:
        with _replacing(folder) as place:
            if adapters is not None and lora is not None:
                _write_adapters(place, base, new, adapters, lora)
            else:
                _write_full(place, base, {**base.params, **new})
            text = json.dumps(note.to_json(), indent=1, ensure_ascii=False)
            (place / NOTE).write_text(f"{text}\n", encoding="utf-8")
            (place / "README.md").write_text(card or _card(place, base, note, scores), encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{folder}: the model cannot be written: {error.strerror or error}") from error
    return folder


def _card(place: Path, base: Base, note: Note, scores: Sequence[Scored]) -> str:
    return model_card(
        f"{base.variant or Path(base.name).name}, {note.what}",
        base.role,
        base=base.name,
        base_sha256=base.sha256,
        licence=base.licence,
        what=note.what,
        settings=note.settings,
        scores=scores,
        adapters=note.scale is not None,
        transformers=(place / DESCRIBED[0]).is_file(),
        original=layout_of(base.family, base.config).name == "original",
        sizes={file.name: file.stat().st_size for file in sorted(place.glob("*.safetensors"))},
    )


def _noted(lora: Lora | None) -> Json:
    return {} if lora is None else {"lora": dataclasses.asdict(lora)}


def _data_of(run: Path) -> Json:
    """Fingerprints of the data that a run learnt from and was scored on, where its folder says."""
    try:
        settings = json.loads((run / "run.json").read_text(encoding="utf-8"))["settings"]
        found = {key: settings.get(key) for key in FINGERPRINTS}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {}
    return {FINGERPRINTS[key]: value for key, value in found.items() if isinstance(value, str)}


def _write_adapters(
    place: Path, base: Base, new: Mapping[str, NDArray[np.float32]], adapters: Mapping[str, Any], lora: Lora
) -> None:
    """Write adapters and, beside them, the parameters that replace the base's."""
    changed = {k: v for k, v in new.items() if not np.array_equal(v, base.params[k])}
    small = {k: np.asarray(v, np.float32) for k, v in adapters.items()}
    ported.write(dict(sorted((small | changed).items())), place / ADAPTERS, FORMAT)


def _write_full(place: Path, base: Base, params: Mapping[str, NDArray[np.float32]]) -> None:
    """Write every tensor, the tokenizer, and what transformers reads a folder by."""
    source = None if base.scratch else base.name
    tensors = tensors_of(params, base.spec.shapes, base.family, base.config, source)
    ported.write(tensors, place / FULL, FORMAT)
    if source is None:
        return
    if base.tokenizer is not None:
        for file in find.tokenizer_files(base.tokenizer):
            shutil.copy(file, place / file.name)
    where = find.find(source).path
    where = where if where.is_dir() else where.parent
    if layout_of(base.family, base.config).name == "hugging_face" and (where / DESCRIBED[0]).is_file():
        for name in DESCRIBED:
            if (where / name).is_file():
                shutil.copy(where / name, place / name)


def _check(base: Base, params: Mapping[str, NDArray[Any]], adapters: Mapping[str, Any]) -> None:
    for name, value in params.items():
        if name not in base.params or value.shape != base.params[name].shape:
            raise ValueError(f"{name} {value.shape} is no parameter of {base.name}")
    for name, value in (*params.items(), *adapters.items()):
        if not np.isfinite(np.asarray(value)).all():
            text = f"nothing was written: the trained {name} holds numbers that are not finite"
            raise CheckpointError(text, "checkpoint_not_finite")


@contextlib.contextmanager
def _replacing(folder: Path) -> Iterator[Path]:
    """Yield a folder that takes the place of ``folder`` if the block ends without an error."""
    new, old = (folder.with_name(f".{folder.name}.{os.getpid()}.{word}") for word in ("new", "old"))
    for left in folder.parent.glob(f".*{glob.escape(folder.name)}.*"):  # of runs that were killed here
        if re.fullmatch(rf"\.?\.{re.escape(folder.name)}\.\d+\.(new|old)(\.\d+\.partial)?", left.name):
            shutil.rmtree(left, ignore_errors=True)
    with atomic_folder(new) as place:
        yield place
    if folder.exists():
        folder.rename(old)
    new.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def _licence(variant: str | None) -> str | None:
    """Licence of an official model's weights, or of one that ships."""
    if variant is None:
        return None
    entry: Mapping[str, Any] = find.manifest().get(variant, {})
    if variant in find.NANO:
        text = (data_folder("nano") / "manifest.toml").read_text(encoding="utf-8")
        entry = tomllib.loads(text).get(variant, {})
    licence = entry.get("licence")
    return licence if isinstance(licence, str) else None
