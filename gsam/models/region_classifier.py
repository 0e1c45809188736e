"""The frame of CLIP and SigLIP as classifiers of regions: crops scored by queries and negatives."""

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
from gsam.text.packed import RegionText
from gsam.text.sentences import Sentences
from gsam.text.templates import Template, templates
from gsam.types import Labels, Params, Scene, View

CHUNK, WIDE = 4, 16
"""Boxes at a time on a CPU, so that few crops without a box are encoded, and on an accelerator."""


@dataclasses.dataclass(frozen=True, eq=False)
class RegionClassifier(TextStage[Any], abc.ABC):
    """A `gsam.roles.Classifier` and `gsam.roles.ImageTextScorer` with an image and a text encoder.

    Each box is cut out with some context, squashed to a square, and its embedding compared with
    every query and every negative.  The final score of a query is the detector's and the
    classifier's, as a weighted geometric mean; the label is the best query.

    A family gives `text`, how pixels are prepared, and how logits are used: `probabilities` and
    `accepts`.  Its module has ``image`` (pixels -> unit vectors), ``text`` (token ids -> unit
    vectors) and ``logits`` (cosines -> logits).  Both encoders are a trunk and a small head
    (``image_trunk``, ``image_head``, ``text_trunk``, ``text_head``), so that the heads can be
    trained on what the trunks gave once.
    """

    template: Template = "a photo of a {}"
    """Sentence around a query; several are averaged; ``"ensemble"``: see `gsam.text.templates`."""
    negatives: tuple[str, ...] = ()
    """Texts that a box may fit better than a query.

    One that shares all its words with a query, or has all of the query's, is left out.
    """
    weight: float = 0.5
    """Weight of the classifier against the detector in the score, 0..1."""
    context: float = 0.15
    """Margin of a crop around its box, as a share of the box's width and height on each side."""
    background: float = 1.0
    """Share of the image outside the object's mask that a crop shows: 0 for the mean colour."""
    canvas: View | None = None
    """View that crops are cut from; by default the image at 1024 pixels at most."""
    chunk: int | None = None
    """Boxes at a time: bounds the memory, changes no result; None for `CHUNK` and `WIDE`."""

    crop: ClassVar[Literal["center", "stretch"]]
    """Way in which `compare`'s images become squares."""
    resampling: ClassVar[Literal["bilinear", "bicubic"]]
    """Pillow's filter by which a crop becomes a square."""
    mean: ClassVar[tuple[float, float, float]]
    std: ClassVar[tuple[float, float, float]]
    last: ClassVar[str]
    """Name of a parameter at the end of the image encoder, whose dtype the pixels get."""
    head: ClassVar[str]
    """Names of the parameters, as a regular expression, that the module's heads read."""
    exclusive: ClassVar[bool]
    """Whether the texts compete, as in CLIP's softmax; else each has a sigmoid of its own."""

    def __post_init__(self) -> None:
        templates(self.template)

    @property
    def view(self) -> View:
        return self.canvas or View(1024, "at_most", "bilinear", 0.0)

    @property
    @abc.abstractmethod
    def text(self) -> Sentences:
        """Processor of text on the host."""

    @abc.abstractmethod
    def probabilities(self, logits: jax.Array, usable: jax.Array) -> jax.Array:
        """Turn logits of queries and negatives into probabilities.

        Args:
            logits: [B, N, C].
            usable: [B, 1, C] bool: the others get probability 0.
        """

    @abc.abstractmethod
    def accepts(self, labels: Labels, own: jax.Array, others: jax.Array, reject: jax.Array) -> jax.Array:
        """Decide which boxes keep their label.

        Args:
            labels: Labels by the final score.
            own: [B, N, C] probabilities of the queries.
            others: [B, N, K] probabilities of the negatives.
            reject: Threshold below which a box is dropped.

        Returns:
            [B, N] bool.
        """

    def embed(self, params: Params, tokens: jax.Array) -> jax.Array:
        """Embed token ids [C, K, T] of C texts in K sentences each as unit vectors [C, P]."""
        return average(self.spec.bind(params).text, tokens)

    def classify(self, params: Params, scene: Scene, text: RegionText[jax.Array], valid: jax.Array) -> Scene:
        """Re-score and re-label every box, and reject boxes that fit no query.  Pure.

        Args:
            params: The model's parameters.
            scene: Images, boxes, labels, and masks where there are any.
            text: What `Sentences.pack_text` returned, with a leading axis B.
            valid: [B, C] bool: which queries are real.
        """
        model = self.spec.bind(params)
        dtype = params[self.last].dtype
        canvas = scene.images.view(self.view)
        against = jnp.concatenate([text.queries, text.negatives], 1)  # [B, C + K, P]
        usable = jnp.concatenate([valid, text.allowed], 1)[:, None]

        def work(some: Regions) -> jax.Array:
            side = self.config.image_size
            pixels = cut(canvas, some, side, self.resampling, self.mean, self.std, self.background, dtype)
            seen = model.image(pixels.reshape(-1, *pixels.shape[2:])).reshape(*pixels.shape[:2], -1)
            return self.probabilities(model.logits(similarity(seen, against)), usable)

        where = regions(scene, self.view, self.context, masked=self.background < 1.0)
        probability = in_chunks(work, where, scene.boxes.valid, self.chunk or CHUNK, self.chunk or WIDE)
        own, others = jnp.split(probability, [valid.shape[1]], -1)
        labels = reweigh(scene.labels, own, valid, self.weight)
        keep = scene.boxes.valid & self.accepts(labels, own, others, scene.thresholds.reject)
        return dataclasses.replace(scene, boxes=dataclasses.replace(scene.boxes, valid=keep), labels=labels)

    def compare(self, params: Params, pixels: jax.Array, text: jax.Array) -> jax.Array:
        """Compare whole images with texts.  Pure.

        Args:
            params: The model's parameters.
            pixels: [N, S, S, 3] uint8.
            text: Unit vectors [C, P], see `embed`.

        Returns:
            Logits [N, C].
        """
        model = self.spec.bind(params)
        x = normalise(pixels.astype(jnp.float32) / 255.0, self.mean, self.std, params[self.last].dtype)
        return model.logits(similarity(model.image(x)[None], text[None])[0])
