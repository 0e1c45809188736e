"""Which weights a name stands for, without loading or fetching them."""

from __future__ import annotations

import contextlib
import hashlib
import json
from pathlib import Path

from gsam import files
from gsam.weights import download, find
from gsam.weights.folders import cache_folder
from gsam.weights.hashes import hub_hash
from gsam.weights.tuned import NOTE, note_of

DESCRIPTIONS = (".json", ".txt", ".model")
"""Suffixes of files beside the weights that change what a model computes."""


def identity(name: str | Path) -> dict[str, str]:
    """Give the hashes of a model's files.

    Args:
        name: Any name of a model, see `gsam.weights.find.find`.

    Returns:
        File -> SHA-256; of an official model its manifest's hashes, and its revision on the hub.
        Empty where nothing is known without fetching it.

    Raises:
        OSError: A file cannot be read.
    """
    entry = find.manifest().get(str(name))
    if entry is not None and not Path(str(name)).expanduser().is_dir():
        told = entry.get("sha256")
        known = {"sha256": told} if isinstance(told, str) else dict(told or {})
        return known | ({"revision": str(entry["revision"])} if "revision" in entry else {})
    place = _place(str(name))
    if place is None:
        return {}
    if place.is_file():
        return {place.name: hash_once(place)}
    wanted = (*find.FILES, *DESCRIPTIONS)
    orbax = (place / NOTE).is_file() and note_of(place) is None
    found = sorted(p for p in place.rglob("*") if p.is_file() and (p.suffix in wanted or (orbax and _of_orbax(p))))
    return {p.relative_to(place).as_posix(): hash_once(p) for p in found}


def weights_hash(name: str | Path) -> str:
    """Give one hash of a model's weights, by which what was trained from them finds them again.

    Args:
        name: Any name of a model, see `gsam.weights.find.find`; it is fetched if it is not here.

    Returns:
        The SHA-256 of its file, wherever that lies and whatever describes it.  Of several files,
        and of adapters with their base, the SHA-256 of their hashes.

    Raises:
        CheckpointError: The model cannot be found.
        OSError: A file cannot be read.
    """
    place = find.find(name).path
    found = find.weight_files(place) or [p for p in place.rglob("*") if p.is_file() and p.parent != place]
    hashes = [hash_once(p) for p in sorted(found)]
    note = note_of(place)
    if note is not None and note.scale is not None:
        hashes.append(note.base_sha256)
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


def hash_once(path: Path) -> str:
    """Hash a file, and again only after it changed.

    Args:
        path: The file.

    Returns:
        The SHA-256; for a file of the hub's cache the one that it is called by.
    """
    if told := hub_hash(path):
        return told
    file = path.resolve()
    known = file.stat()
    seen = json.dumps([str(file), known.st_size, known.st_mtime_ns, known.st_ctime_ns])
    try:
        note = cache_folder() / "hashes" / hashlib.sha256(seen.encode()).hexdigest()[:32]
        if note.is_file() and len(text := note.read_text(encoding="ascii")) == 64:
            return text
    except (OSError, ValueError, RuntimeError):  # no cache, no home
        return files.sha256(file)
    digest = files.sha256(file)
    if known.st_size > 1 << 20:
        with contextlib.suppress(OSError), files.atomic_file(note) as out:
            out.write(digest.encode())
    return digest


def _place(name: str) -> Path | None:
    path = Path(name).expanduser()
    if name in find.NANO:
        return find.find(name).path
    if path.is_dir() or path.is_file():
        return find.of_run(path)
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        repository, _, revision = name.partition("@")
        return download.cached_folder(repository, revision or None)
    return None


def _of_orbax(path: Path) -> bool:
    """An Orbax folder has files without suffixes, in folders of its own."""
    return not path.name.startswith(".")
