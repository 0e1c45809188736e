"""CLIP as a classifier of regions."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from gsam import bind
from gsam.classify.clip.config import VARIANTS as VARIANTS
from gsam.classify.clip.config import Config
from gsam.classify.clip.model import Clip
from gsam.ops.resize import crops
from gsam.ops.top import in_chunks
from gsam.ops.views import CLIP_MEAN, CLIP_STD, normalise, to_view
from gsam.types import Labels, Params, Scene, View


class Tokenizer(Protocol):
    def encode(self, texts: Sequence[str], context: int) -> np.ndarray: ...


@dataclasses.dataclass(frozen=True, eq=False)
class Stage:
    """See `gsam.roles.Classifier`.

    Each box is cut out with some context, and its embedding compared with every query and every negative; the softmax over
    all of them is the probability of a query.  The final score of a query is the detector's and the classifier's, weighted
    geometrically; the label is the best, and a box whose best query stays below ``text.reject`` is dropped.
    """

    config: Config
    spec: bind.Spec[Clip]
    params: Params
    tokenizer: Tokenizer | None = None
    template: str = "a photo of a {}"
    negatives: tuple[str, ...] = ()
    """What else a box may turn out to be.  One that shares all its words with a query, or has them all, is left out."""
    weight: float = 0.5
    """How much the classifier counts against the detector, 0..1."""
    context: float = 0.15
    """What a crop shows around its box, as a part of the box's width and height on each side."""
    canvas: View | None = None
    """Which view crops are cut from; by default the picture at 1024 pixels at most."""
    chunk: int = 16

    @property
    def view(self) -> View:
        return self.canvas or View(1024, "at_most", "bilinear", 0.0)

    def encode(self, queries: Sequence[str]) -> dict[str, np.ndarray]:
        """Token ids of the queries [C, T] and of the negatives [K, T], and which negatives may be used [K]."""
        if self.tokenizer is None:
            raise ValueError("this classifier was loaded without a tokenizer, so it cannot read text")
        texts = [self.template.format(q) for q in (*queries, *self.negatives)]
        ids = self.tokenizer.encode(texts, self.config.context)
        asked = [set(q.lower().split()) for q in queries if q]
        allowed = [not any(_related(set(n.lower().split()), q) for q in asked) for n in self.negatives]
        return {"ids": ids[: len(queries)], "negatives": ids[len(queries) :], "allowed": np.asarray(allowed, bool)}

    def embed(self, params: Params, tokens: dict[str, jax.Array]) -> dict[str, jax.Array]:
        """The same with embeddings [C, P] and [K, P] for token ids."""
        model = self.spec.bind(params)
        both = model.text(jnp.concatenate([tokens["ids"], tokens["negatives"]]))
        count = tokens["ids"].shape[0]
        return {"queries": both[:count], "negatives": both[count:], "allowed": tokens["allowed"]}

    def classify(self, params: Params, scene: Scene, text: dict[str, jax.Array], valid: jax.Array) -> Scene:
        """Re-score and re-label every box, and reject what looks like none of the queries."""
        model = self.spec.bind(params)
        dtype = params["visual_projection/kernel"].dtype
        canvas = scene.images.view(self.view)
        against = jnp.concatenate([text["queries"], text["negatives"]])  # [C + K, P]
        usable = jnp.concatenate([valid, text["allowed"]])
        scale = jnp.exp(params["logit_scale"].astype(jnp.float32))

        def work(xyxy: jax.Array) -> jax.Array:
            cut = jax.vmap(lambda p, b: crops(p, b, self.config.image_size, "bicubic"))(canvas, xyxy)
            cut = normalise(cut / 255.0, CLIP_MEAN, CLIP_STD, dtype)
            seen = model.image(cut.reshape(-1, *cut.shape[2:])).reshape(*xyxy.shape[:2], -1)
            logits = scale * (seen.astype(jnp.float32) @ against.astype(jnp.float32).T)
            return jax.nn.softmax(jnp.where(usable, logits, -jnp.inf), -1)[..., : valid.shape[0]]

        wide = widen(to_view(scene.boxes.xyxy, scene.images, self.view), self.context)
        probability = in_chunks(work, wide, scene.boxes.valid, self.chunk)  # [B, N, C]
        scores = scene.labels.scores ** (1.0 - self.weight) * probability**self.weight
        index = scores.argmax(-1).astype(jnp.int32)
        score = scores.max(-1)
        keep = scene.boxes.valid & (score >= scene.text.reject)
        boxes = dataclasses.replace(scene.boxes, valid=keep)
        return dataclasses.replace(scene, boxes=boxes, labels=Labels(index, score, scores))


def widen(xyxy: jax.Array, context: float) -> jax.Array:
    """Boxes [..., 4] with ``context`` of their width and height added on each side."""
    margin = jnp.maximum(xyxy[..., 2:] - xyxy[..., :2], 1.0) * context
    return xyxy + jnp.concatenate([-margin, margin], -1)


def _related(a: set[str], b: set[str]) -> bool:
    return a <= b or b <= a


def spec(config: Config) -> bind.Spec[Clip]:
    """The model without its numbers."""
    return bind.spec(lambda: Clip(config))


def build(config: Config, params: Params, tokenizer: Tokenizer | None = None, **settings: Any) -> Stage:
    """A classifier from parameters that fit ``config`` (`gsam.bind.MismatchError` if they do not)."""
    model = spec(config)
    model.check(params)
    return Stage(config, model, params, tokenizer, **settings)
