"""The contracts of the pipeline's steps.

A stage is static and its arrays travel separately, so that any jit can hold it.  A role needs the
method that gives it its name, ``params`` (``{}`` for none) and ``view``.  Whatever else a stage can
do is a small contract of its own, used wherever a stage has it: `ReadsText`, `EncodesText`,
`EncodesImages` and `UpsamplesMasks`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Literal, Protocol, runtime_checkable

import jax

from gsam.text.processor import TextProcessor
from gsam.types import Bank, Boxes, Images, Labels, Masks, MemoryConfig, Params, PyTree, Scene, View

Step = Callable[[Scene], Scene]
"""Anything that takes what is known and gives back more (or less) of it."""


class Stage(Protocol):
    """A step with parameters that sees images, in one role or several."""

    @property
    def params(self) -> Params:
        """Its parameters by path."""

    @property
    def view(self) -> View:
        """The form in which it takes images."""


@runtime_checkable
class ReadsText(Protocol):
    """A stage that is given the queries; one without ``text`` is given None in their place."""

    @property
    def text(self) -> TextProcessor:
        """Processor of queries on the host: one of `gsam.text.model_text`.

        `gsam.QueryFeatures` makes one of any function of the queries.
        """


@runtime_checkable
class EncodesText(ReadsText, Protocol):
    """A stage with a text encoder; one without it is given the processor's tokens as they are."""

    def embed(self, params: Params, tokens: PyTree) -> PyTree:
        """Pure: encode texts; called once per text, then cached.

        Args:
            params: The stage's parameters.
            tokens: What `TextProcessor.tokenize` returned.

        Returns:
            Features of each text: any pytree of arrays with a leading axis of texts.
        """


@runtime_checkable
class EncodesImages(Protocol):
    """A stage that computes something once per image, whatever the queries and prompts.

    It is kept for the next query; a detector's ``detect`` is given it as ``features``.
    """

    def features(self, params: Params, images: Images) -> PyTree:
        """Pure: compute the features of images, once per image.

        Args:
            params: The stage's parameters.
            images: A batch of images.

        Returns:
            Any pytree of arrays [B, ...].
        """


@runtime_checkable
class UpsamplesMasks(Protocol):
    """A stage whose masks are enlarged otherwise than SAM's."""

    @property
    def upsample(self) -> str:
        """One of `gsam.results.masks.low_res.Upsampling`."""


@runtime_checkable
class Detector(Stage, Protocol):
    """Text and image -> boxes.  May be `ReadsText`, `EncodesText` and `EncodesImages`."""

    def detect(self, params: Params, images: Images, text: PyTree, valid: jax.Array, n: int) -> tuple[Boxes, Labels]:
        """Pure: find the ``n`` best boxes of each image.

        Args:
            params: The stage's parameters.
            images: A batch of B images.
            text: What `TextProcessor.pack_text` made of the queries, with a leading axis B; None
                for a stage that reads no text.
            valid: [B, C] bool: which queries are real.
            n: Number of boxes.

        Returns:
            The boxes, best first, and how well each fits every query.
        """


@runtime_checkable
class Grounder(EncodesImages, Stage, Protocol):
    """Image, and text or nothing -> boxes and masks.  May be `ReadsText` and `EncodesText`.

    Only the first step of a pipeline grounds; a segmenter that can do both segments anywhere else.
    """

    def ground(
        self, params: Params, images: Images, text: PyTree, valid: jax.Array, n: int, features: PyTree
    ) -> tuple[Boxes, Labels, Masks]:
        """Pure: find the ``n`` best objects of each image, best first.

        A stage that does not tell queries apart gives every object the first one's label (``index``
        0), and its own score for every query that is ``valid`` [B, C].

        Args:
            params: The stage's parameters.
            images: A batch of B images.
            text: As for `Detector.detect`.
            valid: [B, C] bool: which queries are real.
            n: Number of objects.
            features: What ``features`` returned for these images.

        Returns:
            The objects' boxes, their labels and their masks.
        """


@runtime_checkable
class Segmenter(EncodesImages, Stage, Protocol):
    """Image and boxes -> masks.  May be `UpsamplesMasks`.

    One that takes points and masks too is a `gsam.models.promptable.PromptableSegmenter`.
    """

    def segment(self, params: Params, features: PyTree, images: Images, boxes: Boxes) -> Masks:
        """Pure: predict one mask per box.

        Args:
            params: The stage's parameters.
            features: What ``features`` returned, [B, ...].
            images: A batch of images.
            boxes: N boxes per image; rows that are not valid may get any mask.

        Returns:
            The masks, [B, N, ...].
        """


