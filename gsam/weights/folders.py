"""Where gsam keeps its files: those it is shipped with, and its cache."""

from __future__ import annotations

import os
from pathlib import Path

from gsam.errors import CheckpointError


def data_folder(kind: str) -> Path:
    """Return the folder of recipes, manifests or shipped models, in the wheel or the checkout.

    ``kind`` is ``pipelines``, ``weights`` or ``nano``.
    """
    packed = Path(__file__).parents[1] / "_data" / kind
    if packed.is_dir():
        return packed
    root = Path(__file__).parents[2]
    folder = root / {"pipelines": "pipelines", "weights": "weights/manifests", "nano": "weights/nano"}[kind]
    if (root / "pyproject.toml").is_file() and folder.is_dir():
        return folder
    raise CheckpointError(f"this installation of gsam lacks its {kind} files: install it again", "installation_broken")


def cache_folder() -> Path:
    """gsam's own cache: ``GSAM_CACHE``, else ``XDG_CACHE_HOME/gsam``, else ``~/.cache/gsam``.

    The hub has its own.
    """
    if own := os.environ.get("GSAM_CACHE"):
        return Path(own)
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "gsam"


def weights_folder() -> Path:
    """Folder of downloaded weights: ``GSAM_WEIGHTS``, else ``weights`` in gsam's own cache.

    A file put there by hand under its official name is found, and so is a folder of a model's name
    with its ``config.json``, safetensors and tokenizer.
    """
    own = os.environ.get("GSAM_WEIGHTS")
    return Path(own).expanduser() if own else cache_folder() / "weights"
