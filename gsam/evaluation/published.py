"""Values that others have published for official weights, computed again: a family's numbers on one
image."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from PIL import Image

from gsam.errors import CheckpointError
from gsam.inputs.image import make_view, open_image
from gsam.text.tokenizer import Tokenizer, load_tokenizer
from gsam.types import Images, JsonMapping, Params, View
from gsam.weights.folders import cache_folder
from gsam.weights.store import Loaded

Comparison = tuple[str, list[float], list[float], float]
"""Name, published values, ours, and the largest difference allowed."""


class Unavailable(Exception):
    """The image is not here and cannot be had."""


def compare(entry: JsonMapping, loaded: Loaded, image: Path | None = None) -> Iterator[Comparison]:
    """Every row of a manifest entry's ``published``, on its image ``published_on`` or a copy of
    that, ``image``.

    Raises `Unavailable` when the image cannot be downloaded, `gsam.errors.ImageError` when it
    cannot be read.
    """
    pixels = open_image(image or reference_image(entry["published_on"])).pixels
    with jax.default_matmul_precision("highest"):
        for what, expected, actual, row in FAMILIES[loaded.family](loaded, pixels, entry["published"]):
            yield what, np.ravel(expected).tolist(), np.ravel(actual).tolist(), row["tolerance"]


def reference_image(place: str) -> Path:
    """An image by its address, or as ``owner/name:file`` on the hub."""
    from gsam.weights import download

    try:
        if place.startswith("http"):
            return download.from_url(place, cache_folder() / "pictures" / place.rsplit("/", 1)[-1])
        return download.file_from_hub(*place.split(":", 1))
    except CheckpointError as error:
        raise Unavailable(f"{error} (or give the picture with --image)") from None


Table = JsonMapping
Part = tuple[str, npt.ArrayLike, npt.ArrayLike, Table]


def _sam(loaded: Loaded, image: np.ndarray, rows: Sequence[Table]) -> Iterator[Part]:
    """The predicted IoU of the masks for a prompt; a single number is that of the last mask."""
    from gsam.predictors.image import Predictor

    family = importlib.import_module(f"gsam.models.{loaded.family}")
    predictor = Predictor(family.build(loaded.config, loaded.params))
    predictor.set_image(image)
    for row in rows:
        points = row.get("points")
        labels = row.get("labels", [1] * len(points)) if points else None
        _, iou, _ = predictor.predict(points, labels, row.get("box"))
        expected = np.atleast_1d(row["iou"])
        prompt = " and ".join(f"{k} {row[k]}" for k in ("points", "box") if k in row)
        yield f"IoU for {prompt}", expected, iou[-len(expected) :], row


def _owl(loaded: Loaded, image: np.ndarray, rows: Sequence[Table]) -> Iterator[Part]:
    """Boxes (centre and width, in the view) and logits of the first tokens.

    OWL-ViT's values come from an image squashed to a square, OWLv2's from one padded to it.
    """
    from gsam.models import owl_vit

    config = loaded.config
    view = owl_vit.view(config) if config.objectness else View(config.image_size, "squash", "bicubic")
    pixels = _normalised(make_view(image, view))
    stage = owl_vit.build(config, loaded.params, _tokenizer(loaded))

    @jax.jit
    def run(params: Params, pixels: jax.Array, ids: jax.Array) -> tuple[jax.Array, jax.Array]:
        model = stage.spec.bind(params)
        tokens = model.image(pixels)
        return model.boxes(tokens), model.logits(tokens, model.text(ids))

    for row in rows:
        boxes, logits = run(loaded.params, pixels, jnp.asarray(stage.text.tokenize(row["texts"])))
        if "boxes" in row:
            yield "boxes", row["boxes"], boxes[0, :3, :3], row
        if "logits" in row:
            yield "logits", row["logits"], logits[0, :3], row


def _grounding_dino(loaded: Loaded, image: np.ndarray, rows: Sequence[Table]) -> Iterator[Part]:
    """Boxes (centre and width) and token logits of the first queries of the decoder."""
    from gsam.models import grounding_dino
    from gsam.models.grounding_dino.enhancer import Phrases
    from gsam.pipeline import Pipeline
    from gsam.text.packed import Captions

    stage = grounding_dino.build(loaded.config, loaded.params, _tokenizer(loaded))
    pipe = Pipeline(stage)

    @jax.jit
    def run(params: Params, images: Images, text: Captions[jax.Array]) -> tuple[jax.Array, jax.Array]:
        one = jax.tree.map(lambda leaf: leaf[:, 0], text)
        phrases = Phrases(one.features, one.block, one.position)
        logits, boxes = stage.spec.bind(params)(stage.features(params, images), phrases)
        return logits, boxes

    for row in rows:
        images, text = pipe.prepare(image, row["query"])
        logits, boxes = run(pipe.params["detect"], images, text.stages["detect"])
        if "boxes" in row:
            yield "boxes", row["boxes"], boxes[0, :3, :3], row
        if "token_logits" in row:
            yield "token logits", row["token_logits"], logits[0, :3, :3], row


def _clip(loaded: Loaded, image: np.ndarray, rows: Sequence[Table]) -> Iterator[Part]:
    """Logits of sentences for the middle square of the image."""
    from gsam.models import clip

    size = loaded.config.image_size
    h, w = (size * n // min(image.shape[:2]) for n in image.shape[:2])  # the shorter side becomes ``size``
    whole = np.asarray(Image.fromarray(image).resize((w, h), Image.Resampling.BICUBIC))
    top, left = (h - size) // 2, (w - size) // 2
    pixels = _normalised(whole[top : top + size, left : left + size])
    stage = clip.build(loaded.config, loaded.params, _tokenizer(loaded), template="{}")

    @jax.jit
    def run(params: Params, pixels: jax.Array, ids: jax.Array) -> jax.Array:
        model = stage.spec.bind(params)
        return jnp.exp(params["logit_scale"]) * model.image(pixels) @ model.text(ids).T

    for row in rows:
        ids = jnp.asarray(stage.text.tokenize(row["texts"])[:, 0])
        yield "logits", row["logits"], run(loaded.params, pixels, ids)[0], row


def _siglip(loaded: Loaded, image: np.ndarray, rows: Sequence[Table]) -> Iterator[Part]:
    """Logits of sentences for the image squashed to a square; Hugging Face has bicubic for
    SigLIP.
    """
    from gsam.models import siglip
    from gsam.ops.views import normalise

    view = View(loaded.config.image_size, "squash", "bicubic" if loaded.config.version == 1 else "bilinear")
    values = jnp.asarray(make_view(image, view), jnp.float32) / 255.0
    stage = siglip.build(loaded.config, loaded.params, _tokenizer(loaded), template="{}")
    pixels = normalise(values, stage.mean, stage.std, jnp.dtype("float32"))[None]

    @jax.jit
    def run(params: Params, pixels: jax.Array, ids: jax.Array) -> jax.Array:
        model = stage.spec.bind(params)
        return model.logits(model.image(pixels) @ model.text(ids).T)

    for row in rows:
        ids = jnp.asarray(stage.text.tokenize(row["texts"])[:, 0])
        yield "logits", row["logits"], run(loaded.params, pixels, ids)[0], row


FAMILIES = {
    "sam": _sam,
    "sam2": _sam,
    "owl_vit": _owl,
    "grounding_dino": _grounding_dino,
    "clip": _clip,
    "siglip": _siglip,
}


def _normalised(pixels: np.ndarray) -> jax.Array:
    from gsam.ops.views import CLIP_MEAN, CLIP_STD, normalise

    return normalise(jnp.asarray(pixels, jnp.float32) / 255.0, CLIP_MEAN, CLIP_STD, jnp.dtype("float32"))[None]


def _tokenizer(loaded: Loaded) -> Tokenizer:
    if loaded.tokenizer is None:
        raise Unavailable("there is no tokenizer next to the weights")
    return load_tokenizer(loaded.tokenizer)
