"""Propose every mask of an image from a grid of points: the first step of a pipeline without a
detector.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp

from gsam.models.promptable import PromptableSegmenter, needs_points
from gsam.nn.prompt import FOREGROUND, PAD
from gsam.ops.grid import point_grid
from gsam.ops.suppression import nms
from gsam.ops.top import in_chunks, take, top
from gsam.ops.views import scale
from gsam.runtime.settings import GRID, check_numbers
from gsam.types import Boxes, Images, Labels, Masks, Params, PyTree, View

CANDIDATES = 3072
"""Masks that are compared with each other at most, the best by predicted IoU: all three of each of
32 x 32 points.
"""


@dataclasses.dataclass(frozen=True, eq=False)
class GridProposer:
    """Propose masks from a grid of points: the first step of a pipeline without a detector.

    It does what `gsam.MaskGenerator` does to a whole image, with fixed shapes, on the device. Of
    every candidate only three numbers and a box are kept, measured at low resolution (there a pixel
    is a few of the image's, so stability and boxes are near those of `gsam.MaskGenerator`, not
    equal); the masks that survive are decoded once more.

    Raises:
        gsam.errors.UsageError: The segmenter takes no points, or a setting is out of range.

    Example:
        >>> grid = gsam.GridProposer(gsam.segmenter("nano_sam"), 8, pred_iou_thresh=0.5)
        >>> pipe = gsam.Pipeline(grid, gsam.classifier("nano_clip"))
    """

    segmenter: PromptableSegmenter
    """A segmenter that takes points."""
    points_per_side: int = 32
    """Points of the grid along each axis."""
    pred_iou_thresh: float | None = None
    """Keep masks of a predicted IoU above this; by default the segmenter's ``default_iou_thresh``.
    """
    stability_score_thresh: float = 0.95
    """Keep masks whose stability is at least this: the IoU of the mask cut above and below 0."""
    stability_score_offset: float = 1.0
    """Distance above and below, in logits."""
    box_nms_thresh: float = 0.7
    """IoU of boxes above which the better of two masks is kept."""
    multimask: bool = True
    """All masks of a point, or one."""

    def __post_init__(self) -> None:
        needs_points(self.segmenter, type(self.segmenter).__name__)
        given = {name: value for name in GRID if (value := getattr(self, name)) is not None}
        check_numbers(given, GRID)

    @property
    def params(self) -> Params:
        """The segmenter's parameters."""
        return self.segmenter.params

    @property
    def view(self) -> View:
        """The segmenter's view."""
        return self.segmenter.view

    @property
    def upsample(self) -> str:
        """The upsampling of the segmenter's logits to the size of the image."""
        return self.segmenter.upsample

    def features(self, params: Params, images: Images) -> PyTree:
        """Compute the segmenter's features of images.

        Args:
            params: The segmenter's parameters.
            images: A batch of images.

        Returns:
            The features, [B, ...].
        """
        return self.segmenter.features(params, images)

    def ground(
        self, params: Params, images: Images, text: object, valid: jax.Array, n: int, features: PyTree = None
    ) -> tuple[Boxes, Labels, Masks]:
        """Propose the best masks of each image, all labelled with the first query: a pure function.

        Args:
            params: The segmenter's parameters.
            images: A batch of images.
            text: Not read.
            valid: [B, C] bool, the queries that are real.
            n: Masks per image.
            features: What `features` returned; by default it is computed here.

        Returns:
            Boxes, labels and masks of N = ``n`` candidates per image, best first; the score, for
            every query that is real, is the predicted IoU.
        """
        features = self.features(params, images) if features is None else features
        model = self.segmenter.spec.bind(params)
        cells = images.content[self.view.key].astype(jnp.float32)  # [B, 2]
        picture = images.size.astype(jnp.float32)
        grid = jnp.asarray(point_grid(int(self.points_per_side)), jnp.float32)
        points = grid * (picture[:, ::-1] * scale(images, self.view))[:, None]  # [B, P, 2]

        def look(xy: jax.Array) -> dict[str, jax.Array]:
            logits, iou = self._decode(model, features, xy)
            return {"iou": iou, **self._measured(logits, cells * (logits.shape[-1] / self.view.size))}

        seen = in_chunks(look, points, jnp.ones(points.shape[:2], bool), *self.segmenter.chunks)
        b, p, m = seen["iou"].shape
        which = jnp.broadcast_to(jnp.arange(m), (b, p, m))
        rows = {"xy": jnp.repeat(points, m, 1), "which": which, **seen}
        rows = {k: v.reshape(b, p * m, *v.shape[3:]) if k != "xy" else v for k, v in rows.items()}
        least = self.segmenter.default_iou_thresh if self.pred_iou_thresh is None else self.pred_iou_thresh
        good = (rows["iou"] > least) & (rows["stability"] >= self.stability_score_thresh)
        score, rows = top(jnp.where(good, rows["iou"], -jnp.inf), min(p * m, CANDIDATES), rows)
        boxes = rows["box"] * jnp.concatenate([picture, picture], -1)[:, None, ::-1]
        alone = jax.vmap(functools.partial(nms, overlap=jnp.float32(self.box_nms_thresh)))(boxes, score > -jnp.inf)
        score, rows = top(jnp.where(alone, score, -jnp.inf), n, {**rows, "box": boxes})
        found = score > -jnp.inf

        def again(some: dict[str, jax.Array]) -> jax.Array:
            logits, _ = self._decode(model, features, some["xy"])
            logits = jax.vmap(take)(logits, some["which"][..., None])[:, :, 0]
            return self.segmenter.postprocess(logits) if self.segmenter.has_postprocess else logits

        kept = {"xy": rows["xy"], "which": rows["which"]}
        logits = in_chunks(again, kept, found, *self.segmenter.chunks)
        sure = jnp.where(found, jnp.clip(score, 0.0, 1.0), 0.0)
        labels = Labels(jnp.zeros((b, n), jnp.int32), sure, jnp.where(valid[:, None], sure[..., None], 0.0))
        inside = jnp.broadcast_to((cells * (logits.shape[-1] / self.view.size))[:, None], (b, n, 2))
        return Boxes(rows["box"], found), labels, Masks(logits, rows["iou"], inside)

    def _decode(self, model: Any, features: PyTree, xy: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Points [B, c, 2] in pixels of the view -> logits [B, c, M, h, w] and predicted IoU [B, c,
        M].
        """

        def one(features: PyTree, xy: jax.Array) -> tuple[jax.Array, jax.Array]:
            points = jnp.stack([xy, jnp.zeros_like(xy)], 1)
            kinds = jnp.broadcast_to(jnp.asarray([FOREGROUND, PAD]), points.shape[:2])
            return self.segmenter.decode(model, features, points, kinds, multimask=self.multimask)

        return jax.vmap(one)(features, xy)

    def _measured(self, logits: jax.Array, content: jax.Array) -> dict[str, jax.Array]:
        """Measure logits [B, c, M, h, w], whose first ``content`` [B, 2] rows and columns are
        picture: ``stability`` [B, c, M] and ``box`` [B, c, M, 4] as shares of the picture,
        exclusive; zeros where nothing is.
        """
        h, w = logits.shape[-2:]
        rows, columns = jnp.arange(h, dtype=jnp.float32), jnp.arange(w, dtype=jnp.float32)
        inside = (rows < content[:, :1])[:, :, None] & (columns < content[:, 1:])[:, None]
        inside = inside[:, None, None]
        offset = self.stability_score_offset
        small, large = (((logits > cut) & inside).sum((-2, -1), dtype=jnp.float32) for cut in (offset, -offset))
        mask = (logits > 0) & inside
        ends = [
            _ends(mask.any(axis), limit[:, None, None]) for axis, limit in ((-2, content[:, 1]), (-1, content[:, 0]))
        ]
        box = jnp.stack([ends[0][0], ends[1][0], ends[0][1], ends[1][1]], -1)
        box = jnp.where(mask.any((-2, -1))[..., None], box, 0.0)
        return {"stability": small / jnp.maximum(large, 1.0), "box": box}


def _ends(line: jax.Array, limit: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Where the first cell of lines [..., S] that is set begins and the last one ends, as shares of
    ``limit``.
    """
    first, last = jnp.argmax(line, -1), line.shape[-1] - jnp.argmax(line[..., ::-1], -1)
    return first.astype(jnp.float32) / limit, jnp.minimum(last.astype(jnp.float32) / limit, 1.0)
