"""What CLIP and SigLIP do alike as classifiers of regions: boxes to crops, crops beside queries and negatives."""

from __future__ import annotations

import abc
import dataclasses
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp

from gsam.models.stage import TextStage
from gsam.ops.regions import Regions, average, cut, regions, reweigh, similarity
from gsam.ops.top import in_chunks
from gsam.ops.views import normalise
from gsam.text.sentences import Sentences
from gsam.text.templates import Template, templates
from gsam.types import Labels, Params, Scene, View


@dataclasses.dataclass(frozen=True, eq=False)
class RegionClassifier(TextStage[Any], abc.ABC):
    """See `gsam.roles.Classifier` and `gsam.roles.ImageTextScorer`.

    Each box is cut out with some context, squashed to a square, and its embedding compared with every query and every
    negative.  The final score of a query is the detector's and the classifier's, weighted geometrically; the label is the
    best.

    A family gives `text`, how its model is shown pixels, and what it makes of logits: `probabilities` and `accepts`.  Its
    module has ``image`` (pixels -> unit vectors), ``text`` (token ids -> unit vectors) and ``logits`` (cosines -> logits).
    """

    template: Template = "a photo of a {}"
    """The sentence around a query; several, whose embeddings are averaged; or ``"ensemble"`` (`gsam.text.templates`)."""
    negatives: tuple[str, ...] = ()
    """What else a box may turn out to be.  One that shares all its words with a query, or has them all, is left out."""
    weight: float = 0.5
    """How much the classifier counts against the detector in the score, 0..1."""
    context: float = 0.15
    """What a crop shows around its box, as a part of the box's width and height on each side."""
    background: float = 1.0
    """How much of the image a crop shows outside the object's mask, where there is one: 0 is none (the mean colour)."""
    canvas: View | None = None
    """Which view crops are cut from; by default the image at 1024 pixels at most."""
    chunk: int = 16
    """Boxes at a time: bounds the memory, changes no result."""

    crop: ClassVar[Literal["center", "stretch"]]
    """How an image becomes a square for `compare`."""
    resampling: ClassVar[Literal["bilinear", "bicubic"]]
    """How a crop becomes a square."""
    mean: ClassVar[tuple[float, float, float]]
    std: ClassVar[tuple[float, float, float]]
    last: ClassVar[str]
    """A parameter at the end of the image encoder, whose dtype pixels are given in."""

    def __post_init__(self) -> None:
        templates(self.template)

    @property
    def view(self) -> View:
        return self.canvas or View(1024, "at_most", "bilinear", 0.0)

    @property
    @abc.abstractmethod
    def text(self) -> Sentences:
        """What is done with text on the host."""

    @abc.abstractmethod
    def probabilities(self, logits: jax.Array, usable: jax.Array) -> jax.Array:
        """Logits [B, N, C] of queries and negatives -> probabilities, 0 for those that are not ``usable`` [B, 1, C]."""

    @abc.abstractmethod
    def accepts(self, labels: Labels, own: jax.Array, others: jax.Array, reject: jax.Array) -> jax.Array:
        """Which boxes [B, N] are their label after all.

        ``labels``: what they are by the final score.  ``own`` [B, N, C] and ``others`` [B, N, K]: probabilities of the queries
        and of the negatives.
        """

    def embed(self, params: Params, tokens: jax.Array) -> jax.Array:
        """Token ids [C, K, T] of each text in K sentences -> unit vectors [C, P]."""
        return average(self.spec.bind(params).text, tokens)

    def classify(self, params: Params, scene: Scene, text: dict[str, jax.Array], valid: jax.Array) -> Scene:
        """Re-score and re-label every box, and reject what looks like none of the queries.

        ``text`` is what `Sentences.pack_text` gave, with a leading axis B; ``valid`` [B, C].
        """
        model = self.spec.bind(params)
        dtype = params[self.last].dtype
        canvas = scene.images.view(self.view)
        against = jnp.concatenate([text["queries"], text["negatives"]], 1)  # [B, C + K, P]
        usable = jnp.concatenate([valid, text["allowed"]], 1)[:, None]

        def work(some: Regions) -> jax.Array:
            side = self.config.image_size
            pixels = cut(canvas, some, side, self.resampling, self.mean, self.std, self.background, dtype)
            seen = model.image(pixels.reshape(-1, *pixels.shape[2:])).reshape(*pixels.shape[:2], -1)
            return self.probabilities(model.logits(similarity(seen, against)), usable)

        where = regions(scene, self.view, self.context, masked=self.background < 1.0)
        probability = in_chunks(work, where, scene.boxes.valid, self.chunk)  # [B, N, C + K]
        own, others = jnp.split(probability, [valid.shape[1]], -1)
        labels = reweigh(scene.labels, own, valid, self.weight)
        keep = scene.boxes.valid & self.accepts(labels, own, others, scene.thresholds.reject)
        return dataclasses.replace(scene, boxes=dataclasses.replace(scene.boxes, valid=keep), labels=labels)

    def compare(self, params: Params, pixels: jax.Array, text: jax.Array) -> jax.Array:
        """Whole images [N, S, S, 3] uint8 with `embed`'s vectors [C, P]: logits [N, C]."""
        model = self.spec.bind(params)
        x = normalise(pixels.astype(jnp.float32) / 255.0, self.mean, self.std, params[self.last].dtype)
        return model.logits(similarity(model.image(x)[None], text[None])[0])
