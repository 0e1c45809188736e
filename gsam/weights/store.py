"""Where weights are: any way of naming a model -> its files -> its parameters.

A name may be one of a manifest (``weights/manifests``), a hub id (``owner/name``, ``owner/name@revision``), a folder with
``config.json`` and safetensors, one ``.safetensors``, ``.pth``, ``.pt`` or ``.bin`` file or a ``.zip`` of one, or an Orbax folder
that `save` wrote.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import functools
import hashlib
import importlib
import json
import os
import re
import shutil
import tomllib
import typing
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gsam.errors import CheckpointError, UsageError
from gsam.registry import FAMILIES, family_of
from gsam.types import Params
from gsam.weights import download, ported
from gsam.weights.read import Tensor, read
from gsam.weights.rules import convert, fit, plan, precision

FILES = (".safetensors", ".pth", ".pt", ".bin", ".zip")
NANO = {"nano_owl": "detector", "nano_sam": "segmenter", "nano_clip": "classifier", "nano_sam2": "tracker"}
ORBAX_NOTE = "gsam.json"


@dataclasses.dataclass(frozen=True)
class Found:
    """A model that has been located, not read."""

    name: str
    path: Path
    """A file, or a folder."""
    variant: str | None = None
    """The registered name, where the source says which it is."""
    tokenizer: Path | None = None
    sha256: str | None = None
    """What the manifest expects of the file; the files of a hub model are checked when they are found."""
    downloaded: bool = False
    """Whether it is in a cache: then its conversion is kept in another."""


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A model with its numbers."""

    family: str
    config: Any
    params: Params
    tokenizer: Path | None
    """A ``tokenizer.json`` or the folder that has one."""
    name: str


def load(name: str | Path, *, role: str | None = None, dtype: Any = "float32", video: bool = False) -> Loaded:
    """Find, check and read a model.

    ``role`` (``detect``, ``segment``, ``classify``) helps where a bare file could be several things.  ``video``: with what a
    tracker needs besides.  Raises `CheckpointError` (cannot be found, trusted or understood) and `UsageError` (no such
    name, or no tracker).
    """
    found = find(name)
    if (found.path / ORBAX_NOTE).is_file():
        if video:
            raise UsageError(
                f"{found.name} is an Orbax folder, which holds the picture's part only: name the original file"
            )
        return _load_orbax(found, dtype)
    part = f"{found.name}-video" if video else found.name
    kept = ported.place(cache_folder() / "ported", part, _weights(found.path), dtype) if found.downloaded else None
    if kept is not None and kept.is_file():
        tensors = read(kept)
    else:
        if found.sha256:
            verify_hash(found.path, found.sha256)
        for file in _weights(found.path) if found.downloaded else ():
            if known := hub_hash(file):
                verify_once(file, known)
        tensors = read(found.path)
    family, config = _identify(found, tensors, role)
    module, port = _modules(family)
    layouts = port.LAYOUTS
    if video:
        if not hasattr(port, "layouts") or getattr(config, "hq", False):
            raise UsageError(f"{found.name!r} is no tracker: SAM 2 or 2.1 is needed to follow things through a video")
        module, layouts = importlib.import_module(f"{module.__name__}.tracker"), port.layouts(video=True)
    shapes = module.spec(config).shapes
    try:
        params = convert(tensors, shapes, fit(tensors, layouts, shapes), dtype)
    except CheckpointError as error:
        likely = _likely(tensors, found.variant) if error.code == "checkpoint_mismatch" else None
        hint = f"\n  It looks like {likely}." if likely else ""
        raise CheckpointError(f"{found.name}: {error}{hint}", error.code) from None
    if kept is not None and not kept.is_file():
        ported.keep(params, kept)
    _notice(family)
    return Loaded(family, config, params, found.tokenizer, found.name)


@functools.cache
def _notice(family: str) -> None:
    """Say, once a process, what the manifests want everybody to know who uses a family's weights."""
    notices = dict.fromkeys(
        entry["notice"] for v in FAMILIES[family][1] if "notice" in (entry := manifest().get(v, {}))
    )
    for notice in notices:
        warnings.warn(notice, stacklevel=3)


