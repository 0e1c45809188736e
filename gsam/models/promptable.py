"""The frame of every segmenter with SAM's prompts: boxes to prompts, prompts in bounded memory."""

from __future__ import annotations

import abc
import dataclasses
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp

from gsam.errors import UsageError
from gsam.models.stage import ModelStage
from gsam.nn.prompt import BOTTOM_RIGHT, PAD, TOP_LEFT
from gsam.ops.top import in_chunks
from gsam.ops.views import to_view
from gsam.types import Boxes, Images, Masks, Params, PyTree, View

CHUNK, WIDE = 4, 32
"""Prompts at a time on a CPU, whose cache holds their 4 MB each, and on an accelerator."""


@dataclasses.dataclass(frozen=True, eq=False)
class PromptableSegmenter(ModelStage[Any], abc.ABC):
    """A `gsam.roles.Segmenter` that `gsam.Predictor` and `gsam.MaskGenerator` can use.

    A family gives `view`, `features` and `decode`.
    """

    chunk: int = 0
    """Prompts decoded at a time; 0 for `CHUNK` on a CPU and `WIDE` elsewhere.

    Bounds the memory, changes no result.
    """

    upsample: ClassVar[Literal["view", "bilinear", "bicubic", "probability"]] = "view"
    """Scaling of low-resolution logits to the image's size, see `gsam.results.masks.low_res`."""
    prompt_types: ClassVar[frozenset[str]] = frozenset({"foreground", "background", "box", "mask"})
    """Kinds of prompts that the model takes."""
    max_points: ClassVar[int | None] = None
    """Most points that a prompt may have, of which a box is two; None for any number."""
    pads_boxes: ClassVar[bool] = False
    """True if prompts with a box get one "not a point" (`PAD`), as points alone do (SAM 2)."""
    default_iou_thresh: ClassVar[float] = 0.88
    """Predicted IoU above which `gsam.MaskGenerator` keeps a mask by default."""
    logit_clip: ClassVar[float | None] = None
    """Magnitude that `gsam.Predictor` clips low-resolution logits to (SAM 2); None for none."""

    @property
    @abc.abstractmethod
    def view(self) -> View:
        """The view of an image that the model takes."""

    @abc.abstractmethod
    def features(self, params: Params, images: Images) -> PyTree:
        """Compute once per image what all prompts share.  Pure.

        Returns:
            Any pytree of arrays [B, ...].
        """

    def project(self, params: Params, features: PyTree) -> PyTree:
        """Compute once per image what else all prompts without a mask share.  Pure.

        A predictor computes it with the features and hands it to `prompt`; files do not hold it.

        Args:
            params: The model's parameters.
            features: The result of `features`, [B, ...].

        Returns:
            A pytree of arrays [B, ...]; None for a model that has no use for it.
        """
        return None

    @abc.abstractmethod
    def decode(
        self, model: Any, features: PyTree, points: jax.Array, labels: jax.Array, multimask: bool, **mask: PyTree
    ) -> tuple[jax.Array, jax.Array]:
        """Decode N prompts on one image.

        Args:
            model: The module with its parameters.
            features: The result of `features` for the image, without the leading axis.
            points: [N, P, 2] x y in pixels of the view.
            labels: [N, P] as in `gsam.nn.prompt`.
            multimask: Whether to return the masks that the original returns for an ambiguous prompt
                (three of SAM); otherwise M is 1.
            **mask: ``mask`` [N, h, w] and ``has_mask`` [N] where a mask prompt is given, or
                ``projected``, the result of `project` for the image, where none is.

        Returns:
            Logits [N, M, h, w] and predicted IoU [N, M].
        """

    def box_mask_prompt(self, xyxy: jax.Array) -> jax.Array | None:
        """Mask prompt [N, h, w] that boxes bring along; None for the official models.

        Args:
            xyxy: [N, 4] in pixels of the view.
        """
        return None

    @property
    def has_postprocess(self) -> bool:
        """True if `postprocess` changes anything."""
        return False

    def postprocess(self, logits: jax.Array, threshold: float = 0.0) -> jax.Array:
        """Change logits before they become masks; by default not at all.  Pure.

        Args:
            logits: [..., h, w].
            threshold: The logit above which a pixel is mask.
        """
        return logits

    def segment(self, params: Params, features: PyTree, images: Images, boxes: Boxes) -> Masks:
        """Segment one mask per box, as the original does with ``multimask_output=False``.  Pure.

        Returns:
            Masks with logits [B, N, h, w] over the view.
        """
        model = self.spec.bind(params)

        def one_image(features: PyTree, xyxy: jax.Array) -> tuple[jax.Array, jax.Array]:
            kinds = [TOP_LEFT, BOTTOM_RIGHT, *[PAD] * self.pads_boxes]
            labels = jnp.broadcast_to(jnp.asarray(kinds), (xyxy.shape[0], len(kinds)))
            points = jnp.pad(xyxy.reshape(-1, 2, 2), ((0, 0), (0, len(kinds) - 2), (0, 0)))
            mask = self.box_mask_prompt(xyxy)
            more = {} if mask is None else {"mask": mask}
            logits, iou = self.decode(model, features, points, labels, multimask=False, **more)
            if self.has_postprocess:
                logits = self.postprocess(logits)
            return logits[:, 0], iou[:, 0]

        def work(xyxy: jax.Array) -> tuple[jax.Array, jax.Array]:
            return jax.vmap(one_image)(features, xyxy)

        logits, iou = in_chunks(work, to_view(boxes.xyxy, images, self.view), boxes.valid, *self.chunks)
        content = images.content[self.view.key].astype(jnp.float32) * (logits.shape[-1] / self.view.size)
        return Masks(logits, iou, jnp.broadcast_to(content[:, None, :], (*boxes.valid.shape, 2)))

    def prompt(
        self,
        params: Params,
        features: PyTree,
        points: jax.Array,
        labels: jax.Array,
        mask: jax.Array | None = None,
        has_mask: jax.Array | None = None,
        *,
        valid: jax.Array | None = None,
        multimask: bool = True,
        projected: PyTree = None,
    ) -> tuple[jax.Array, jax.Array]:
        """Decode any number of prompts on one image, in chunks.  Pure.

        Args:
            params: The model's parameters.
            features: The result of `features` for the image, without the leading axis.
            points: [N, P, 2] x y in pixels of the view.
            labels: [N, P] as in `gsam.nn.prompt`.
            mask: [N, h, w] logits of an earlier answer, or None.
            has_mask: [N] bool: which prompts have a mask; None for all.
            valid: [N] bool: which prompts count; None for all.  The results of the others mean
                nothing, and a chunk without a valid one takes no time.
            multimask: See `decode`.
            projected: The result of `project` for the image, without the leading axis; used where
                there is no ``mask``.

        Returns:
            Logits [N, M, h, w] and predicted IoU [N, M], both float32.
        """
        model = self.spec.bind(params)
        known = {} if projected is None or mask is not None else {"projected": projected}
        prompts = {"points": points, "labels": labels, "mask": mask, "has_mask": has_mask}
        rows = {name: value[None] for name, value in prompts.items() if value is not None}

        def work(some: dict[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
            chunk = {name: value[0] for name, value in some.items()}
            logits, iou = self.decode(model, features, multimask=multimask, **chunk, **known)
            return logits[None], iou[None]

        counts = jnp.ones((1, points.shape[0]), bool) if valid is None else valid[None]
        logits, iou = in_chunks(work, rows, counts, *self.chunks)
        return logits[0], iou[0]

    @property
    def chunks(self) -> tuple[int, int]:
        """Number of prompts at a time, on a CPU and elsewhere."""
        return self.chunk or CHUNK, self.chunk or WIDE


def needs_points(model: object, name: str, *, masks: bool = False) -> None:
    """Refuse a model that takes no points, or no masks where they are needed.

    Args:
        model: Any stage.
        name: Its name in the message.
        masks: Whether mask prompts are needed too.

    Raises:
        UsageError: The model does not take them.
    """
    if not isinstance(model, PromptableSegmenter) or "foreground" not in model.prompt_types:
        raise UsageError(
            f"{name} cannot be asked with points, which is how everything is found", "model_takes_no_points"
        )
    if masks and "mask" not in model.prompt_types:
        raise UsageError(f"{name} takes no masks as prompts, which use_m2m needs", "model_takes_no_masks")
