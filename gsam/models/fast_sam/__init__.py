"""FastSAM as a segmenter, and as a grounder of everything in an image."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from gsam.models.fast_sam.blocks import Frame
from gsam.models.fast_sam.config import VARIANTS as VARIANTS
from gsam.models.fast_sam.config import Config
from gsam.models.fast_sam.detections import Detections, cropped, find, overlaps, spans
from gsam.models.fast_sam.model import FastSam, Seen
from gsam.models.fast_sam.port import LAYOUTS as LAYOUTS
from gsam.models.stage import ModelStage
from gsam.ops.top import in_chunks, take
from gsam.ops.views import rectangle
from gsam.types import Boxes, Images, Labels, Masks, Params, View


@dataclasses.dataclass(frozen=True, eq=False)
class FastSamSegmenter(ModelStage[FastSam]):
    """FastSAM as a `gsam.roles.Segmenter` and `gsam.roles.Grounder`.

    It detects everything, whatever the prompts; a prompt selects among the detections.

    Images are read as RGB, whatever holds them: the original takes arrays for BGR, so one that is
    RGB has its channels swapped there.  Where the original pads a batch of different shapes to
    squares, here every image keeps the rectangle that it would have alone.

    Prompts that need the image's own pixels, and thresholds that vary from call to call:
    `gsam.FastSAM`.
    """

    config: Config
    conf: float = 0.25
    """Lowest score of a detection.  The original's demo has 0.4."""
    iou: float = 0.7
    """IoU above which only the better box stays.  The original's demo has 0.9."""
    most: int = 300
    """Most detections per image."""
    size: int = 0
    """Longer side of the scaled images, a multiple of 32; 0 for the model's own, 1024."""
    chunk: int = 16
    """Boxes compared with the detections at a time: bounds the memory, changes no result."""

    module: ClassVar[type[FastSam]] = FastSam
    upsample: ClassVar[str] = "bilinear"

    def __post_init__(self) -> None:
        if self.size % 32 or self.size < 0:
            raise ValueError(f"size is {self.size}, it must be a multiple of 32")

    @property
    def view(self) -> View:
        return View(self.size or self.config.image_size, "letterbox", "bilinear", 114.0)

    def see(self, params: Params, images: Images) -> Seen:
        """Run the network.  Pure."""
        frame = rectangle(images, self.view)
        pixels = images.view(self.view)
        dtype = params["model/0/conv/kernel"].dtype
        x = (pixels.astype(jnp.float32) / 255.0).astype(dtype)
        return self.spec.bind(params)(x, Frame(frame[:, 0], frame[:, 1], (x.shape[1], x.shape[2])))

    def everything(
        self,
        params: Params,
        images: Images,
        conf: jax.Array | float | None = None,
        iou: jax.Array | float | None = None,
        n: int | None = None,
    ) -> Detections:
        """Detect the ``n`` best objects of each image.  Pure.

        Args:
            params: The model's parameters.
            images: The images.
            conf: Lowest score; None for the stage's.
            iou: IoU above which only the better box stays; None for the stage's.
            n: Most detections per image; None for the stage's.
        """
        least, overlap = self.conf if conf is None else conf, self.iou if iou is None else iou
        seen, n = self.see(params, images), self.most if n is None else n
        return find(seen, images, self.view, jnp.float32(least), jnp.float32(overlap), n)

    def features(self, params: Params, images: Images) -> Detections:
        """Detect everything, with the prototypes that its masks are made of.  Pure."""
        return self.everything(params, images)

    def segment(self, params: Params, features: Detections, images: Images, boxes: Boxes) -> Masks:
        """Select per box the detection that overlaps it best, the original's ``box_prompt``.  Pure.

        Overlap is measured in cells of four pixels of the view, where the original counts pixels of
        the image; a box that no mask touches has no mask, where the original gives the first.  The
        score is the detection's.
        """
        logits = features.logits(features.coefficients)
        rows, columns = spans(features.xyxy, features, images.size, logits.shape[-2:])
        inside = (rows >= 0.5)[..., :, None] & (columns >= 0.5)[..., None, :]
        masks = (inside & (logits > 0) & features.valid[..., None, None]).astype(jnp.float32)  # [B, M, h, w]

        def work(xyxy: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
            overlap = overlaps(masks, xyxy, features, images.size)
            row, some = overlap.argmax(-1), overlap.max(-1) > 0
            own = take(features.xyxy, row)
            mask = cropped(features.logits(take(features.coefficients, row)), own, features, images.size)
            mask = jnp.where(some[..., None, None], mask, 0.0)
            return mask, jnp.where(some, take(features.score, row), 0.0), own, row

        found, score, own, _ = in_chunks(work, boxes.xyxy, boxes.valid, self.chunk)
        return Masks(found, score, _each(features.cells, boxes.valid), own)

    def ground(
        self, params: Params, images: Images, text: object, valid: jax.Array, n: int, features: Detections | None = None
    ) -> tuple[Boxes, Labels, Masks]:
        """Return the ``n`` best detections of each image, all labelled with the first query.  Pure.

        Their score is the detection's for every query, so that a classifier after it decides.
        """
        found = self.features(params, images) if features is None else features
        rows = jnp.broadcast_to(jnp.minimum(jnp.arange(n), found.valid.shape[1] - 1), (found.valid.shape[0], n))
        here = take(found.valid, rows) & (jnp.arange(n) < found.valid.shape[1])
        xyxy, score = take(found.xyxy, rows), jnp.where(here, take(found.score, rows), 0.0)
        masks = cropped(found.logits(take(found.coefficients, rows)), xyxy, found, images.size)
        scores = jnp.where(valid[:, None], score[..., None], 0.0)  # [B, N, C]
        labels = Labels(jnp.zeros(score.shape, jnp.int32), score, scores)
        return Boxes(xyxy, here), labels, Masks(masks, score, _each(found.cells, here), xyxy)


def _each(cells: jax.Array, valid: jax.Array) -> jax.Array:
    """Repeat [B, 2] for each row of ``valid`` [B, N]: [B, N, 2] float32."""
    return jnp.broadcast_to(cells[:, None].astype(jnp.float32), (*valid.shape, 2))


spec, build = FastSamSegmenter.spec_of, FastSamSegmenter.from_params
