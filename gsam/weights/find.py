"""Locate a model by any of its names: a manifest entry, a hub id, a folder or a file."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gsam.errors import CheckpointError, UsageError
from gsam.registry import variants
from gsam.weights import download, official
from gsam.weights.folders import data_folder

FILES = (".safetensors", ".pth", ".pt", ".bin", ".zip", ".ckpt", ".tar")
"""Suffixes of files of weights, in any case; a file that is there may have any other, or none."""


NANO = {"nano_owl": "detector", "nano_sam": "segmenter", "nano_clip": "classifier", "nano_sam2": "tracker"}


@dataclasses.dataclass(frozen=True)
class CheckpointSource:
    """A model that has been located, not read."""

    name: str
    path: Path
    """A file, or a folder."""
    variant: str | None = None
    """The registered name, where the source says which it is."""
    tokenizer: Path | None = None
    sha256: str | None = None
    """Hash that the manifest expects of the file.

    The files of a hub model are checked when they are found.
    """
    downloaded: bool = False
    """True for a file in a cache, whose conversion is kept in another."""


def find(name: str | Path) -> CheckpointSource:
    """Locate a model, downloading it if it is not here yet."""
    text = str(name)
    path = Path(text).expanduser()
    if text in NANO:
        folder = data_folder("nano")
        tokenizer = folder / "tokenizer.json" if text in ("nano_owl", "nano_clip") else None
        return CheckpointSource(text, folder / f"{NANO[text]}.safetensors", text, tokenizer)
    _refuse_dangling(path)
    if path.is_dir():
        path = model_folder(path)
        return CheckpointSource(text, path, tokenizer=tokenizer_in(path))
    if path.suffix.lower() in FILES:
        if not path.is_file():
            raise CheckpointError(f"no such file: {path}", "checkpoint_missing")
        return CheckpointSource(text, path, tokenizer=tokenizer_in(path.parent))
    entry = manifest().get(text)
    if entry is not None:
        return _from_manifest(text, entry)
    if path.is_file():
        return CheckpointSource(text, path, tokenizer=tokenizer_in(path.parent))
    if text.count("/") == 1 and not text.startswith((".", "/", "~")):
        repository, _, revision = text.partition("@")
        folder = model_folder(download.from_hub(repository, revision or None))
        return CheckpointSource(text, folder, tokenizer=tokenizer_in(folder), downloaded=True)
    near = difflib.get_close_matches(text, names(), 3)
    hint = f"; did you mean {' or '.join(near)}?" if near else "; `gsam weights list` shows the names"
    raise UsageError(f"no model {text!r}{hint}", "model_unknown")


def names() -> list[str]:
    """Every registered variant."""
    return variants()


@functools.cache
def manifest() -> Mapping[str, Mapping[str, Any]]:
    """Official name -> its entry, of every family."""
    entries: dict[str, Mapping[str, Any]] = {}
    for file in sorted(data_folder("weights").glob("*.toml")):
        entries |= tomllib.loads(file.read_text())
    return entries


def is_cached(name: str) -> bool:
    """Return True if a manifest's model can be loaded without network."""
    entry = manifest().get(name)
    if name in NANO:
        return True
    if entry is None:
        return False
    return official.is_here(name, entry)


def _from_manifest(name: str, entry: Mapping[str, Any]) -> CheckpointSource:
    path, sha256 = official.locate(name, entry)
    tokenizer = tokenizer_in(path) if path.is_dir() else None
    return CheckpointSource(name, path, name, tokenizer, sha256, downloaded=True)


def tokenizer_in(folder: Path) -> Path | None:
    return folder if tokenizer_files(folder) else None


def tokenizer_files(place: Path) -> list[Path]:
    if place.is_file():
        return [place]
    if (place / "tokenizer.json").is_file():
        return [place / "tokenizer.json"]
    for files in (("vocab.json", "merges.txt"), ("vocab.txt",), ("bpe_simple_vocab_16e6.txt.gz",)):
        if all((place / f).is_file() for f in files):
            return [place / f for f in files]
    return []


def weight_files(path: Path) -> list[Path]:
    """List the files of weights that a file or folder is.

    Raises:
        CheckpointError: One is a link to nothing, as in a hub's cache that was copied in part.
    """
    found = [path] if path.is_file() else [f for f in path.iterdir() if f.suffix.lower() in FILES]
    for file in found:
        _refuse_dangling(file)
    return found


def model_folder(folder: Path) -> Path:
    """Return the folder of weights that a folder means: itself, or what a hub's cache has in it.

    Raises:
        CheckpointError: It has no weights, and folders in it do: they are named.
    """
    for name in ("config.json", "tokenizer.json", "vocab.json", "merges.txt", "vocab.txt"):
        _refuse_dangling(folder / name)
    if weight_files(folder):
        return folder
    if (made := of_run(folder)) != folder:
        return made
    if (folder / "run.json").is_file() and (folder / "checkpoints").is_dir():
        text = f"the training run in {folder} has no model yet: go on with the command that began it"
        raise CheckpointError(text, "checkpoint_missing")
    if (folder / "snapshots").is_dir():
        return _snapshot(folder)
    inside = sorted(f for f in folder.iterdir() if f.is_dir() and (weight_files(f) or (f / "gsam.json").is_file()))
    if inside and not (folder / "gsam.json").is_file():
        some = ", ".join(str(f) for f in inside[:3]) + (", ..." if len(inside) > 3 else "")
        text = f"{folder} has no weights itself: name the folder in it that you mean, {some}"
        raise CheckpointError(text, "checkpoint_missing")
    return folder


def of_run(folder: Path) -> Path:
    """Return the folder of the model that a run of ``gsam train`` made, else ``folder`` itself."""
    inside = folder / "model"
    return inside if (inside / "gsam.json").is_file() and not (folder / "gsam.json").is_file() else folder


def _snapshot(folder: Path) -> Path:
    """Return the snapshot that a model's folder in the hub's cache has as its main one."""
    found = sorted(f for f in (folder / "snapshots").iterdir() if f.is_dir())
    main = folder / "refs" / "main"
    revision = main.read_text().strip() if main.is_file() else ""
    chosen = [f for f in found if f.name == revision] or found
    if len(chosen) != 1:
        some = ", ".join(str(f) for f in found[:3]) or "none is there"
        text = f"{folder} is a model in the hub's cache: name one of its snapshots ({some}), or its hub id"
        raise CheckpointError(text, "checkpoint_missing")
    return model_folder(chosen[0])


def _refuse_dangling(path: Path) -> None:
    if path.is_symlink() and not path.exists():
        raise CheckpointError(
            f"{path} is a link to nothing: a cache that was cleaned, or copied without its blobs. Load the model again, "
            "or copy it with links followed (cp -rL)",
            "checkpoint_missing",
        )
