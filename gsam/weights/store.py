"""Where weights are: any way of naming a model -> its files -> its parameters.

A name may be one of a manifest (``weights/manifests``), a hub id (``owner/name``,
``owner/name@revision``), a folder with ``config.json`` and safetensors, one ``.safetensors``,
``.pth``, ``.pt`` or ``.bin`` file or a ``.zip`` of one, or an Orbax folder that `save` wrote.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from gsam.errors import CheckpointError, UsageError
from gsam.files import atomic_folder
from gsam.registry import FAMILIES
from gsam.types import Params
from gsam.weights import ported
from gsam.weights.find import CheckpointSource, find, manifest, tokenizer_files, weight_files
from gsam.weights.folders import cache_folder
from gsam.weights.hashes import hub_hash, verify_hash, verify_once
from gsam.weights.identify import family_modules, fitting, identify, likely_variant, role_module
from gsam.weights.identity import weights_hash
from gsam.weights.read import read
from gsam.weights.rules import convert, precision
from gsam.weights.tuned import ADAPTERS, NOTE, Note, apply, config_of, note_of

ORBAX_NOTE = "gsam.json"
DEEPEST = 8
"""Adapters that are trained on each other, before it is a circle."""


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A model with its numbers."""

    family: str
    config: Any
    params: Params
    tokenizer: Path | None
    """A ``tokenizer.json`` or the folder that has one."""
    name: str


def load(name: str | Path, *, role: str | None = None, dtype: DTypeLike = "float32") -> Loaded:
    """Find, check and read a model.

    Args:
        name: Any name of a model, see `gsam.weights.find`.
        role: One of `gsam.registry.ROLES`: what the model is loaded for.  It decides where a bare
            file could be several things, and ``"track"`` reads the memory too, which the other
            roles leave in the file.
        dtype: Floating-point type of the parameters, but see `gsam.weights.rules.EXACT`.

    Returns:
        The model with its numbers.

    Raises:
        CheckpointError: The model cannot be found, trusted or understood.
        UsageError: There is no model of this name, or it cannot track.
    """
    return _load(name, role, dtype, 0)


def _load(name: str | Path, role: str | None, dtype: DTypeLike, above: int) -> Loaded:
    """Load a model that is the base of so many others, one of the next."""
    found = find(name)
    note = note_of(found.path)
    if note is not None and note.scale is not None:
        return _load_adapters(found, note, role, dtype, above)
    if note is None and (found.path / ORBAX_NOTE).is_file():
        if role == "track":
            raise UsageError(
                f"{found.name} is an Orbax folder, which holds the picture's part only: name the original file"
            )
        return _load_orbax(found, dtype)
    part = f"{found.name}-track" if role == "track" else found.name
    kept = ported.place(cache_folder() / "ported", part, weight_files(found.path), dtype) if found.downloaded else None
    again = kept is not None and kept.is_file() and ported.intact(kept)  # a damaged copy is made anew
    if kept is not None and again:
        tensors = read(kept)
    else:
        if found.sha256:
            verify_hash(found.path, found.sha256)
        for file in weight_files(found.path) if found.downloaded else ():
            if known := hub_hash(file):
                verify_once(file, known)
        tensors = read(found.path)
    family, config = (note.family, note.config) if note is not None else identify(found, tensors, role)
    module = role_module(family, role)
    if role == "track" and (module is None or not module.supports(config)):
        raise UsageError(f"{found.name!r} is no tracker: SAM 2 or 2.1 is needed to follow things through a video")
    module = module or family_modules(family)[0]
    shapes = module.spec(config).shapes
    try:
        tensors, layout = fitting(tensors, module.LAYOUTS, shapes)
        params = convert(tensors, shapes, layout, dtype)
    except CheckpointError as error:
        likely = likely_variant(tensors, found.variant) if error.code == "checkpoint_mismatch" else None
        hint = f"\n  It looks like {likely}." if likely else ""
        raise CheckpointError(f"{found.name}: {error}{hint}", error.code) from None
    if kept is not None and not again:
        ported.keep(params, kept)
    _notice(family)
    return Loaded(family, config, params, found.tokenizer, found.name)


