"""Draw the masks of tracked objects again, by a segmenter of images."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from gsam.errors import UsageError
from gsam.models.promptable import PromptableSegmenter
from gsam.nn.prompt import BOTTOM_RIGHT, PAD, TOP_LEFT
from gsam.ops.views import corner, scale, to_view
from gsam.ops.windows import bounds_of, onto, twice
from gsam.types import Images, Params, PyTree

NOTHING = -10.0
"""Logit where a mask says nothing; masks are prompts of at most this size."""
AGREE = 0.4
"""Least IoU with the tracker's mask of one that takes its place."""


@dataclasses.dataclass(frozen=True, eq=False)
class Redraw:
    """A segmenter that is asked with the box around a tracked mask, and with the mask itself.

    A tracker knows which object is meant, and draws it on a coarse grid from memory; a segmenter
    of images sees the frame alone, and draws what it is shown better. An answer that is unlike the
    tracker's mask is not taken.

    Raises:
        gsam.errors.UsageError: The segmenter takes no boxes (``model_takes_no_boxes``).
    """

    segmenter: PromptableSegmenter

    def __post_init__(self) -> None:
        if not isinstance(self.segmenter, PromptableSegmenter) or "box" not in self.segmenter.prompt_types:
            name = type(self.segmenter).__name__
            raise UsageError(
                f"{name} cannot be asked with boxes, which is how masks are drawn again", "model_takes_no_boxes"
            )

    def features(self, params: Params, images: Images) -> PyTree:
        """Compute the segmenter's features of one frame, without a leading axis.  Pure."""
        return jax.tree.map(lambda x: x[0], self.segmenter.features(params, images))

    def masks(self, params: Params, features: PyTree, images: Images, logits: jax.Array, valid: jax.Array) -> jax.Array:
        """Draw N masks again.  Pure.

        Args:
            params: The segmenter's parameters.
            features: The result of `features`.
            images: The frame.
            logits: [N, s, s] over the whole frame, as the tracker has them.
            valid: [N] bool: which rows count.

        Returns:
            [N, s, s] float32: the new logits, or the old ones where the new mask is unlike.
        """
        model, view = self.segmenter, self.segmenter.view
        n, side = logits.shape[:2]
        cells, there = bounds_of(logits > 0)
        whole = jnp.broadcast_to(images.size[0, ::-1].astype(jnp.float32), (n, 2))
        box = cells / side * twice(whole)
        whole = jnp.concatenate([jnp.zeros_like(whole), whole], -1)
        start, factor = corner(images, view)[0], scale(images, view)[0]
        shown = jnp.broadcast_to(jnp.concatenate([-start, view.size - start]) / twice(factor), (n, 4))
        kinds = jnp.asarray([TOP_LEFT, BOTTOM_RIGHT, *[PAD] * model.pads_boxes])
        points = to_view(box[None], images, view)[0]
        labels = jnp.broadcast_to(kinds, (n, len(kinds)))

        def ask(mask: jax.Array | None) -> jax.Array:
            corners = jnp.pad(points.reshape(n, 2, 2), ((0, 0), (0, len(kinds) - 2), (0, 0)))
            return model.prompt(params, features, corners, labels, mask, valid=valid & there, multimask=False)[0][:, 0]

        low = jax.eval_shape(ask, None).shape[-1]
        hint = onto(jnp.clip(logits, NOTHING, -NOTHING), whole, shown, low, NOTHING)
        found = ask(hint if "mask" in model.prompt_types else model.box_mask_prompt(points))
        found = model.postprocess(found) if model.has_postprocess else found
        found = onto(found, shown, whole, side, NOTHING)
        old, new = logits > 0, found > 0
        shared, either = ((x).sum((-2, -1), dtype=jnp.float32) for x in (old & new, old | new))
        better = valid & there & (shared > 0) & (shared >= AGREE * either)
        return jnp.where(better[:, None, None], found, logits)
