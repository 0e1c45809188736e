"""Small classifiers with random weights, and one picture with two boxes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gsam import bind
from gsam.inputs.image import Picture
from gsam.models import clip, siglip
from gsam.models.siglip.config import tower
from gsam.nn.tower import Tower
from gsam.pipeline.limits import Limits
from gsam.runtime.batch import gather
from gsam.types import Boxes, Labels, Masks, Scene, Text

CLIP = clip.Config(Tower(32, 2, 2), Tower(16, 1, 2), 16, 32, 8, vocab=50, context=6)
SIGLIP = siglip.Config(tower(32, 2, 2), tower(16, 1, 2, 40), 36, 8, vocab=50, context=12)
XYXY = [[4, 4, 24, 24], [30, 8, 60, 40]]


class Letters:
    """A tokenizer: a letter is a token."""

    def encode(self, texts: Sequence[str], context: int, pad: int = 0) -> np.ndarray:
        ids = np.full((len(texts), context), pad, np.int32)
        for row, text in zip(ids, texts, strict=True):
            found = [*(3 + ord(c) % 40 for c in text[: context - 1]), 49]
            row[: len(found)] = found
        return ids


class Marks(Letters):
    """The same with the end mark 1, as SigLIP's has, and a letter ``B`` for the begin mark."""

    def encode(self, texts: Sequence[str], context: int, pad: int = 0) -> np.ndarray:
        ids = super().encode(texts, context, pad)
        return np.where(ids == 49, 1, np.where(ids == 3 + ord("B") % 40, 2, ids))


def make(family: str, **settings: Any) -> Any:
    if family == "clip":
        return clip.build(CLIP, bind.random_params(clip.spec(CLIP), 2), Letters(), template="{}", **settings)
    params = bind.random_params(siglip.spec(SIGLIP), 2)
    params |= {"logit_scale": jnp.log(jnp.full(1, 10.0)), "logit_bias": jnp.full(1, -1.0)}
    return siglip.build(SIGLIP, params, Marks(), template="{}", **settings)


def picture(height: int = 50, width: int = 70) -> Picture:
    return Picture(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def arranged(stage: Any, queries: list[str]) -> Any:
    """The text of one picture, as the pipeline makes it."""
    embedded = lambda texts: np.asarray(jax.jit(stage.embed)(stage.params, stage.text.tokenize(texts)))  # noqa: E731
    return jax.tree.map(lambda x: jnp.asarray(x)[None], stage.text.pack_text(queries, embedded))


def before(
    stage: Any, queries: list[str], reject: float = 0.0, masks: Masks | None = None, valid: Any = None
) -> tuple[Scene, jax.Array]:
    asked = jnp.asarray([[bool(q) for q in queries]])
    thresholds = Limits(threshold=0.0, nms=1.0, group=1.0, inside=1.0, reject=reject).thresholds
    real = jnp.ones((1, 2), bool) if valid is None else jnp.asarray([valid])
    boxes = Boxes(jnp.asarray([XYXY], jnp.float32), real)
    scores = jnp.where(asked[:, None], jnp.full((1, 2, len(queries)), 0.5), 0.0)
    labels = Labels(scores.argmax(-1).astype(jnp.int32), scores.max(-1), scores)
    images = gather([picture()], [stage.view])
    return Scene(images, Text({}, asked), thresholds, boxes, labels, masks), asked


def classified(stage: Any, queries: list[str], **given: Any) -> Scene:
    scene, asked = before(stage, queries, **given)
    return jax.jit(stage.classify)(stage.params, scene, arranged(stage, queries), asked)
