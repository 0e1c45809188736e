"""Input of CLIP's and SigLIP's heads: kept features of crops, and text before its head."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from gsam.models.region_classifier import RegionClassifier
from gsam.text.templates import ENSEMBLE, templates
from gsam.text.tokenizer import Tokenizer
from gsam.text.vocabulary import SMALL
from gsam.training.data.entries import Entry
from gsam.training.kept_features import KeptFeatures, content_names, fill
from gsam.training.regions.crops import ROWS, cut_crops, normalised, usable, variants
from gsam.training.regions.task import Crops
from gsam.types import Params


def crop_store(stage: RegionClassifier, folder: Path, model: str, count: int, *, encoded: bool) -> KeptFeatures:
    """Open the store of crops.

    Args:
        stage: The classifier.
        folder: Where features lie.
        model: Hash of the model's weights.
        count: Variants of a crop.
        encoded: Whether features are kept, or pixels.
    """
    shape = {"view": stage.view.key, "context": stage.context, "side": stage.config.image_size, "variants": count}
    return KeptFeatures(folder, {"kind": "classifier", **shape, **({"model": model} if encoded else {})})


def keep_crops(
    stage: RegionClassifier,
    params: Params | None,
    store: KeptFeatures,
    entries: Sequence[Entry],
    count: int,
    *,
    quiet: bool,
    what: str,
) -> Crops:
    """Cut out, and perhaps encode, what is not in a store yet.

    Args:
        stage: The classifier.
        params: Its parameters, in the type that is computed in; None keeps pixels.
        store: Where the crops are kept, [N * count, ...] for each image; of features, every other
            variant is of the mirrored crop.
        entries: The images.
        count: Variants of a crop, see `variants`.
        quiet: Show no progress.
        what: What the progress is called.

    Returns:
        Where each crop lies, and what it is.
    """
    places: list[tuple[int, int]] = []
    labels: list[int] = []
    used: list[int] = []
    names: list[str] = []
    for index, entry in enumerate(entries):
        rows = usable(entry)
        if rows:
            places += [(len(used), row) for row in range(len(rows))]
            labels += [entry.objects[row].label for row in rows]
            used.append(index)
            names.append(entry.id)
    keys = content_names(entries[i].path for i in used)
    keys = [f"{key} {entries[i].boxes[usable(entries[i])].tolist()}" for key, i in zip(keys, used, strict=True)]

    def load(index: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        entry = entries[index]
        size = entry.height, entry.width
        return entry.open(), variants(entry.boxes[usable(entry)], size, count, entry.id).reshape(-1, 4)

    def compute(loaded: Sequence[tuple[NDArray[np.uint8], NDArray[np.float32]]]) -> list[dict[str, NDArray[Any]]]:
        made: list[dict[str, NDArray[Any]]] = []
        for pixels, boxes in loaded:
            crops: NDArray[Any] = cut_crops(stage, pixels, boxes)
            if params is not None:
                mirror = np.arange(len(crops)) % count % 2 == 1
                crops[mirror] = crops[mirror, :, ::-1]
                crops = encode_crops(stage, params, crops)
            made.append({"crops": crops})
        return made

    fill(store, used, keys, load, compute, 1, quiet=quiet, what=what)
    return Crops(keys, names, np.array(places, np.int32).reshape(-1, 2), np.array(labels, np.int32))


def encode_crops(stage: RegionClassifier, params: Params, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Run the trunk of the image encoder: crops [N, S, S, 3] -> [N, D]."""
    return _in_rows(functools.partial(_image_trunk(stage), params), crops)


def text_features(stage: RegionClassifier, params: Params, names: Sequence[str]) -> NDArray[np.float32]:
    """Run the trunk of the text encoder.

    Args:
        stage: The classifier, with a tokenizer.
        params: Its parameters.
        names: C names.

    Returns:
        [W, C, D] float32, in W wordings: the classifier's own first.
    """
    encode = jax.jit(lambda params, ids: stage.spec.bind(params).text_trunk(ids))
    tokenizer = stage.text.tokenizer
    assert tokenizer is not None
    return np.stack(
        [
            _in_rows(
                functools.partial(encode, params), stage.text.token_ids(tokenizer, [w.replace("{}", n) for n in names])
            )
            for w in wordings(stage, tokenizer)
        ]
    )


def wordings(stage: RegionClassifier, tokenizer: Tokenizer) -> list[str]:
    """List the sentences that a name is put in: the classifier's first, and those people use.

    A small vocabulary has not the words of the latter.
    """
    more = () if getattr(tokenizer, "size", SMALL) < SMALL else ENSEMBLE
    return list(dict.fromkeys([*templates(stage.template), "{}", *more]))


@functools.lru_cache(maxsize=4)
def _image_trunk(stage: RegionClassifier) -> Any:
    def run(params: Params, crops: jax.Array) -> jax.Array:
        features: jax.Array = stage.spec.bind(params).image_trunk(normalised(stage, crops, params[stage.last].dtype))
        return features

    return jax.jit(run)


def _in_rows(encode: Any, values: NDArray[Any]) -> NDArray[np.float32]:
    """Encode `ROWS` at a time, so that one program serves any number."""
    made = []
    for start in range(0, len(values), ROWS):
        some = values[start : start + ROWS]
        filled = np.concatenate([some, np.repeat(some[-1:], ROWS - len(some), 0)])
        made.append(np.asarray(encode(filled), np.float32)[: len(some)])
    return np.concatenate(made)
