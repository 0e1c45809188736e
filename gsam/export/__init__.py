"""A pipeline as files that run without the models' code: StableHLO programs, weights, tokenizers.

An exported pipeline is a folder: ``pipeline.json`` (see `gsam.export.artefact`), ``programs/*.bin``
(each a serialised `jax.export.Exported`), ``weights.safetensors`` (names ``slot/parameter``) and
``tokenizers/*.json``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gsam.export.load import load_exported as load_exported
    from gsam.export.write import export as export

_HOME = {"export": "gsam.export.write", "load_exported": "gsam.export.load"}
__all__ = ["export", "load_exported"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'gsam.export' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