@functools.cache
def _notice(family: str) -> None:
    """Print, once per process, the manifests' notice for users of a family's weights."""
    notices = dict.fromkeys(
        entry["notice"] for v in FAMILIES[family].variants if "notice" in (entry := manifest().get(v, {}))
    )
    for notice in notices:
        warnings.warn(notice, stacklevel=3)


def save(loaded: Loaded, folder: Path, *, dtype: DTypeLike | None = None) -> Path:
    """Write a model as an Orbax folder that `load` understands alone; whole or not at all.

    ``dtype``: what the numbers are stored as, by default as they are (but see
    `gsam.weights.rules.EXACT`).
    """
    import orbax.checkpoint as ocp

    folder = Path(folder).absolute()
    if folder.exists():
        raise UsageError(f"{folder} exists already", "output_exists")
    params = loaded.params if dtype is None else {k: v.astype(precision(k, dtype)) for k, v in loaded.params.items()}
    with atomic_folder(folder) as partial:
        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(partial / "params", params)
        note = {"family": loaded.family, "config": dataclasses.asdict(loaded.config), "name": loaded.name}
        (partial / ORBAX_NOTE).write_text(json.dumps(note, indent=1))
        if loaded.tokenizer is not None:
            for file in tokenizer_files(loaded.tokenizer):
                shutil.copy(file, partial / file.name)
    return folder


def _load_orbax(found: CheckpointSource, dtype: DTypeLike) -> Loaded:
    import jax
    import orbax.checkpoint as ocp

    try:
        note = json.loads((found.path / ORBAX_NOTE).read_text())
        module, _ = family_modules(note["family"])
        config = config_of(next(type(c) for c in module.VARIANTS.values()), note["config"])
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        text = f"{found.path / ORBAX_NOTE} does not describe a model known here: {error!r}"
        raise CheckpointError(text, "checkpoint_format") from None
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    shapes = module.spec(config).shapes
    target = {k: jax.ShapeDtypeStruct(s.shape, precision(k, dtype), sharding=device) for k, s in shapes.items()}
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            params = checkpointer.restore(found.path.absolute() / "params", target)
    except (ValueError, KeyError, OSError) as error:
        raise CheckpointError(f"{found.path} cannot be restored: {error}", "checkpoint_mismatch") from None
    if broken := [k for k, v in params.items() if not np.isfinite(np.asarray(v)).all()]:
        raise CheckpointError(f"{found.path}: {broken[0]} holds numbers that are not finite", "checkpoint_not_finite")
    _notice(note["family"])
    return Loaded(note["family"], config, params, found.tokenizer, note["name"])


def _load_adapters(found: CheckpointSource, note: Note, role: str | None, dtype: DTypeLike, above: int) -> Loaded:
    """Load the base of a trained model and put what was trained into it.

    Raises:
        CheckpointError: The base is not here or is not the one it was trained from
            (``checkpoint_base``), or the adapters do not fit it.
    """
    import jax

    where = (found.path if found.path.is_dir() else found.path.parent) / ADAPTERS
    remedy = f"put it back there, or write where it is now as `base` into {where.with_name(NOTE)}"
    if above >= DEEPEST:
        text = f"{found.name} is made of adapters on adapters, {DEEPEST} deep: merge them with `gsam weights port`"
        raise CheckpointError(text, "checkpoint_base")
    try:
        base = _load(note.base, role, np.float32, above + 1)
    except (CheckpointError, UsageError) as error:
        if error.code in ("usage", "checkpoint_base"):  # a role that it cannot play
            raise
        text = f"{found.name} was trained from {note.base}, which cannot be loaded ({error}): {remedy}"
        raise CheckpointError(text, "checkpoint_base") from None
    actual = weights_hash(note.base)
    if base.family != note.family or actual != note.base_sha256:
        text = (
            f"{found.name} was trained from another {note.base} than the one that is here (SHA-256 {note.base_sha256[:12]}, "
            f"this one has {actual[:12]}): {remedy}"
        )
        raise CheckpointError(text, "checkpoint_base")
    changes = {name: tensor.load() for name, tensor in read(where).items()}
    assert note.scale is not None
    merged = apply(base.params, changes, note.scale, where)
    params = {k: jax.device_put(v.astype(precision(k, dtype))) for k, v in merged.items()}
    tokenizer = found.tokenizer or base.tokenizer
    return Loaded(note.family, base.config, params, tokenizer, found.name)
