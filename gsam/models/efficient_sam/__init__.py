"""EfficientSAM as a segmenter."""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp

from gsam.models.efficient_sam.config import POINTS, Config
from gsam.models.efficient_sam.config import VARIANTS as VARIANTS
from gsam.models.efficient_sam.model import EfficientSam
from gsam.models.efficient_sam.port import LAYOUTS as LAYOUTS
from gsam.models.promptable import PromptableSegmenter
from gsam.ops.views import IMAGENET_MEAN, IMAGENET_STD, normalise
from gsam.types import Images, Params, PyTree, View


@dataclasses.dataclass(frozen=True, eq=False)
class EfficientSamSegmenter(PromptableSegmenter):
    """EfficientSAM with three masks per prompt, always.

    ``multimask=False`` is the one of the highest predicted IoU, as in the original's examples.  It
    takes foreground points and boxes, of `max_points` together: more of them, which the original
    leaves out, give NaN.  A logit of exactly 0 is mask in the original's examples and background
    here.
    """

    config: Config

    module: ClassVar[type[EfficientSam]] = EfficientSam
    upsample: ClassVar[Literal["bicubic"]] = "bicubic"
    prompt_types: ClassVar[frozenset[str]] = frozenset({"foreground", "box"})
    max_points: ClassVar[int] = POINTS

    @property
    def view(self) -> View:
        return view(self.config)

    def features(self, params: Params, images: Images) -> jax.Array:
        """Encode images as embeddings [B, h, w, C].  Pure."""
        dtype = params["image_encoder/pos_embed"].dtype
        x = normalise(images.view(self.view).astype(jnp.float32) / 255.0, IMAGENET_MEAN, IMAGENET_STD, dtype)
        return self.spec.bind(params).image_encoder(x)

    def decode(
        self,
        model: EfficientSam,
        features: jax.Array,
        points: jax.Array,
        labels: jax.Array,
        multimask: bool,
        **mask: PyTree,
    ) -> tuple[jax.Array, jax.Array]:
        """Decode N prompts on one image, see `PromptableSegmenter.decode`.

        Raises:
            ValueError: There is a mask prompt.
        """
        if mask:
            raise ValueError("EfficientSAM takes points and boxes, no mask prompts")
        return model.decode(features, points, labels, best=not multimask)


def view(config: Config) -> View:
    """EfficientSAM's view of an image: squashed to the model's square."""
    return View(config.image_size, "squash", "linear")


spec, build = EfficientSamSegmenter.spec_of, EfficientSamSegmenter.from_params