def find(name: str | Path) -> Found:
    """Locate a model, downloading it if it is not here yet."""
    text = str(name)
    path = Path(text).expanduser()
    if text in NANO:
        folder = data_folder("nano")
        tokenizer = folder / "tokenizer.json" if text in ("nano_owl", "nano_clip") else None
        return Found(text, folder / f"{NANO[text]}.safetensors", text, tokenizer)
    if path.is_dir():
        return Found(text, path, tokenizer=_tokenizer_in(path))
    if path.suffix in FILES:
        if not path.is_file():
            raise CheckpointError(f"no such file: {path}", "checkpoint_missing")
        return Found(text, path, tokenizer=_tokenizer_in(path.parent))
    entry = manifest().get(text)
    if entry is not None:
        return _from_manifest(text, entry)
    if text.count("/") == 1 and not text.startswith((".", "/", "~")):
        repository, _, revision = text.partition("@")
        folder = download.from_hub(repository, revision or None)
        return Found(text, folder, tokenizer=_tokenizer_in(folder), downloaded=True)
    near = difflib.get_close_matches(text, names(), 3)
    hint = f"; did you mean {' or '.join(near)}?" if near else "; `gsam weights list` shows the names"
    raise UsageError(f"no model {text!r}{hint}", "model_unknown")


def names() -> list[str]:
    """Every registered variant."""
    return [v for _, variants in FAMILIES.values() for v in variants]


@functools.cache
def manifest() -> Mapping[str, Mapping[str, Any]]:
    """Official name -> its entry, of every family."""
    entries: dict[str, Mapping[str, Any]] = {}
    for file in sorted(data_folder("weights").glob("*.toml")):
        entries |= tomllib.loads(file.read_text())
    return entries


def data_folder(kind: str) -> Path:
    """Recipes (``pipelines``), manifests (``weights``) or the shipped models (``nano``): of the wheel, else of the checkout."""
    packed = Path(__file__).parent / "_data" / kind
    if packed.is_dir():
        return packed
    root = Path(__file__).parents[1]
    folder = root / {"pipelines": "pipelines", "weights": "weights/manifests", "nano": "weights/nano"}[kind]
    if (root / "pyproject.toml").is_file() and folder.is_dir():
        return folder
    raise CheckpointError(f"this installation of gsam lacks its {kind} files: install it again", "installation_broken")


def cache_folder() -> Path:
    """gsam's own cache: ``GSAM_CACHE``, else ``XDG_CACHE_HOME/gsam``, else ``~/.cache/gsam``.  The hub has its own."""
    if own := os.environ.get("GSAM_CACHE"):
        return Path(own)
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "gsam"


def is_cached(name: str) -> bool:
    """Whether a manifest's model can be loaded without network."""
    entry = manifest().get(name)
    if name in NANO:
        return True
    if entry is None:
        return False
    if file := entry.get("file") or entry.get("url", "").rsplit("/", 1)[-1]:
        return (cache_folder() / "weights" / file).is_file()
    return download.in_hub_cache(entry["hub"], entry.get("revision"))


def hashes(entry: Mapping[str, Any]) -> Mapping[str, str]:
    """File -> SHA-256, of a hub model's manifest entry; one hash alone is that of ``model.safetensors``."""
    given = entry.get("sha256") or {}
    return {"model.safetensors": given} if isinstance(given, str) else given


def hub_hash(file: Path) -> str | None:
    """The SHA-256 that the hub gave of a file in its cache, where large files are called by it."""
    kept = file.resolve()
    return kept.name if kept.parent.name == "blobs" and re.fullmatch("[0-9a-f]{64}", kept.name) else None


