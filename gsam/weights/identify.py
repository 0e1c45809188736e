"""Tell the family and configuration of a model by its name, its ``config.json`` or its tensors."""

from __future__ import annotations

import functools
import importlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gsam.errors import CheckpointError
from gsam.registry import FAMILIES, family_of
from gsam.weights.fields import shown
from gsam.weights.find import FILES, CheckpointSource, manifest
from gsam.weights.preprocessing import preparation
from gsam.weights.read import Tensor
from gsam.weights.rules import Layout, fit, plan, rename, unstack
from gsam.weights.wrappers import prefixes, without


def identify(found: CheckpointSource, tensors: Mapping[str, Tensor], role: str | None) -> tuple[str, Any]:
    """Family and configuration: by name, by ``config.json``, else by the tensors themselves.

    Of several variants with the same tensors (MedSAM's are SAM's) it is the one that the file or
    the hub model is called after.
    """
    family, config = _identified(found, tensors, role)
    called = _plain_name(found.path) if found.path.is_file() else _by_hub().get(found.name.partition("@")[0])
    module, port = family_modules(family)
    variants = module.VARIANTS
    if (
        found.variant is None
        and called in variants
        and parameter_shapes(family, variants[called]) == parameter_shapes(family, config)
    ):
        config = variants[called]
    if hasattr(port, "told"):
        config = port.told(config, tensors)
    official = found.variant is not None or called in variants
    folder = found.path if found.path.is_dir() else found.path.parent
    if not official and (folder / "config.json").is_file() and (fields := preparation(folder)) is not None:
        config = port.prepared(config, fields)
    return family, config


def _plain_name(path: Path) -> str:
    """A file's name without what says how it is packed."""
    return _plain_name(path.with_suffix("")) if path.suffix.lower() in FILES else path.name


@functools.cache
def _by_hub() -> Mapping[str, str]:
    """Hub id -> the official name, of models that have one there."""
    return {entry["hub"]: name for name, entry in manifest().items() if "hub" in entry}


def _identified(found: CheckpointSource, tensors: Mapping[str, Tensor], role: str | None) -> tuple[str, Any]:
    if found.variant is not None and (known := family_of(found.variant)):
        module, _ = family_modules(known)
        return known, module.VARIANTS[found.variant]
    described = (found.path if found.path.is_dir() else found.path.parent) / "config.json"
    if found.path.is_dir() and described.is_file():
        return _described(described, tensors)
    if re.search(r"-\d{5}-of-\d{5}\.", found.path.name):
        text = f"{found.path} is one of several shards of a model: name its folder, {found.path.parent}"
        raise CheckpointError(text, "checkpoint_mismatch")
    beside = not found.path.is_dir() and described.is_file()
    if beside and found.path.stem in ("model", "pytorch_model"):
        return _described(described, tensors)  # a folder as transformers writes it, by its file
    _refuse_strangers(found.name, tensors)
    likely = _likely(tensors, role)
    if likely is None and beside:
        return _described(described, tensors)
    if likely is None:
        some = ", ".join(list(tensors)[:3])
        lacks = "it has no config.json, and " if found.path.is_dir() else ""
        text = f"{found.name} is no model known here; {lacks}its tensors are {some}, ..."
        raise CheckpointError(text, "checkpoint_unknown")
    known = family_of(likely)
    assert known is not None
    return known, family_modules(known)[0].VARIANTS[likely]


MOST_TEXT = 1 << 24
"""Bytes of the longest ``config.json`` that is read."""
_DEPTH = re.compile(r"num_hidden_layers|(en|de)coder_layers|depths|blocks_per_stage")


