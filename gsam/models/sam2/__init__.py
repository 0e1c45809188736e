"""SAM 2, SAM 2.1 and HQ-SAM 2 as segmenters of images."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp

from gsam.models.promptable import PromptableSegmenter
from gsam.models.sam2.config import VARIANTS as VARIANTS
from gsam.models.sam2.config import Config as Config
from gsam.models.sam2.model import Answer as Answer
from gsam.models.sam2.model import Features as Features
from gsam.models.sam2.model import Sam2Image
from gsam.models.sam2.port import LAYOUTS as LAYOUTS
from gsam.nn.two_way import Projected
from gsam.ops.components import cleaned
from gsam.ops.views import IMAGENET_MEAN as IMAGENET_MEAN
from gsam.ops.views import IMAGENET_STD as IMAGENET_STD
from gsam.ops.views import normalise
from gsam.types import Images, Params, PyTree, View


@dataclasses.dataclass(frozen=True, eq=False)
class Sam2Segmenter(PromptableSegmenter):
    """SAM 2 as in the original's image predictor.

    Token 0 answers ``multimask=False``, tokens 1 to 3 answer ``multimask=True``.  The score of the
    object's presence is ignored.
    """

    config: Config
    dynamic_multimask: bool = True
    """Replace an unstable single mask by the best of three.

    ``dynamic_multimask_via_stability`` in the original.
    """

    hq_token_only: bool = False
    """Return HQ-SAM 2's finer mask alone.

    There is one: with ``multimask_output=True`` it comes three times, as in the original, beside
    the three quality scores of SAM 2's own masks.
    """
    max_hole_area: float = 0.0
    """Largest hole that becomes mask, in pixels of the low-resolution mask."""
    max_sprinkle_area: float = 0.0
    """Largest component that becomes background, in the same pixels."""

    module: ClassVar[type[Sam2Image]] = Sam2Image
    upsample: ClassVar[Literal["bilinear"]] = "bilinear"
    pads_boxes: ClassVar[bool] = True
    logit_clip: ClassVar[float] = 32.0
    default_iou_thresh: ClassVar[float] = 0.8

    def __post_init__(self) -> None:
        if self.hq_token_only and not self.config.hq:
            raise ValueError("hq_token_only is for HQ-SAM 2: this model has no such token")

    @property
    def view(self) -> View:
        return view(self.config)

    def features(self, params: Params, images: Images) -> Features:
        """Encode images as `gsam.models.sam2.decoder.Features` [B, ...].  Pure."""
        model = self.spec.bind(params)
        return model.without_memory(model.encode(pixels(images, self.config, params)))

    def project(self, params: Params, features: Features) -> Projected:
        """Project image embeddings for the decoder's first layer, [B, ...].  Pure."""
        return jax.vmap(self.spec.bind(params).project)(features.embedding)

    def decode(
        self,
        model: Any,
        features: Features,
        points: jax.Array,
        labels: jax.Array,
        multimask: bool,
        **mask: PyTree,
    ) -> tuple[jax.Array, jax.Array]:
        how = {
            "multimask": multimask,
            "dynamic": bool(self.dynamic_multimask),
            "hq_token_only": bool(self.hq_token_only),
        }
        answer = model.decode(features, points, labels, **mask, **how)
        return answer.logits, answer.iou

    @property
    def has_postprocess(self) -> bool:
        return self.max_hole_area > 0 or self.max_sprinkle_area > 0

    def postprocess(self, logits: jax.Array, threshold: float = 0.0) -> jax.Array:
        """Fill holes and drop sprinkles: `gsam.ops.components.cleaned`.

        The original does it in a CUDA extension, and without one not at all.
        """
        return cleaned(logits, threshold, self.max_hole_area, self.max_sprinkle_area)


def view(config: Config) -> View:
    """SAM 2's view of an image: squashed to the model's square."""
    return View(config.image_size, "squash", "antialias")


def pixels(images: Images, config: Config, params: Params) -> jax.Array:
    """Normalise the view [B, S, S, 3], in the dtype of the parameters."""
    x = images.view(view(config)).astype(jnp.float32) / 255.0
    return normalise(x, IMAGENET_MEAN, IMAGENET_STD, params["no_mem_embed"].dtype)


spec, build = Sam2Segmenter.spec_of, Sam2Segmenter.from_params