def verify_hash(path: Path, sha256: str) -> None:
    """Raise `CheckpointError` unless the file has this SHA-256."""
    with path.open("rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    if actual != sha256:
        raise CheckpointError(
            f"{path} is not the file it should be: sha256 {actual}, expected {sha256}. Delete it and load it again.",
            "checkpoint_hash",
        )


def verify_once(path: Path, sha256: str) -> None:
    """`verify_hash`, and a note in gsam's cache that it was done, good for as long as the file stays as it is."""
    file = path.resolve()  # the hub's cache has links
    if not file.is_file():
        raise CheckpointError(f"no such file: {path}, which the manifest has a sha256 of", "checkpoint_missing")
    known = file.stat()
    seen = json.dumps([str(file), known.st_size, known.st_mtime_ns, sha256])
    note = cache_folder() / "verified" / hashlib.sha256(seen.encode()).hexdigest()[:32]
    if note.is_file():
        return
    verify_hash(file, sha256)
    with contextlib.suppress(OSError):
        note.parent.mkdir(parents=True, exist_ok=True)
        note.touch()


def save(loaded: Loaded, folder: Path, *, dtype: Any = None) -> Path:
    """Write a model as an Orbax folder that `load` understands without more information; whole or not at all.

    ``dtype``: what the numbers are stored as, by default as they are (but see `gsam.weights.rules.EXACT`).
    """
    import orbax.checkpoint as ocp

    folder = Path(folder).absolute()
    if folder.exists():
        raise UsageError(f"{folder} exists already", "output_exists")
    params = loaded.params if dtype is None else {k: v.astype(precision(k, dtype)) for k, v in loaded.params.items()}
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(partial / "params", params)
        note = {"family": loaded.family, "config": dataclasses.asdict(loaded.config), "name": loaded.name}
        (partial / ORBAX_NOTE).write_text(json.dumps(note, indent=1))
        if loaded.tokenizer is not None:
            for file in _tokenizer_files(loaded.tokenizer):
                shutil.copy(file, partial / file.name)
        for file in (f for f in partial.rglob("*") if f.is_file()):
            with file.open("rb") as opened:
                os.fsync(opened.fileno())
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def _load_orbax(found: Found, dtype: Any) -> Loaded:
    import jax
    import orbax.checkpoint as ocp

    try:
        note = json.loads((found.path / ORBAX_NOTE).read_text())
        module, _ = _modules(note["family"])
        config = _from_dict(next(type(c) for c in module.VARIANTS.values()), note["config"])
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


def _from_dict(kind: Any, values: Mapping[str, Any]) -> Any:
    """A frozen dataclass back from what `dataclasses.asdict` and JSON made of it."""
    kinds = typing.get_type_hints(kind)

    def value(name: str, given: Any) -> Any:
        if isinstance(given, dict):
            hint = kinds.get(name)
            several = [k for k in typing.get_args(hint) or (hint,) if dataclasses.is_dataclass(k)]
            fitting = [k for k in several if given.keys() == {f.name for f in dataclasses.fields(k)}] or several
            return _from_dict(fitting[0], given) if fitting else given
        return tuple(given) if isinstance(given, list) else given

    return kind(**{name: value(name, given) for name, given in values.items()})


def _from_manifest(name: str, entry: Mapping[str, Any]) -> Found:
    if page := entry.get("page"):  # a person has to fetch it
        target = cache_folder() / "weights" / entry["file"]
        if not target.is_file():
            text = f"{name} is not downloaded by gsam: get {entry['file']} ({entry['licence']}) from {page} and give its path, "
            raise CheckpointError(f"{text}or save it as {target}", "checkpoint_missing")
        return Found(name, target, name, sha256=entry.get("sha256"), downloaded=True)
    if url := entry.get("url"):
        target = cache_folder() / "weights" / url.rsplit("/", 1)[-1]
        return Found(
            name, download.from_url(url, target, entry.get("sha256")), name, sha256=entry.get("sha256"), downloaded=True
        )
    folder = download.from_hub(entry["hub"], entry.get("revision"))
    for file, sha256 in hashes(entry).items():
        verify_once(folder / file, sha256)
    return Found(name, folder, name, _tokenizer_in(folder), downloaded=True)


def _identify(found: Found, tensors: Mapping[str, Tensor], role: str | None) -> tuple[str, Any]:
    """Family and configuration: by name, by ``config.json``, else by the tensors themselves.

    Of several variants with the same tensors (MedSAM's are SAM's) it is the one that the file or the hub model is called after.
    """
    family, config = _identified(found, tensors, role)
    called = _stem(found.path) if found.path.is_file() else _by_hub().get(found.name.partition("@")[0])
    module, port = _modules(family)
    variants = module.VARIANTS
    if found.variant is None and called in variants and _shapes(family, variants[called]) == _shapes(family, config):
        config = variants[called]
    return family, port.told(config, tensors) if hasattr(port, "told") else config


def _stem(path: Path) -> str:
    """A file's name without what says how it is packed."""
    return _stem(path.with_suffix("")) if path.suffix in FILES else path.name


@functools.cache
def _by_hub() -> Mapping[str, str]:
    """Hub id -> the official name, of models that have one there."""
    return {entry["hub"]: name for name, entry in manifest().items() if "hub" in entry}


def _identified(found: Found, tensors: Mapping[str, Tensor], role: str | None) -> tuple[str, Any]:
    if found.variant is not None and (known := family_of(found.variant)):
        module, _ = _modules(known[1])
        return known[1], module.VARIANTS[found.variant]
    described = (found.path if found.path.is_dir() else found.path.parent) / "config.json"
    if found.path.is_dir() and described.is_file():
        try:
            values = json.loads(described.read_text())
            for family in FAMILIES:
                _, port = _modules(family)
                if values.get("model_type") in port.MODEL_TYPES:
                    return family, port.config_from_hf(values)
        except (ValueError, TypeError, AttributeError, ArithmeticError) as error:
            raise CheckpointError(f"{described} is no model's configuration: {error}", "checkpoint_format") from None
        kinds = [t for f in FAMILIES for t in _modules(f)[1].MODEL_TYPES]
        kind = values.get("model_type")
        raise CheckpointError(f"{described}: model_type {kind!r} is none of {', '.join(kinds)}", "checkpoint_unknown")
    likely = (
        _likely(tensors, None, role, exact=True) or _likely(tensors, None, exact=True) or _likely(tensors, None, role)
    )
    if likely is None:
        some = ", ".join(list(tensors)[:3])
        lacks = "it has no config.json, and " if found.path.is_dir() else ""
        text = f"{found.name} is no model known here; {lacks}its tensors are {some}, ..."
        raise CheckpointError(text, "checkpoint_unknown")
    _, family = family_of(likely) or ("", "")
    return family, _modules(family)[0].VARIANTS[likely]


def _likely(
    tensors: Mapping[str, Tensor], besides: str | None, role: str | None = None, *, exact: bool = False
) -> str | None:
    """The variant whose tensors these are (``exact``), or that has the most in common with them, at least half."""
    best: tuple[float, str] | None = None
    for family, (family_role, variants) in FAMILIES.items():
        if role not in (None, family_role):
            continue
        module, port = _modules(family)
        for variant in variants:
            if variant == besides:
                continue
            shapes = _shapes(family, module.VARIANTS[variant])
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
def _shapes(family: str, config: Any) -> Mapping[str, Any]:
    """Of a model's parameters; building a large one takes a while."""
    return _modules(family)[0].spec(config).shapes


def _share(tensors: Mapping[str, Tensor], shapes: Mapping[str, Any], layout: Any) -> float:
    from gsam.weights.rules import permutation, rename, useful

    hits, read = 0, useful(tensors, shapes, layout)
    for name, tensor in read.items():
        path = rename(name, shapes, layout)
        if path in shapes:
            axes = permutation(name, path, len(tensor.shape), layout) or range(len(tensor.shape))
            hits += tuple(tensor.shape[a] for a in axes) == tuple(shapes[path].shape)
    return hits / max(len(read), len(shapes))


def _modules(family: str) -> tuple[Any, Any]:
    """The package of a family, and its port."""
    package = f"gsam.{FAMILIES[family][0]}.{family}"
    return importlib.import_module(package), importlib.import_module(f"{package}.port")


def _tokenizer_in(folder: Path) -> Path | None:
    return folder if _tokenizer_files(folder) else None


def _tokenizer_files(place: Path) -> list[Path]:
    if place.is_file():
        return [place]
    if (place / "tokenizer.json").is_file():
        return [place / "tokenizer.json"]
    for files in (("vocab.json", "merges.txt"), ("vocab.txt",)):
        if all((place / f).is_file() for f in files):
            return [place / f for f in files]
    return []


def _weights(path: Path) -> list[Path]:
    return [path] if path.is_file() else [f for f in path.iterdir() if f.suffix in FILES]
