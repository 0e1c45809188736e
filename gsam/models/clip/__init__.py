"""CLIP as a classifier of regions."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np

from gsam import bind
from gsam.models.clip.config import VARIANTS as VARIANTS
from gsam.models.clip.config import Config
from gsam.models.clip.model import Clip
from gsam.models.clip.port import LAYOUTS as LAYOUTS
from gsam.ops.regions import Regions, average, cut, regions, reweigh, similarity
from gsam.ops.top import in_chunks
from gsam.ops.views import CLIP_MEAN, CLIP_STD, normalise
from gsam.text.sentences import Sentences, Tokenizer
from gsam.text.templates import Template, templates
from gsam.types import Params, Scene, View


@dataclasses.dataclass(frozen=True, eq=False)
class ClipClassifier:
    """See `gsam.roles.Classifier`.

    Each box is cut out with some context, and its embedding compared with every query and every negative; the softmax over
    all of them is the probability of a query.  The final score of a query is the detector's and the classifier's, weighted
    geometrically; the label is the best.  What ``thresholds.reject`` is compared with is that final score of the label, since a
    softmax means little alone: a box that stays below is dropped.
    """

    config: Config
    spec: bind.Spec[Clip]
    params: Params
    tokenizer: Tokenizer | None = None
    template: Template = "a photo of a {}"
    """The sentence around a query; several, whose embeddings are averaged; or ``"ensemble"`` (`gsam.text.templates`)."""
    negatives: tuple[str, ...] = ()
    """What else a box may turn out to be.  One that shares all its words with a query, or has them all, is left out."""
    weight: float = 0.5
    """How much the classifier counts against the detector, 0..1."""
    context: float = 0.15
    """What a crop shows around its box, as a part of the box's width and height on each side."""
    background: float = 1.0
    """How much of the picture a crop shows outside the object's mask, where there is one: 0 is none (the mean colour)."""
    canvas: View | None = None
    """Which view crops are cut from; by default the picture at 1024 pixels at most."""
    chunk: int = 16

    whole: ClassVar[Literal["middle", "squash"]] = "middle"
    """How a picture becomes a square for `compare`."""

    @property
    def view(self) -> View:
        return self.canvas or View(1024, "at_most", "bilinear", 0.0)

    @property
    def reading(self) -> Sentences:
        """What is done with text on the host."""
        return Sentences(self.tokenizer, self.config.context, self.template, self.negatives)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Token ids of each text in each of the K templates, [C, K, T]."""
        return self.reading.encode(texts)

    def embed(self, params: Params, tokens: jax.Array) -> jax.Array:
        """Token ids [C, K, T] -> unit vectors [C, P]."""
        return average(self.spec.bind(params).text, tokens)

    def arrange(self, queries: Sequence[str], embedded: Callable[[Sequence[str]], Any]) -> dict[str, Any]:
        """Unit vectors of the queries [C, P] and of the negatives [K, P], and which negatives may be used [K]."""
        return self.reading.arrange(queries, embedded)

    def classify(self, params: Params, scene: Scene, text: dict[str, jax.Array], valid: jax.Array) -> Scene:
        """Re-score and re-label every box, and reject what looks like none of the queries.

        ``text`` is what `arrange` gave, with a leading axis B; ``valid`` [B, C].
        """
        model = self.spec.bind(params)
        dtype = params["visual_projection/kernel"].dtype
        canvas = scene.images.view(self.view)
        against = jnp.concatenate([text["queries"], text["negatives"]], 1)  # [B, C + K, P]
        usable = jnp.concatenate([valid, text["allowed"]], 1)[:, None]
        scale = jnp.exp(params["logit_scale"].astype(jnp.float32))

        def work(some: Regions) -> jax.Array:
            pixels = cut(
                canvas, some, self.config.image_size, "bicubic", CLIP_MEAN, CLIP_STD, self.background, dtype
            )  # [B, n, S, S, 3]
            seen = model.image(pixels.reshape(-1, *pixels.shape[2:])).reshape(*pixels.shape[:2], -1)
            logits = scale * similarity(seen, against)
            return jax.nn.softmax(jnp.where(usable, logits, -jnp.inf), -1)[..., : valid.shape[1]]

        where = regions(scene, self.view, self.context, masked=self.background < 1.0)
        probability = in_chunks(work, where, scene.boxes.valid, self.chunk)  # [B, N, C]
        labels = reweigh(scene.labels, probability, valid, self.weight)
        keep = scene.boxes.valid & (labels.score >= scene.thresholds.reject)
        return dataclasses.replace(scene, boxes=dataclasses.replace(scene.boxes, valid=keep), labels=labels)

    def compare(self, params: Params, pixels: jax.Array, text: jax.Array) -> jax.Array:
        """Whole pictures [N, S, S, 3] uint8 with `embed`'s vectors [C, P]: logits [N, C], of a softmax."""
        model = self.spec.bind(params)
        dtype = params["visual_projection/kernel"].dtype
        seen = model.image(normalise(pixels.astype(jnp.float32) / 255.0, CLIP_MEAN, CLIP_STD, dtype))
        return jnp.exp(params["logit_scale"].astype(jnp.float32)) * similarity(seen[None], text[None])[0]


def spec(config: Config) -> bind.Spec[Clip]:
    """The model without its numbers."""
    return bind.spec(lambda: Clip(config))


def build(config: Config, params: Params, tokenizer: Tokenizer | None = None, **settings: Any) -> ClipClassifier:
    """A classifier from parameters that fit ``config`` (`gsam.bind.MismatchError` if they do not)."""
    model = spec(config)
    model.check(params)
    templates(settings.get("template", "{}"))
    return ClipClassifier(config, model, params, tokenizer, **settings)