@runtime_checkable
class Classifier(Stage, Protocol):
    """Image, boxes, masks and text -> labels.  May be `ReadsText` and `EncodesText`."""

    def classify(self, params: Params, scene: Scene, text: PyTree, valid: jax.Array) -> Scene:
        """Pure: re-score, re-label or reject (``boxes.valid``) what the scene holds.

        Args:
            params: The stage's parameters.
            scene: Boxes, labels and, after a segmenter, masks.
            text: As for `Detector.detect`.
            valid: [B, C] bool, the queries that are real.

        Returns:
            The scene with new labels and scores.
        """


@runtime_checkable
class Refiner(Stage, Protocol):
    """Scene -> scene, by a step that has parameters or a view of its own."""

    def refine(self, params: Params, scene: Scene) -> Scene:
        """Pure: change what the scene holds.

        Args:
            params: The stage's parameters.
            scene: All that is known so far; ``scene.images.view(self.view)`` are its pixels.

        Returns:
            The scene, changed.
        """


@runtime_checkable
class ImageTextScorer(EncodesText, Stage, Protocol):
    """A classifier that scores whole images too: what `gsam.FastSAM` needs for a text."""

    crop: ClassVar[Literal["center", "stretch"]]
    """Way in which an image becomes a square: its middle (`gsam.inputs.image.middle`), or all of
    it.
    """

    @property
    def config(self) -> PyTree:
        """Its sizes; ``image_size`` is the side of the square."""

    def compare(self, params: Params, pixels: jax.Array, text: PyTree) -> jax.Array:
        """Pure: score squares [N, S, S, 3] uint8 by what `embed` gave, [C, ...]: logits [N, C]."""


class Tracker(Protocol):
    """One frame of a video and its objects at a time, for `gsam.VideoPredictor` and ``pipe.track``.

    Everything but the attributes is pure.  ``features`` below are one frame's, without a leading
    axis.  Answers about N objects are ``(logits [N, s, s], predicted IoU [N], object score [N],
    pointer [N, D])``, float32; an object is there if its score is above 0.
    """

    @property
    def memory(self) -> MemoryConfig:
        """The size of its memory of an object."""

    @property
    def mask_size(self) -> int:
        """Rows and columns s of the logits."""

    @property
    def absent_logit(self) -> float:
        """The logit of every pixel of an object that is not there."""

    @property
    def params(self) -> Params:
        """Its parameters by path."""

    @property
    def view(self) -> View:
        """A square."""

    def features(self, params: Params, images: Images) -> PyTree:
        """Pure: compute the features of frames, once per frame.

        Args:
            params: The tracker's parameters.
            images: A batch of frames.

        Returns:
            Any pytree of arrays [B, ...].
        """

    def add_points(
        self,
        params: Params,
        features: PyTree,
        points: jax.Array,
        labels: jax.Array,
        mask: jax.Array,
        has_mask: jax.Array,
        bank: Bank | None = None,
        *,
        multimask: bool,
    ) -> PyTree:
        """Pure: prompt N objects with points and corners of boxes.

        Args:
            params: The tracker's parameters.
            features: One frame's, without a leading axis.
            points: [N, P, 2] x y in pixels of the view.
            labels: [N, P] as in `gsam.nn.prompt`.
            mask: [N, s, s] logits of earlier answers.
            has_mask: [N] bool, the prompts that have one.
            bank: Memories; None where there are none.
            multimask: Whether the best of three masks is taken.

        Returns:
            The answers, see `Tracker`.
        """

    def add_mask(self, params: Params, features: PyTree, masks: jax.Array) -> PyTree:
        """Pure: prompt N objects with masks.

        Args:
            params: The tracker's parameters.
            features: One frame's, without a leading axis.
            masks: [N, S, S] of 0 and 1 over the view.

        Returns:
            The answers, see `Tracker`.
        """

    def track(self, params: Params, features: PyTree, bank: Bank, valid: jax.Array) -> tuple[PyTree, jax.Array]:
        """Pure: find N objects without a prompt by their memories, and encode those of this frame.

        Args:
            params: The tracker's parameters.
            features: One frame's, without a leading axis.
            bank: Memories, with a leading axis N.
            valid: [N] bool, the objects that are real.

        Returns:
            The answers, see `Tracker`, and the memories [N, ...] of this frame.
        """

    def encode_memory(
        self, params: Params, features: PyTree, logits: jax.Array, score: jax.Array, prompted: jax.Array
    ) -> jax.Array:
        """Pure: encode the memories of objects with prompts on this frame.

        Args:
            params: The tracker's parameters.
            features: One frame's, without a leading axis.
            logits: [N, s, s] of the answers.
            score: [N] object scores of the answers.
            prompted: [N] bool, whether the mask came from points.

        Returns:
            The memories, [N, ...].
        """
