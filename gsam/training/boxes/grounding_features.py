"""Input of Grounding DINO's decoder: images and one caption, fused, and kept on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from gsam.errors import UsageError
from gsam.inputs.image import canvas, content, make_view
from gsam.models.grounding_dino import GroundingDinoDetector
from gsam.models.grounding_dino.enhancer import Phrases
from gsam.models.grounding_dino.model import map_sizes
from gsam.text.packed import Captions
from gsam.training.data.entries import Entry
from gsam.training.kept_features import KeptFeatures, content_names, fill
from gsam.types import Images, Params

Loaded = tuple[list[NDArray[np.uint8]], tuple[int, int]]
"""An image and its mirror image, and the size of its view."""


def caption_of(stage: GroundingDinoDetector, params: Params, names: Sequence[str]) -> Captions[NDArray[Any]]:
    """Encode all names as the one caption that training reads.

    Args:
        stage: The detector, with a tokenizer.
        params: Its parameters.
        names: The classes.

    Returns:
        Arrays [T, ...]; the features are float32.

    Raises:
        UsageError: The caption is longer than the model reads (``names_too_many``).
    """
    embed = jax.jit(stage.embed)
    packed = stage.text.pack_text(names, lambda texts: jax.device_get(embed(params, stage.text.tokenize(texts))))
    if len(packed.ids) > 1:
        text = f"{len(names)} classes are more than one caption of {stage.config.tokens} tokens, with which Grounding"
        raise UsageError(
            f"{text} DINO is trained: train on fewer, or tune OWL-ViT or OWLv2, which take any number", "names_too_many"
        )
    first: Captions[NDArray[Any]] = jax.tree.map(lambda leaf: leaf[0], packed)
    return first._replace(features=first.features.astype(np.float32))


def fused_store(
    stage: GroundingDinoDetector, folder: Path, model: str, caption: Captions[NDArray[Any]]
) -> KeptFeatures:
    """Open the store of what a model makes of images beside a caption.

    Args:
        stage: The detector.
        folder: Where features lie.
        model: Hash of the model's weights.
        caption: The caption, of which the tokens count.
    """
    made_by = {"model": model, "view": stage.view.key, "kind": "fused", "caption": caption.ids.tolist()}
    return KeptFeatures(folder, made_by)


def keep_fused(
    stage: GroundingDinoDetector,
    params: Params,
    store: KeptFeatures,
    entries: Sequence[Entry],
    caption: Captions[NDArray[Any]],
    batch: int,
    *,
    quiet: bool,
    what: str,
) -> list[str]:
    """Encode images that are not in a store yet, as they are and mirrored.

    Args:
        stage: The detector.
        params: Its parameters, in the type that is computed in.
        store: Where is kept, for each image, ``tokens`` [2, S, D] of the part of each map that is
            image, and ``words`` [2, T, D].
        entries: The images.
        caption: What they are fused with.
        batch: Images that are encoded together.
        quiet: Show no progress.
        what: What the progress is called.

    Returns:
        Name of each image in the store.
    """
    view, config = stage.view, stage.config

    def encode(params: Params, images: Images, caption: Captions[jax.Array]) -> tuple[jax.Array, jax.Array]:
        picture = stage.features(params, images)
        picture, text = stage.spec.bind(params).fuse(picture, phrases(caption, len(images.size), picture.tokens.dtype))
        return picture.tokens, text.tokens

    run = jax.jit(encode)

    def load(entry: Entry) -> Loaded:
        pixels = entry.open()
        shape = content(view, (pixels.shape[0], pixels.shape[1]))
        small = np.asarray(make_view(pixels, view, shape), np.uint8)
        mirrored = np.asarray(make_view(np.ascontiguousarray(pixels[:, ::-1]), view, shape), np.uint8)
        return [small, mirrored], shape

    def compute(loaded: Sequence[Loaded]) -> list[dict[str, NDArray[Any]]]:
        made = []
        for side in (0, 1):
            pixels = padded([views[side] for views, _ in loaded], canvas(view, [size for _, size in loaded]))
            shown: Any = np.array([size for _, size in loaded], np.int32)
            made.append(jax.device_get(run(params, Images({view.key: pixels}, {view.key: shown}, shown), caption)))
            shapes = map_sizes(np.array(pixels.shape[1:3]), config)
        out = []
        for i, (_, size) in enumerate(loaded):
            sizes = map_sizes(np.array(size), config)
            tokens = [image_part(np.asarray(side[0][i]), shapes, sizes) for side in made]
            out.append({"tokens": np.stack(tokens), "words": np.stack([np.asarray(side[1][i]) for side in made])})
        return out

    names = content_names(entry.path for entry in entries)
    fill(store, entries, names, load, compute, batch, quiet=quiet, what=what)
    return names


def phrases(caption: Captions[jax.Array], count: int, dtype: Any) -> Phrases:
    """Give a caption [T, ...] to ``count`` images, its features as ``dtype``."""
    block, position, features = (
        jax.numpy.broadcast_to(leaf, (count, *leaf.shape))
        for leaf in (caption.block, caption.position, caption.features)
    )
    return Phrases(features.astype(dtype), block, position)


def padded(pixels: Sequence[NDArray[np.uint8]], shape: tuple[int, int]) -> Any:
    """Stack views [h, w, 3] in the upper left corner of canvases [B, *shape, 3]."""
    out = np.zeros((len(pixels), *shape, 3), np.uint8)
    for row, one in zip(out, pixels, strict=True):
        row[: one.shape[0], : one.shape[1]] = one
    return out


def image_part(tokens: NDArray[Any], shapes: Sequence[NDArray[Any]], sizes: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Cut out the part of each map that is image.

    Args:
        tokens: [S, D], the maps one after the other, row by row.
        shapes: Rows and columns of each map.
        sizes: Rows and columns of each that are image.

    Returns:
        [S', D] of the smaller maps.
    """
    out, at = [], 0
    for (h, w), (rows, columns) in zip(shapes, sizes, strict=True):
        one = tokens[at : at + h * w].reshape(h, w, -1)
        out.append(one[:rows, :columns].reshape(rows * columns, -1))
        at += h * w
    return np.concatenate(out)


def on_maps(tokens: NDArray[Any], sizes: Sequence[NDArray[Any]], shapes: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Lay `image_part` back on larger maps, zeros around it.

    Args:
        tokens: [S', D].
        sizes: Rows and columns of each map that are image.
        shapes: Rows and columns of each map.

    Returns:
        [S, D].
    """
    out, at = [], 0
    for (rows, columns), (h, w) in zip(sizes, shapes, strict=True):
        one = np.zeros((h, w, tokens.shape[1]), tokens.dtype)
        one[:rows, :columns] = tokens[at : at + rows * columns].reshape(rows, columns, -1)
        out.append(one.reshape(h * w, -1))
        at += rows * columns
    return np.concatenate(out)
