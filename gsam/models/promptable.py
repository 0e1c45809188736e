"""What every segmenter that answers SAM's prompts does alike: boxes to prompts, many prompts in bounded memory."""

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
from gsam.types import Boxes, Images, Masks, Params, View

CHUNK, WIDE = 4, 32
"""Prompts whose images of 4 MB each stay in a CPU's cache, and enough of them to fill an accelerator."""


@dataclasses.dataclass(frozen=True, eq=False)
class PromptableSegmenter(ModelStage[Any], abc.ABC):
    """A segmenter, see `gsam.roles.Segmenter`, that `gsam.Predictor` and `gsam.MaskGenerator` can use.

    A family gives `view`, `features` and `decode`.
    """

    chunk: int = 0
    """Prompts decoded at a time: bounds the memory, changes no result.  0: `CHUNK` on a CPU, `WIDE` elsewhere."""

    upsample: ClassVar[Literal["view", "bilinear", "bicubic", "probability"]] = "view"
    """How low-resolution logits become as large as the picture, see `gsam.results.masks.low_res`."""
    prompt_types: ClassVar[frozenset[str]] = frozenset({"foreground", "background", "box", "mask"})
    """The prompts that it understands."""
    max_points: ClassVar[int | None] = None
    """How many points a prompt may have, of which a box is two; None for any number."""
    pads_boxes: ClassVar[bool] = False
    """Whether one "not a point" (`PAD`) goes with a prompt that has a box, too (SAM 2), and not only with points alone."""
    default_iou_thresh: ClassVar[float] = 0.88
    """Predicted IoU above which `gsam.MaskGenerator` keeps a mask, unless it is told otherwise."""
    logit_clip: ClassVar[float | None] = None
    """`gsam.Predictor` gives low-resolution logits cut at plus and minus this (SAM 2)."""

    @property
    @abc.abstractmethod
    def view(self) -> View:
        """How it wants to see a picture."""

    @abc.abstractmethod
    def features(self, params: Params, images: Images) -> Any:
        """Pure: what is computed once an image, any pytree of arrays [B, ...]."""

    @abc.abstractmethod
    def decode(
        self, model: Any, features: Any, points: jax.Array, labels: jax.Array, multimask: bool, **mask: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """N prompts on the features of one image, without a leading axis: logits [N, M, h, w] and predicted IoU [N, M].

        ``points`` [N, P, 2] x y in pixels of the view and ``labels`` [N, P] as in `gsam.nn.prompt`; ``mask`` [N, h, w] and
        ``has_mask`` [N] where a mask prompt is given.  ``multimask`` asks for what the original returns for an ambiguous
        prompt (three masks of SAM), otherwise M is 1.
        """

    def box_mask_prompt(self, xyxy: jax.Array) -> jax.Array | None:
        """The mask prompt that boxes [N, 4] in pixels of the view bring along, [N, h, w]; None for the official models."""
        return None

    @property
    def has_postprocess(self) -> bool:
        """Whether `postprocess` does anything."""
        return False

    def postprocess(self, logits: jax.Array, threshold: float = 0.0) -> jax.Array:
        """Pure: what is done to logits [..., h, w] before they become masks, those above ``threshold``.  Here nothing."""
        return logits

    def segment(self, params: Params, features: Any, images: Images, boxes: Boxes) -> Masks:
        """One mask a box: logits [B, N, h, w] over the view.  The original's ``multimask_output=False``."""
        model = self.spec.bind(params)

        def one_image(features: Any, xyxy: jax.Array) -> tuple[jax.Array, jax.Array]:
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
        features: Any,
        points: jax.Array,
        labels: jax.Array,
        mask: jax.Array | None = None,
        has_mask: jax.Array | None = None,
        *,
        valid: jax.Array | None = None,
        multimask: bool = True,
    ) -> tuple[jax.Array, jax.Array]:
        """`decode` for any number of prompts: logits [N, M, h, w] and predicted IoU [N, M], both float32.

        ``valid`` [N]: which prompts count; the others give anything, and take no time where a whole chunk is not valid.
        """
        model = self.spec.bind(params)
        rows = {"points": points, "labels": labels, "mask": mask, "has_mask": has_mask}
        rows = {name: value[None] for name, value in rows.items() if value is not None}

        def work(some: dict[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
            given = {name: value[0] for name, value in some.items()}
            logits, iou = self.decode(model, features, multimask=multimask, **given)
            return logits[None], iou[None]

        known = jnp.ones((1, points.shape[0]), bool) if valid is None else valid[None]
        logits, iou = in_chunks(work, rows, known, *self.chunks)
        return logits[0], iou[0]

    @property
    def chunks(self) -> tuple[int, int]:
        """Prompts at a time on a CPU, and elsewhere."""
        return self.chunk or CHUNK, self.chunk or WIDE


def needs_points(model: Any, name: str, *, masks: bool = False) -> None:
    """Raises `UsageError` for a model that takes no points, or no masks where they are needed."""
    if not isinstance(model, PromptableSegmenter) or "foreground" not in model.prompt_types:
        raise UsageError(
            f"{name} cannot be asked with points, which is how everything is found", "model_takes_no_points"
        )
    if masks and "mask" not in model.prompt_types:
        raise UsageError(f"{name} takes no masks as prompts, which use_m2m needs", "model_takes_no_masks")
