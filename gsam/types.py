"""The values that flow between steps, and the letters their shapes are written in.

B images, N boxes, M masks per box, H W pixels, h w features, T tokens, C queries, D width, K heads.

Every value is a pytree of fixed-shape arrays. Counts are padded and ``valid`` says what is real, so
that one compiled program serves any number of objects. Boxes are absolute pixels ``x0 y0 x1 y1`` of
the upright original image, exclusive on the right and at the bottom.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import jax

Params = dict[str, jax.Array]
"""A model's tensors by path, ``"image_encoder/blocks/0/attn/qkv/kernel"``: always flat, always
strings.
"""
PyTree: TypeAlias = Any
"""Arrays in containers that JAX knows, in the form that whoever made them understands: the features
of a model, its text."""
Json: TypeAlias = dict[str, PyTree]
"""An object of JSON."""
JsonMapping: TypeAlias = Mapping[str, Any]
"""An object of JSON that is only read."""


@dataclasses.dataclass(frozen=True)
class View:
    """The form in which a stage takes an image, made on the host by `gsam.inputs.image`.

    A square of ``size`` pixels, but for two kinds of ``fit``.

    Example:
        >>> gsam.View(1024, "longest").key
        'longest_1024_bilinear_0'
    """

    size: int
    """Side of the square in pixels."""
    fit: Literal["longest", "square", "squash", "at_most", "shortest", "letterbox"] = "longest"
    """The way an image is brought to the view.

    - ``"longest"`` scales the longer side to ``size`` and pads right and bottom.
    - ``"square"`` pads to a square with ``pad`` first and scales that.
    - ``"squash"`` ignores the aspect ratio.
    - ``"at_most"`` is ``"longest"`` that never enlarges.
    - ``"shortest"`` scales the shorter side to ``size``, or less so that the longer stays near
      ``limit``, and pads to one of the few rectangles of `gsam.inputs.image.canvas`.
    - ``"letterbox"`` scales the longer side to ``size`` as OpenCV does and puts the image into the
      middle of a rectangle of multiples of 32, see `gsam.inputs.letterbox`.
    """
    filter: Literal["bilinear", "bicubic", "linear", "antialias", "gaussian", "spline"] = "bilinear"
    """The way pixels are resampled.

    - ``"bilinear"`` and ``"bicubic"`` are Pillow's on uint8.
    - ``"linear"`` is torch's bilinear on floats, which is not anti-aliased (EfficientSAM), and
      ``"antialias"`` the same with ``antialias=True`` (SAM 2).
    - ``"gaussian"`` is scikit-image's anti-aliased order 1 on floats (OWL), and ``"spline"`` its
      anti-aliased order 3, cut to uint8 (MedSAM).
    """
    pad: float = 0.0
    """Grey level of the padding, 0..255."""
    limit: int = 0
    """The longer side in pixels for ``"shortest"``; 0 for none."""

    @property
    def key(self) -> str:
        """The name under which `Images` holds the view."""
        return f"{self.fit}_{self.size}_{self.filter}_{self.pad:g}" + (f"_{self.limit}" if self.limit else "")

    @property
    def dtype(self) -> str:
        """The type of the view's pixels: ``"uint8"``, or ``"float32"`` for filters on floats."""
        return "float32" if self.filter in ("linear", "antialias", "gaussian") else "uint8"


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Images:
    """A batch of images in the forms that the stages take."""

    views: dict[str, jax.Array]
    """`View.key` -> [B, S, S, 3] (or [B, H, W, 3]), uint8 or float32, RGB in 0..255."""
    content: dict[str, jax.Array]
    """`View.key` -> [B, 2] int32: rows and columns of the view that are image; the rest is padding.
    """
    size: jax.Array
    """[B, 2] int32: height and width of the upright originals."""

    def view(self, view: View) -> jax.Array:
        """Find the pixels made for a view.

        Args:
            view: The view of a stage.

        Returns:
            [B, S, S, 3], or a rectangle [B, H, W, 3], uint8 or float32.
        """
        return self.views[view.key]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Text:
    """Encoded queries per image, one entry per stage that reads text; images may have different
    queries.
    """

    stages: dict[str, PyTree]
    """Slot of a stage -> what its text processor packed (`gsam.text.processor`), arrays [B, ...].
    """
    valid: jax.Array
    """[B, C] bool: the rest is padding."""
    groups: jax.Array | None = None
    """[B, C] int32: the first query with the label of each query; None where every query has a
    label of its own.
    """


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Thresholds:
    """The `gsam.Limits` that are run-time values: changing one recompiles nothing.

    All are shares or scores in 0..1.
    """

    threshold: jax.Array
    """[] float32, or [B, C] for one of each query's own: a box whose score is not above it is
    dropped.
    """
    nms: jax.Array
    """[] float32: of two boxes with one label and a larger IoU, the better is kept; 1 keeps both.
    """
    duplicate: jax.Array
    """[] float32: the same for two boxes with different labels; 1 keeps both."""
    group: jax.Array
    """[] float32: a box that others of its label fill to more than this share is dropped; 1 keeps
    it.
    """
    inside: jax.Array
    """[] float32: of two masks with one label, one of which lies in the other by more than this,
    the better is kept; 1 keeps both.
    """
    reject: jax.Array
    """[] float32: the classifier drops what it believes in less than this; 0 keeps all."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Boxes:
    """Where things are; how sure a stage is of them stands in `Labels`."""

    xyxy: jax.Array
    """[B, N, 4] float32 pixels of the original picture."""
    valid: jax.Array
    """[B, N] bool."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Labels:
    index: jax.Array
    """[B, N] int32 into the queries."""
    score: jax.Array
    """[B, N] float32 in 0..1, of that query."""
    scores: jax.Array
    """[B, N, C] float32 in 0..1, of every query."""
    tokens: jax.Array | None = None
    """[B, N, K, T] float32 in 0..1, of every token of the K captions as which a detector reads the
    queries together.
    """


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Masks:
    logits: jax.Array
    """[B, N, h, w] float32 over the segmenter's square view; above 0 is inside."""
    iou: jax.Array
    """[B, N] float32: the segmenter's own estimate of its quality."""
    content: jax.Array | None = None
    """[B, N, 2] float32: rows and columns of the logits that are picture; None if all are."""
    within: jax.Array | None = None
    """[B, N, 4] float32 pixels of the original picture: what lies outside is not mask; None where
    logits alone decide.  Then the logits are of the picture itself, so many of their first rows
    and columns as ``content`` says.
    """
    window: jax.Array | None = None
    """[B, N, 4] float32 pixels of the original picture: the rectangle that the logits of a second
    look (`gsam.SecondLook`) lie over; what lies outside is not mask.  Empty, all zeros, for those
    that lie over the view; None if all do.
    """


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Scene:
    """Everything known about a batch so far: what a step takes and what a step gives.

    Example:
        >>> def sure(scene: gsam.Scene) -> gsam.Scene:
        ...     valid = scene.boxes.valid & (scene.labels.score > 0.5)
        ...     boxes = dataclasses.replace(scene.boxes, valid=valid)
        ...     return dataclasses.replace(scene, boxes=boxes)
    """

    images: Images
    """The images."""
    text: Text
    """The queries."""
    thresholds: Thresholds
    """The limits on what is kept."""
    boxes: Boxes
    """At most N boxes per image."""
    labels: Labels
    """The label of each box."""
    masks: Masks | None = None
    """The mask of each box; None before a segmenter."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Bank:
    """The memory of an object of a video on one frame, padded; ``keep`` and ``kept`` are what is
    real.

    With leading axes of several objects.
    """

    memory: jax.Array
    """[M, h w, E]: frames, each in a slot."""
    age: jax.Array
    """[M] int32: how many frames ago, less one; the last row of the table for frames with prompts.
    """
    keep: jax.Array
    """[M] bool."""
    pointers: jax.Array
    """[P, D] float32: object pointers."""
    offsets: jax.Array
    """[P] float32: how many frames ago, negative for frames to come."""
    kept: jax.Array
    """[P] bool."""
    span: jax.Array
    """[] float32: what ``offsets`` are divided by, the greatest number of pointers less one."""


@dataclasses.dataclass(frozen=True)
class MemoryConfig:
    """The size of a tracker's memory of an object, and the frames of it that are read."""

    slots: int
    """Frames that are read at most, that with the prompt included (``num_maskmem``)."""
    pointers: int
    """Object pointers that are read (``max_obj_ptrs_in_encoder``)."""
    shape: tuple[int, int]
    """Shape of the memory of one frame, [h w, E]."""
    pointer_width: int
    """Numbers of an object pointer."""
    stride: int = 1
    """Every n-th of the frames before the last is read (``memory_temporal_stride_for_eval``)."""
    prompted: int = -1
    """The nearest frames with prompts that are read (``max_cond_frames_in_attn``), -1 for all."""
