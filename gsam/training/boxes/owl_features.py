"""Input of OWL's heads: tokens of images, kept on disk, and embeddings of names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from gsam.inputs.image import content, make_view
from gsam.models.owl_vit import OwlDetector
from gsam.training.data.entries import Entry
from gsam.training.kept_features import KeptFeatures, content_names, fill
from gsam.types import Images, Params

WORDINGS = ("{}", "a photo of a {}")
"""Sentences around a name, of which each step draws one; the first is evaluated."""
ROWS = 16
"""Texts that are encoded together."""


def token_store(stage: OwlDetector, folder: Path, model: str) -> KeptFeatures:
    """Open the store of a model's tokens.

    Args:
        stage: The detector.
        folder: Where features lie.
        model: Hash of the model's weights.
    """
    return KeptFeatures(folder, {"model": model, "view": stage.view.key, "kind": "detector"})


def keep_tokens(
    stage: OwlDetector,
    params: Params,
    store: KeptFeatures,
    entries: Sequence[Entry],
    batch: int,
    *,
    quiet: bool,
    what: str,
) -> list[str]:
    """Encode images that are not in a store yet, as they are and mirrored.

    Args:
        stage: The detector.
        params: Its parameters, in the type that is computed in.
        store: Where tokens are kept, [2, T, D] for each image.
        entries: The images.
        batch: Images that are encoded together.
        quiet: Show no progress.
        what: What the progress is called.

    Returns:
        Name of each image in the store.
    """
    view, encode = stage.view, jax.jit(stage.features)

    def load(entry: Entry) -> tuple[list[NDArray[Any]], tuple[int, int]]:
        pixels = entry.open()
        sides = pixels, np.ascontiguousarray(pixels[:, ::-1])
        return [make_view(side, view) for side in sides], (pixels.shape[0], pixels.shape[1])

    def compute(loaded: Sequence[tuple[list[NDArray[Any]], tuple[int, int]]]) -> list[dict[str, NDArray[Any]]]:
        sizes = [size for _, size in loaded]
        parts: Any = np.array([content(view, size) for size in sizes], np.int32)
        whole: Any = np.array(sizes, np.int32)
        made = []
        for side in (0, 1):
            pixels: Any = np.stack([views[side] for views, _ in loaded])
            made.append(np.asarray(encode(params, Images({view.key: pixels}, {view.key: parts}, whole))))
        return [{"tokens": np.stack([side[i] for side in made])} for i in range(len(loaded))]

    names = content_names(entry.path for entry in entries)
    fill(store, entries, names, load, compute, batch, quiet=quiet, what=what)
    return names


def embeddings(stage: OwlDetector, params: Params, names: Sequence[str]) -> NDArray[np.float32]:
    """Embed names in every wording.

    Args:
        stage: The detector, with a tokenizer.
        params: Its parameters.
        names: C names.

    Returns:
        [W, C, D] float32.
    """
    embed = jax.jit(stage.embed)
    found: list[NDArray[np.float32]] = []
    for wording in WORDINGS:
        tokens = stage.text.tokenize([wording.replace("{}", name) for name in names])
        rows = [tokens[start : start + ROWS] for start in range(0, len(tokens), ROWS)]
        filled = [np.concatenate([some, np.repeat(some[-1:], ROWS - len(some), 0)]) for some in rows]
        made = [np.asarray(embed(params, some), np.float32) for some in filled]
        found.append(np.concatenate(made)[: len(tokens)])
    return np.stack(found)
