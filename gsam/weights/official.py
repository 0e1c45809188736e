"""Official models: where each is, whether it is here, and what it takes to get it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gsam.errors import CheckpointError
from gsam.weights import download
from gsam.weights.folders import weights_folder
from gsam.weights.hashes import hashes, verify_once

HUB = "https://huggingface.co"
UNREACHABLE = frozenset({"hub_offline", "hub_error", "hub_not_found", "download_failed"})
"""Codes of errors after which another source is tried."""


def file_of(entry: Mapping[str, Any]) -> str | None:
    """Name the one file of a model; None for one that is a folder of the hub."""
    return entry.get("file") or entry.get("url", "").rsplit("/", 1)[-1] or None


def place_of(name: str, entry: Mapping[str, Any]) -> Path:
    """Name the file or folder where a model is looked for before anything is fetched."""
    return weights_folder() / (file_of(entry) or name)


def size_of(entry: Mapping[str, Any]) -> float:
    """Estimate the gigabytes of a model's files, which are float32."""
    return 4e-9 * float(entry["parameters"])


def is_here(name: str, entry: Mapping[str, Any]) -> bool:
    """Tell whether a model can be loaded without network."""
    if place_of(name, entry).exists() or (weights_folder() / name / "config.json").is_file():
        return True
    if "hub" in entry:
        return download.in_hub_cache(entry["hub"], entry.get("revision"))
    return "hub_twin" in entry and bool(offline() or mirrored()) and download.in_hub_cache(entry["hub_twin"])


def locate(name: str, entry: Mapping[str, Any]) -> tuple[Path, str | None]:
    """Find a model, fetching it if it is not here.

    What lies in `weights_folder` under the official file name, or in a folder of the model's name,
    comes first.  The hub's offline mode and its mirrors count for all: a model that its authors
    keep elsewhere comes from its twin on the hub where they are set, or where its own address
    cannot be reached.

    Args:
        name: The official name.
        entry: Its entry in the manifest.

    Returns:
        The file or folder, and the SHA-256 that the manifest has of the file.

    Raises:
        CheckpointError: It is not here and cannot be fetched, or it is not what it should be.
    """
    here = weights_folder() / name
    if (here / "config.json").is_file():
        return here, None
    target, sha256 = place_of(name, entry), entry.get("sha256")
    if "page" in entry:  # a person has to fetch it
        if not target.is_file():
            text = f"{name} is not downloaded by gsam: get {entry['file']} ({entry['licence']}) from {entry['page']}"
            raise CheckpointError(f"{text} and give its path, or save it as {target}", "checkpoint_missing")
        return target, sha256
    if "url" not in entry:
        folder = download.from_hub(entry["hub"], entry.get("revision"))
        for file, known in hashes(entry).items():
            verify_once(folder / file, known)
        return folder, None
    if target.is_file():
        return target, sha256
    twin = entry.get("hub_twin")
    if offline() or (twin and mirrored()):
        try:
            return _twin(name, twin, target), None
        except CheckpointError as error:
            if offline() or error.code not in UNREACHABLE:
                raise
    try:
        return download.from_url(entry["url"].replace(HUB, mirrored() or HUB), target, sha256), sha256
    except CheckpointError as error:
        if twin and error.code in UNREACHABLE and not mirrored():
            try:
                return download.from_hub(twin), None
            except CheckpointError:
                pass
        raise


def offline() -> bool:
    """Tell whether the hub is in offline mode (``HF_HUB_OFFLINE``)."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def mirrored() -> str | None:
    """Give the address of the hub's mirror (``HF_ENDPOINT``), if there is one."""
    endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/")
    return endpoint if endpoint and endpoint != HUB else None


def _twin(name: str, twin: str | None, target: Path) -> Path:
    if twin is None:
        text = f"{name} is not here, and HF_HUB_OFFLINE is set: get {target.name} elsewhere and save it as {target}"
        raise CheckpointError(text, "hub_offline")
    return download.from_hub(twin)
