"""The folder of an exported pipeline: what is written in it, and whether it may be trusted."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gsam.errors import CheckpointError, UsageError
from gsam.files import sha256
from gsam.text import packed
from gsam.types import Boxes, Images, Labels, Masks, Text, Thresholds

NOTE = "pipeline.json"
WEIGHTS = "weights.safetensors"
KIND = "gsam exported pipeline"
VERSION = 2
"""Version of the format.  Another one is refused; a field more is not another one.

2: thresholds are an argument of their own, boxes have no score, and steps have ``text`` and
``upsample``.
"""
PLATFORMS = ("cpu", "cuda", "tpu")
"""Platforms that programs are written for by default."""


def is_exported(folder: Path) -> bool:
    """Return True if this may be an exported pipeline."""
    return (folder / NOTE).is_file()


def read_note(folder: Path) -> dict[str, Any]:
    """``pipeline.json``, once it and every file it names are what they should be.

    Raises `UsageError` where there is none (``not_exported``) or it is of another format
    (``export_version``), and `CheckpointError` where a file is damaged (``export_damaged``).
    """
    path = folder / NOTE
    if not path.is_file():
        raise UsageError(f"{folder} is no exported pipeline: it has no {NOTE}", "not_exported")
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
        version, kind = int(note["version"]), note["kind"]
    except (ValueError, LookupError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged: {error!r}. Export it again.", "export_damaged") from None
    if kind != KIND:
        raise UsageError(f"{path} is not of an exported pipeline, it says {kind!r}", "not_exported")
    if version > VERSION:
        text = f"{folder} was exported by gsam {note.get('gsam')} in format {version}; this gsam reads up to {VERSION}"
        raise UsageError(f"{text}: install a newer one", "export_version")
    if version < VERSION:
        text = f"{folder} was exported by gsam {note.get('gsam')} in format {version}; this gsam reads {VERSION}"
        raise UsageError(f"{text}: export the pipeline again", "export_version")
    for name, known in note["files"].items():
        _check(folder, name, known)
    return note


def _check(folder: Path, name: str, known: dict[str, Any]) -> None:
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise CheckpointError(f"{folder / NOTE} names a file outside of its folder: {name!r}", "export_damaged")
    if not path.is_file():
        raise CheckpointError(f"{path} is missing. Export the pipeline again.", "export_damaged")
    if path.stat().st_size != known["bytes"] or sha256(path) != known["sha256"]:
        raise CheckpointError(f"{path} is damaged: not what {NOTE} says. Export it again.", "export_damaged")


def listed(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every file of a folder but the note, with its size and hash."""
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name != NOTE):
        yield path.relative_to(folder).as_posix(), {"bytes": path.stat().st_size, "sha256": sha256(path)}


def serialisation() -> Any:
    """`jax.export`, which can write what text becomes."""
    import jax.export

    _register_text()
    return jax.export


@functools.cache
def _register_text() -> None:
    """Teach `jax.export`, once in a process, the arrays that text becomes."""
    import jax.export

    for kind in packed.KINDS:
        jax.export.register_namedtuple_serialization(kind, serialized_name=f"gsam.text.{kind.__name__}")


def plain(value: Images | Text | Thresholds | Boxes | Labels | Masks) -> dict[str, Any]:
    """Turn a value of `gsam.types` into the plain dictionary that programs take and return."""
    return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
