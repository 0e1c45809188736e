"""SAM as a segmenter, and MedSAM, which is its ViT-B trained on medical images."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, Literal, Self, cast

import jax
import jax.numpy as jnp

from gsam.models.sam.config import VARIANTS as VARIANTS
from gsam.models.sam.config import Config
from gsam.models.sam.model import Sam
from gsam.models.sam.port import LAYOUTS as LAYOUTS
from gsam.models.sam_like import SamLikeSegmenter, dtype_of
from gsam.ops.masks import filled
from gsam.text.tokenizer import Tokenizer
from gsam.types import Images, Params, PyTree, View


@dataclasses.dataclass(frozen=True, eq=False)
class SamSegmenter(SamLikeSegmenter):
    """SAM, see `gsam.models.sam_like.SamLikeSegmenter`."""

    config: Config

    module: ClassVar[type[Sam]] = Sam

    @classmethod
    def from_params(
        cls,
        config: Config,
        params: Params,
        tokenizer: Tokenizer | None = None,
        preprocess: Literal["sam", "medsam"] | None = None,
        **settings: Any,
    ) -> Self:
        """Make a stage as `gsam.models.stage.ModelStage.from_params` does.

        It is a `MedSamSegmenter` where images are prepared as MedSAM's.

        Args:
            config: The model's sizes.
            params: Flat parameters, which must fit ``config``.
            tokenizer: Not used.
            preprocess: Replaces ``config.preprocess``, for a checkpoint fine-tuned by MedSAM's
                code, which looks like any SAM.
            **settings: Fields of the stage.

        Raises:
            ValueError: ``preprocess`` is none of the two.
        """
        if preprocess not in (None, "sam", "medsam"):
            raise ValueError(f"preprocess must be 'sam' or 'medsam', is {preprocess!r}")
        config = dataclasses.replace(config, preprocess=preprocess or config.preprocess)
        kind: Any = MedSamSegmenter if config.preprocess == "medsam" else cls
        return cast(Self, super(SamSegmenter, kind).from_params(config, params, **settings))

    def box_mask_prompt(self, xyxy: jax.Array) -> jax.Array | None:
        """Mask prompt [N, 4h, 4w] that nano's boxes bring along; None for the official models."""
        return box_mask_prompt(xyxy, self.config)


@dataclasses.dataclass(frozen=True, eq=False)
class MedSamSegmenter(SamSegmenter):
    """SAM as bowang-lab/MedSAM trained and uses it (MedSAM_Inference.py).

    It takes boxes only, with one mask per box, that of token 0.  The image is squashed to the
    model's square by a cubic spline, its range is stretched to 0..1 and not normalised further;
    probabilities are enlarged, not logits.
    """

    upsample: ClassVar[Literal["probability"]] = "probability"
    prompt_types: ClassVar[frozenset[str]] = frozenset({"box"})

    @property
    def view(self) -> View:
        """MedSAM's view of an image, squashed to the square."""
        return View(self.config.image_size, "squash", "spline")

    def pixels(self, params: Params, images: Images) -> jax.Array:
        """Stretch the whole view's range to 0..1, [B, S, S, 3]."""
        x = images.view(self.view).astype(jnp.float32)
        low, high = (reduce(x, (1, 2, 3), keepdims=True) for reduce in (jnp.min, jnp.max))
        return ((x - low) / jnp.maximum(high - low, 1e-8)).astype(dtype_of(params))

    def decode(
        self, model: Sam, features: jax.Array, points: jax.Array, labels: jax.Array, multimask: bool, **mask: PyTree
    ) -> tuple[jax.Array, jax.Array]:
        return super().decode(model, features, points, labels, False, **mask)


def box_mask_prompt(xyxy: jax.Array, config: Config) -> jax.Array | None:
    """Mask prompt [N, 4h, 4w] that boxes bring along; None for the official models.

    Args:
        xyxy: [N, 4] in pixels of the view.
        config: The model's sizes.
    """
    if config.box_mask_prompt <= 0:
        return None
    return config.box_mask_prompt * filled(xyxy, config.image_size, 4 * config.grid)


spec, build = SamSegmenter.spec_of, SamSegmenter.from_params
