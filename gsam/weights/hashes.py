"""SHA-256 of weights: what is expected of a file, and whether it is that file."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gsam import files
from gsam.errors import CheckpointError
from gsam.weights.folders import cache_folder


def hashes(entry: Mapping[str, Any]) -> Mapping[str, str]:
    """Map files to SHA-256, from a hub model's manifest entry.

    One hash alone is that of ``model.safetensors``.
    """
    given = entry.get("sha256") or {}
    return {"model.safetensors": given} if isinstance(given, str) else given


def hub_hash(file: Path) -> str | None:
    """The SHA-256 that the hub gave of a file in its cache, where large files are called by it."""
    kept = file.resolve()
    return kept.name if kept.parent.name == "blobs" and re.fullmatch("[0-9a-f]{64}", kept.name) else None


def verify_hash(path: Path, sha256: str) -> None:
    """Raise `CheckpointError` unless the file has this SHA-256."""
    actual = files.sha256(path)
    if actual != sha256:
        raise CheckpointError(
            f"{path} is not the file it should be: sha256 {actual}, expected {sha256}. Delete it and load it again.",
            "checkpoint_hash",
        )


def verify_once(path: Path, sha256: str) -> None:
    """Run `verify_hash` once per file, and again only after the file changes.

    A note in gsam's cache says that it was done.
    """
    file = path.resolve()  # the hub's cache has links
    if not file.is_file():
        raise CheckpointError(f"no such file: {path}, which the manifest has a sha256 of", "checkpoint_missing")
    if _note(file, sha256).is_file():
        return
    verify_hash(file, sha256)
    remember(file, sha256)


def remember(path: Path, sha256: str) -> None:
    """Note that a file, as it is now, has this SHA-256."""
    with contextlib.suppress(OSError):
        note = _note(path.resolve(), sha256)
        note.parent.mkdir(parents=True, exist_ok=True)
        note.touch()


def _note(file: Path, sha256: str) -> Path:
    known = file.stat()
    seen = json.dumps([str(file), known.st_size, known.st_mtime_ns, sha256])
    return cache_folder() / "verified" / hashlib.sha256(seen.encode()).hexdigest()[:32]
