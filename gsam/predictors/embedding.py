"""An image as its model encodes it, and the safetensors file that keeps it."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from gsam.errors import CheckpointError, UsageError
from gsam.inputs.decode import MAX_PIXELS
from gsam.inputs.image import content
from gsam.models.promptable import PromptableSegmenter
from gsam.roles import Tracker
from gsam.types import PyTree, View
from gsam.weights import ported
from gsam.weights.read import read

KIND, VERSION = "gsam.embedding", "1"
SAMPLE = 1024
"""Numbers of each tensor that tell a model from another."""


@dataclasses.dataclass(frozen=True, eq=False)
class Embedding:
    """The part of the model's work that every prompt on an image shares."""

    features: PyTree
    """The model's, any pytree of arrays [1, ...]."""
    size: tuple[int, int]
    """Height and width of the picture."""
    content: tuple[int, int]
    """Rows and columns of the view that are picture."""
    pixels: NDArray[np.uint8] | None = None
    """[H, W, 3]; None where only the features are known."""
    projected: PyTree = None
    """Shared by prompts without a mask beside the features, [1, ...]; None where not known."""


@dataclasses.dataclass(frozen=True)
class ModelFingerprint:
    """The model that embeddings belong to."""

    name: str
    digest: str
    """Hash of its configuration and its weights, whatever their precision: see `fingerprint`."""
    view: View
    like: PyTree
    """The pytree of its features, as shapes and dtypes."""


def fingerprint(model: PromptableSegmenter | Tracker) -> str:
    """32 hex digits of a model's family, configuration, view and weights.

    Of every tensor some numbers are looked at, rounded to bfloat16, so that a model in half
    precision is the same one.
    """
    family = type(model).__module__.replace("gsam.models.", "gsam.segment.")  # where they were in 0.6
    described = [family, repr(getattr(model, "config", None)), model.view.key]
    digest = hashlib.blake2b("\n".join(described).encode(), digest_size=16)
    for name, value in sorted(model.params.items()):
        flat = np.asarray(value).reshape(-1)
        some = flat[:: max(flat.size // SAMPLE, 1)].astype(ml_dtypes.bfloat16)
        digest.update(f"{name} {value.shape}".encode() + some.tobytes())
    return digest.hexdigest()


def save(embedding: Embedding, path: Path, model: ModelFingerprint) -> None:
    """Write a ``.safetensors`` file, whole or not at all.

    Raises `UsageError` for another suffix, and `OSError`.
    """
    arrays = {name: np.asarray(value) for name, value in _named(embedding.features).items()}
    note = {"kind": KIND, "version": VERSION, "model": model.name, "fingerprint": model.digest}
    note |= {"view": model.view.key, "height": str(embedding.size[0]), "width": str(embedding.size[1])}
    note["dtype"] = ", ".join(sorted({str(a.dtype) for a in arrays.values()}))
    ported.write(arrays, _checked(path), note)


def load(path: Path, model: ModelFingerprint) -> Embedding:
    """Read what `save` wrote, in the precision of ``model``.

    Raises `UsageError`: ``embedding_missing``, ``embedding_unreadable`` (damaged, or another kind
    of file) and ``embedding_other_model``.
    """
    try:
        tensors, note = read(_checked(path)), _note(path)
    except CheckpointError as error:
        code = "embedding_missing" if error.code == "checkpoint_missing" else "embedding_unreadable"
        raise UsageError(str(error), code) from None
    if note.get("kind") != KIND or note.get("version") != VERSION:
        what = f"version {note['version']}" if note.get("kind") == KIND else "no embedding that gsam wrote"
        raise UsageError(f"{path.name} is {what}: encode the picture again", "embedding_unreadable")
    if note.get("fingerprint") != model.digest:
        whose = note.get("model", "another model")
        other = f"{whose!r}, not of {model.name!r}" if whose != model.name else f"another {whose!r}, of other weights"
        raise UsageError(f"{path.name} is an embedding of {other}: encode the picture again", "embedding_other_model")
    wanted = _named(model.like)
    if {name: t.shape for name, t in tensors.items()} != {name: w.shape for name, w in wanted.items()}:
        raise UsageError(f"{path.name} does not hold what {model.name!r} computes", "embedding_unreadable")
    arrays = {name: tensors[name].load() for name in wanted}
    if broken := [n for n, a in arrays.items() if not np.isfinite(a.astype(np.float32)).all()]:
        raise UsageError(f"{path.name}: {broken[0]} holds numbers that are not finite", "embedding_unreadable")
    leaves = [jnp.asarray(arrays[name].astype(wanted[name].dtype)) for name in wanted]
    features = jax.tree.unflatten(jax.tree.structure(model.like), leaves)
    sides = [note.get(side, "") for side in ("height", "width")]
    height, width = (int(side) if side.isdecimal() else 0 for side in sides)
    if not 0 < height * width <= MAX_PIXELS:
        raise UsageError(f"{path.name} is of a picture of {sides[1]} x {sides[0]} pixels", "embedding_unreadable")
    return Embedding(features, (height, width), content(model.view, (height, width)))


def _named(features: PyTree) -> dict[str, PyTree]:
    """The arrays of a pytree by their paths, ``features`` where it is one array."""
    return {f"features{jax.tree_util.keystr(at)}": x for at, x in jax.tree_util.tree_flatten_with_path(features)[0]}


def _checked(path: Path) -> Path:
    if path.suffix != ".safetensors":
        raise UsageError(f"an embedding is a .safetensors file, not {path.name!r}", "embedding_name")
    return path


def _note(path: Path) -> Mapping[str, str]:
    from safetensors import safe_open

    with safe_open(path, framework="np") as file:
        return file.metadata() or {}
