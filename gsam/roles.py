"""The contracts of the pipeline's steps.  A stage is static; its arrays travel separately, so that any jit can hold it.

Only the method that gives a role its name must do work.  The rest of a minimal stage is ``params = {}`` and ``view``.
Two methods more are used where a stage that reads text has them: `Arranges` and, of a detector, `Reuses`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import jax

from gsam.types import Bank, Boxes, Images, Labels, Masks, MemoryConfig, Params, Scene, View

Step = Callable[[Scene], Scene]
"""Anything that takes what is known and gives back more (or less) of it."""


@runtime_checkable
class Detector(Protocol):
    """Text and image -> boxes."""

    @property
    def params(self) -> Params: ...
    @property
    def view(self) -> View: ...
    def encode(self, queries: Sequence[str]) -> Any:
        """On the host: queries -> tokens, any pytree of numpy arrays with leading axis C."""

    def embed(self, params: Params, tokens: Any) -> Any:
        """Pure: tokens -> text features with leading axis C.  Called once a query, then cached."""

    def detect(self, params: Params, images: Images, text: Any, valid: jax.Array, n: int) -> tuple[Boxes, Labels]:
        """Pure: the ``n`` best boxes of each image.

        ``text``: what `embed` gave, or what ``arrange`` made of it, with a leading axis B; ``valid`` [B, C]: which queries
        are real.
        """


@runtime_checkable
class Grounder(Protocol):
    """Image -> boxes and masks of whatever is there, to be named by a classifier.

    Only the first step of a pipeline proposes; a segmenter that can do both segments anywhere else.
    """

    @property
    def params(self) -> Params: ...
    @property
    def view(self) -> View: ...
    def features(self, params: Params, images: Images) -> Any:
        """Pure: what is computed once an image.  Leading axis B."""

    def ground(
        self, params: Params, images: Images, text: Any, valid: jax.Array, n: int, features: Any
    ) -> tuple[Boxes, Labels, Masks]:
        """Pure: the ``n`` best things of each image, their labels and their masks, best first.

        ``text``: as for `Detector.detect`; None for a stage that reads none.  One that does not tell queries apart gives
        every thing the first one's label (``index`` 0), and its own score for every query that is ``valid`` [B, C].
        """


class Arranges(Protocol):
    """A stage whose text is more than its queries side by side: one caption, or queries with something beside them."""

    def arrange(self, queries: Sequence[str], embedded: Callable[[Sequence[str]], Any]) -> Any:
        """On the host, for one picture: the text a stage is given.

        ``queries`` are padded with ``""`` to C.  ``embedded`` maps texts to what `embed` made of them, stacked, numpy, cached
        by text.  Leaves of different length are padded with zeros when pictures are batched, which must not matter.
        """


class Reuses(Protocol):
    """A detector whose picture side is computed once, whatever the number of queries: its `detect` takes ``features``."""

    def features(self, params: Params, images: Images) -> Any:
        """Pure: what does not depend on the text.  Leading axis B."""


@runtime_checkable
class Segmenter(Protocol):
    """Image and boxes -> masks.

    What is larger than SAM's way from low-resolution logits to the picture may say so by ``upsample``, see
    `gsam.results.masks.low_res.Upsampling`.  One that answers points and masks too is a `gsam.models.promptable.PromptableSegmenter`.
    """

    @property
    def params(self) -> Params: ...
    @property
    def view(self) -> View: ...
    def features(self, params: Params, images: Images) -> Any:
        """Pure: what is computed once an image, whatever the number of prompts.  Leading axis B."""

    def segment(self, params: Params, features: Any, images: Images, boxes: Boxes) -> Masks:
        """Pure: one mask a box.  Rows that are not valid may hold anything."""


@runtime_checkable
class Classifier(Protocol):
    """Image, boxes, masks and text -> labels."""

    @property
    def params(self) -> Params: ...
    @property
    def view(self) -> View: ...
    def encode(self, queries: Sequence[str]) -> Any: ...
    def embed(self, params: Params, tokens: Any) -> Any: ...
    def classify(self, params: Params, scene: Scene, text: Any, valid: jax.Array) -> Scene:
        """Pure: re-score, re-label or reject (``boxes.valid``) what the scene holds."""


@runtime_checkable
class ImageTextScorer(Protocol):
    """A classifier that looks at whole pictures too: what `gsam.FastSAM` needs for a text."""

    whole: ClassVar[Literal["middle", "squash"]]
    """How a picture becomes the square that it reads: the middle of it (`gsam.inputs.image.middle`), or all of it squashed."""

    @property
    def params(self) -> Params: ...
    @property
    def config(self) -> Any:
        """Its sizes; ``image_size`` is the side of the square."""

    def encode(self, queries: Sequence[str]) -> Any: ...
    def embed(self, params: Params, tokens: Any) -> Any: ...
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
