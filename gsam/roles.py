"""The contracts of the pipeline's steps.  A stage is static; its arrays travel separately, so that any jit can hold it.

A role needs the method that gives it its name, ``params`` (``{}`` for none) and `View` ``view``.  What else a stage can do is
a small contract of its own, and used wherever a stage has it: `ReadsText`, `EncodesText` and `EncodesImages`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import jax

from gsam.text import TextProcessor
from gsam.types import Bank, Boxes, Images, Labels, Masks, MemoryConfig, Params, Scene, View

Step = Callable[[Scene], Scene]
"""Anything that takes what is known and gives back more (or less) of it."""


class Stage(Protocol):
    """A step that has parameters and sees images, in one role or several."""

    @property
    def params(self) -> Params: ...
    @property
    def view(self) -> View: ...


@runtime_checkable
class ReadsText(Protocol):
    """A stage that is given the queries; one without ``text`` is given None in their place."""

    @property
    def text(self) -> TextProcessor:
        """What is done with queries on the host: one of `gsam.text`, or `gsam.QueryFeatures` for a function of them."""


@runtime_checkable
class EncodesText(ReadsText, Protocol):
    """A stage whose model has a text encoder; one without it is given the processor's tokens as they are."""

    def embed(self, params: Params, tokens: Any) -> Any:
        """Pure: tokens -> features of texts, with a leading axis of texts.  Called once per text, then cached."""


@runtime_checkable
class EncodesImages(Protocol):
    """A stage with something to compute once per image, whatever the queries and prompts, and to keep for the next ones.

    A detector's `Detector.detect` is then given it as ``features``.
    """

    def features(self, params: Params, images: Images) -> Any:
        """Pure: any pytree of arrays with a leading axis B."""


@runtime_checkable
class Detector(Stage, Protocol):
    """Text and image -> boxes.  May be `ReadsText`, `EncodesText` and `EncodesImages`."""

    def detect(self, params: Params, images: Images, text: Any, valid: jax.Array, n: int) -> tuple[Boxes, Labels]:
        """Pure: the ``n`` best boxes of each image.

        ``text``: what `TextProcessor.pack_text` made of the queries, with a leading axis B, or None; ``valid`` [B, C]:
        which queries are real.
        """


@runtime_checkable
class Grounder(EncodesImages, Stage, Protocol):
    """Text or nothing, and image -> boxes and masks.  May be `ReadsText` and `EncodesText`.

    Only the first step of a pipeline grounds; a segmenter that can do both segments anywhere else.
    """

    def ground(
        self, params: Params, images: Images, text: Any, valid: jax.Array, n: int, features: Any
    ) -> tuple[Boxes, Labels, Masks]:
        """Pure: the ``n`` best things of each image, their labels and their masks, best first.

        ``text``: as for `Detector.detect`; None for a stage that reads none.  One that does not tell queries apart gives
        every thing the first one's label (``index`` 0), and its own score for every query that is ``valid`` [B, C].
        """


@runtime_checkable
class Segmenter(EncodesImages, Stage, Protocol):
    """Image and boxes -> masks.

    What is larger than SAM's way from low-resolution logits to the picture may say so by ``upsample``, see
    `gsam.results.masks.low_res.Upsampling`.  One that answers points and masks too is a `gsam.models.promptable.PromptableSegmenter`.
    """

    def segment(self, params: Params, features: Any, images: Images, boxes: Boxes) -> Masks:
        """Pure: one mask a box.  Rows that are not valid may hold anything."""


@runtime_checkable
class Classifier(Stage, Protocol):
    """Image, boxes, masks and text -> labels.  May be `ReadsText` and `EncodesText`."""

    def classify(self, params: Params, scene: Scene, text: Any, valid: jax.Array) -> Scene:
        """Pure: re-score, re-label or reject (``boxes.valid``) what the scene holds.

        ``text`` and ``valid``: as for `Detector.detect`.
        """


@runtime_checkable
class ImageTextScorer(EncodesText, Stage, Protocol):
    """A classifier that looks at whole images too: what `gsam.FastSAM` needs for a text."""

    crop: ClassVar[Literal["center", "stretch"]]
    """How an image becomes the square that it reads: the middle of it (`gsam.inputs.image.middle`), or all of it."""

    @property
    def config(self) -> Any:
        """Its sizes; ``image_size`` is the side of the square."""

    def compare(self, params: Params, pixels: jax.Array, text: Any) -> jax.Array:
        """Pure: squares [N, S, S, 3] uint8 and what `embed` gave, [C, ...]: logits [N, C]."""


class Tracker(Protocol):
    """One frame of a video and its objects at a time, for `gsam.VideoPredictor` and ``pipe.track``.

    Everything but the attributes is pure.  ``features`` below are one frame's, without a leading
    axis.  Answers about N objects are ``(logits [N, s, s], predicted IoU [N], object score [N],
    pointer [N, D])``, float32; an object is there if its score is above 0.
    """

    @property
    def memory(self) -> MemoryConfig:
        """How much it remembers of an object."""

    @property
    def mask_size(self) -> int:
        """Rows and columns s of the logits."""

    @property
    def absent_logit(self) -> float:
        """The logit of every pixel of an object that is not there."""

    @property
    def params(self) -> Params: ...
    @property
    def view(self) -> View:
        """A square."""

    def features(self, params: Params, images: Images) -> Any:
        """Features of frames, [B, ...], computed once per frame."""

    def add_points(
        self,
        params: Params,
        features: Any,
        points: jax.Array,
        labels: jax.Array,
        mask: jax.Array,
        has_mask: jax.Array,
        bank: Bank | None = None,
        *,
        multimask: bool,
    ) -> Any:
        """Prompt N objects with points and corners of boxes [N, P, 2] in pixels of the view.

        ``mask``: earlier answers [N, s, s].  ``bank``: memories, if there are any.
        """

    def add_mask(self, params: Params, features: Any, masks: jax.Array) -> Any:
        """Prompt N objects with masks [N, S, S] of 0 and 1 over the view."""

    def track(self, params: Params, features: Any, bank: Bank, valid: jax.Array) -> tuple[Any, jax.Array]:
        """Find N objects without a prompt by their memories, and encode those of this frame."""

    def encode_memory(
        self, params: Params, features: Any, logits: jax.Array, score: jax.Array, prompted: jax.Array
    ) -> jax.Array:
        """Encode the memories [N, ...] of objects with prompts on this frame."""
