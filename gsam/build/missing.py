"""Models that a pipeline needs and that are not here: how large they are, and what to do."""

from __future__ import annotations

from collections.abc import Sequence

from gsam.errors import CheckpointError
from gsam.weights import find, official
from gsam.weights.folders import weights_folder

CODES = official.UNREACHABLE | {"checkpoint_missing", "hub_gated", "hub_revision"}
"""Codes of errors that are about fetching a model."""


def missing(models: Sequence[str]) -> list[str]:
    """Describe those of some models that would have to be fetched.

    Args:
        models: Names of models.

    Returns:
        ``"sam_vit_b (0.37 GB, sam_vit_b_01ec64.pth)"`` for each official one that is not here.
    """
    found = []
    for name in dict.fromkeys(models):
        entry = find.manifest().get(name)
        if entry is not None and not official.is_here(name, entry):
            source = official.file_of(entry) or entry["hub"]
            found.append(f"{name} ({official.size_of(entry):.2g} GB, {source})")
    return found


def explained(error: CheckpointError, pipeline: str, models: Sequence[str]) -> CheckpointError:
    """Say of an error what else is missing, and what to do.

    Args:
        error: A model of a pipeline cannot be loaded.
        pipeline: What the user calls the pipeline.
        models: All its models.

    Returns:
        The error to raise: itself where it is not about fetching a model.
    """
    if error.code not in CODES or not (absent := missing(models)):
        return error
    text = f"{pipeline} needs {' and '.join(absent)}: not here, and not fetched ({_first(error)})."
    where = f"Load it once with network, or put the files, or a folder of each model's name, into {weights_folder()}"
    nano = "Without a download there is -p nano, gsam.load('nano'): it knows drawings of everyday things"
    return CheckpointError(f"{text} {where}. {nano}", error.code)


def _first(error: CheckpointError) -> str:
    """The first sentence of a message."""
    return str(error).split(". ", 1)[0]