def _described(described: Path, tensors: Mapping[str, Tensor]) -> tuple[str, Any]:
    """Family and configuration by a ``config.json``."""
    try:
        if described.stat().st_size > MOST_TEXT:
            raise ValueError(f"it has more than {MOST_TEXT:,} bytes")
        values = json.loads(described.read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise ValueError("it is no table")
        family = next((f for f in FAMILIES if values.get("model_type") in family_modules(f)[1].MODEL_TYPES), None)
        if family is None:
            kinds = ", ".join(t for f in FAMILIES for t in family_modules(f)[1].MODEL_TYPES)
            text = f"{described}: model_type {shown(values.get('model_type'))} is none of {kinds}"
            raise CheckpointError(text, "checkpoint_unknown")
        if (layers := _layers(values)) > len(tensors):
            text = f"{described} asks for {layers:,} layers, and the file has {len(tensors):,} tensors"
            raise CheckpointError(text, "checkpoint_mismatch")
        config = family_modules(family)[1].config_from_hf(values)
        parameter_shapes(family, config)
    except CheckpointError as error:
        text = str(error)
        place = text.replace("config.json", str(described), 1) if text.startswith("config.json") else text
        raise CheckpointError(place if str(described) in place else f"{described}: {place}", error.code) from None
    except (ValueError, TypeError, AttributeError, ArithmeticError, LookupError, RecursionError) as error:
        text = f"{described} is no model's configuration: {error}"
        raise CheckpointError(text, "checkpoint_format") from None
    return family, config


def _layers(values: Any, depth: int = 0) -> int:
    """Number of layers that a configuration asks for, in all of its tables."""
    if not isinstance(values, dict) or depth > 4:
        return 0
    total = 0
    for key, value in values.items():
        if _DEPTH.fullmatch(str(key)):
            some = value if isinstance(value, list) else [value]
            total += sum(v for v in some if type(v) is int and v > 0)
        total += _layers(value, depth + 1)
    return total


def _refuse_strangers(name: str, tensors: Mapping[str, Tensor]) -> None:
    """Raise `CheckpointError` for models that look like a family's, and are said not to be."""
    for family in FAMILIES:
        for pattern, what in getattr(family_modules(family)[1], "STRANGERS", ()):
            if any(re.fullmatch(pattern, n) for n in tensors):
                raise CheckpointError(f"{name} is {what}", "checkpoint_unknown")


def _likely(tensors: Mapping[str, Tensor], role: str | None) -> str | None:
    """The variant with these tensors, whatever was put before their names, else the nearest."""
    some = [without(tensors, prefix) for prefix in prefixes(tensors)]
    for exact in (True, False):
        for names in some:
            roles = (role, None) if exact else (role,)
            if likely := next((v for r in roles if (v := likely_variant(names, None, r, exact=exact))), None):
                return likely
    return None


def fitting(
    tensors: Mapping[str, Tensor], layouts: Sequence[Layout], shapes: Mapping[str, Any]
) -> tuple[dict[str, Tensor], Layout]:
    """The tensors by the names that a model knows, without what training put before them.

    With the layout that explains most of them.
    """
    found: list[tuple[int, dict[str, Tensor], Layout]] = []
    for prefix in prefixes(tensors):
        names = without(tensors, prefix)
        layout = fit(names, layouts, shapes)
        known = sum(rename(n, shapes, layout) in shapes for n in unstack(names, shapes, layout))
        found.append((known, names, layout))
        if known >= len(tensors):
            break
    _, names, layout = max(found, key=lambda f: f[0])
    return names, layout


def likely_variant(
    tensors: Mapping[str, Tensor], besides: str | None, role: str | None = None, *, exact: bool = False
) -> str | None:
    """Find the variant with these tensors (``exact``), or with at least half of them in common."""
    best: tuple[float, str] | None = None
    for family, (roles, variants) in FAMILIES.items():
        if role is not None and role not in roles:
            continue
        module, port = family_modules(family)
        if not any(_glance(tensors, _stems(family), layout) for layout in port.LAYOUTS):
            continue  # without building all of its sizes
        for variant in variants:
            if variant == besides:
                continue
            shapes = parameter_shapes(family, module.VARIANTS[variant])
            layout = fit(tensors, port.LAYOUTS, shapes)
            share = _share(tensors, shapes, layout)
            if share <= 0.5:
                continue
            try:
                plan(tensors, shapes, layout)
                return variant
            except CheckpointError:
                if not exact and (best is None or share > best[0]):
                    best = (share, variant)
    return best[1] if best else None


@functools.cache
def parameter_shapes(family: str, config: Any) -> Mapping[str, Any]:
    """Shapes of a model's parameters; building a large one takes a while."""
    return family_modules(family)[0].spec(config).shapes


GLANCE = 200
"""Names that tell a stranger from a family, so that files of very many are answered soon."""


def _glance(tensors: Mapping[str, Tensor], stems: frozenset[str], layout: Layout) -> bool:
    """Return True if more than a tenth of the names, by a sample, are the family's."""
    names = list(tensors)[:: len(tensors) // GLANCE + 1]
    some = unstack({name: tensors[name] for name in names}, {}, layout)
    spare = re.compile("|".join(f"(?:{pattern})" for pattern, _ in layout.unused) or "$^")
    known = sum(_stem_of(rename(n, {}, layout)) in stems or spare.fullmatch(n) is not None for n in some)
    return known * 10 > len(some)


@functools.cache
def _stems(family: str) -> frozenset[str]:
    """Where parameters of a family are, whatever its size: layers are not told apart."""
    variants = family_modules(family)[0].VARIANTS
    return frozenset(map(_stem_of, parameter_shapes(family, next(iter(variants.values())))))


def _stem_of(path: str) -> str:
    return re.sub(r"\d+", "0", path.rpartition("/")[0] or path)


def _share(tensors: Mapping[str, Tensor], shapes: Mapping[str, Any], layout: Any) -> float:
    from gsam.weights.rules import permutation, rename, useful

    hits, read = 0, useful(tensors, shapes, layout)
    for name, tensor in read.items():
        path = rename(name, shapes, layout)
        if path in shapes:
            axes = permutation(name, path, len(tensor.shape), layout) or range(len(tensor.shape))
            hits += tuple(tensor.shape[a] for a in axes) == tuple(shapes[path].shape)
    return hits / max(len(read), len(shapes))


def role_module(family: str, role: str | None) -> Any:
    """Import the module by which a family plays a role, or its package; None if it does not."""
    name = f"gsam.models.{family}" if role is None else FAMILIES[family].roles.get(role)
    return importlib.import_module(name) if name else None


def family_modules(family: str) -> tuple[Any, Any]:
    """Import the package of a family, and its port.  Raises `LookupError` for no family."""
    if family not in FAMILIES:
        raise LookupError(f"there is no family {family!r}")
    package = f"gsam.models.{family}"
    return importlib.import_module(package), importlib.import_module(f"{package}.port")
