"""SAM as a segmenter, and MedSAM, which is its ViT-B trained on medical pictures."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp

from gsam import bind
from gsam.nn.prompted import Prompted
from gsam.nn.sam import ONE, THREE
from gsam.ops.masks import filled
from gsam.ops.views import SAM_MEAN, SAM_STD, inside, normalise
from gsam.segment.sam.config import VARIANTS as VARIANTS
from gsam.segment.sam.config import Config
from gsam.segment.sam.model import Sam
from gsam.types import Images, Params, View


@dataclasses.dataclass(frozen=True, eq=False)
class Stage(Prompted):
    """Token 0 answers ``multimask=False``, tokens 1 to 3 ``multimask=True``, as in the original."""

    config: Config

    @property
    def view(self) -> View:
        return view(self.config)

    def features(self, params: Params, images: Images) -> jax.Array:
        """Image embeddings [B, h, w, C]."""
        dtype = params["image_encoder/pos_embed"].dtype
        return self.spec.bind(params).image_encoder(pixels(images, self.config, dtype))

    def decode(
        self, model: Sam, features: Any, points: jax.Array, labels: jax.Array, multimask: bool, **mask: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        return model.decode(features, points, labels, **mask, masks=THREE if multimask else ONE)

    def prior(self, xyxy: jax.Array) -> jax.Array | None:
        """nano's boxes bring their filled selves, [N, 4h, 4w]."""
        return box_prior(xyxy, self.config)


@dataclasses.dataclass(frozen=True, eq=False)
class MedSam(Stage):
    """SAM as bowang-lab/MedSAM trained and uses it (MedSAM_Inference.py): boxes only, and one mask a box, that of token 0.

    The picture is squashed to the model's square by a cubic spline, its range is stretched to 0..1 and not normalised
    further; probabilities are enlarged, not logits.
    """

    enlarge: ClassVar[Literal["probability"]] = "probability"
    takes: ClassVar[frozenset[str]] = frozenset({"box"})

    def decode(
        self, model: Sam, features: Any, points: jax.Array, labels: jax.Array, multimask: bool, **mask: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        return super().decode(model, features, points, labels, False, **mask)


def view(config: Config) -> View:
    """How SAM wants to see a picture: the longer side scaled to the model's, padded with zeros after normalisation.

    MedSAM: straight to the square.
    """
    if config.preprocess == "medsam":
        return View(config.image_size, "squash", "spline")
    return View(config.image_size, "longest", "bilinear", 0.0)


def pixels(images: Images, config: Config, dtype: Any) -> jax.Array:
    """The normalised input of the image encoder, [B, S, S, 3]."""
    seen = view(config)
    if config.preprocess == "medsam":
        x = images.view(seen).astype(jnp.float32)
        low, high = (reduce(x, (1, 2, 3), keepdims=True) for reduce in (jnp.min, jnp.max))
        return ((x - low) / jnp.maximum(high - low, 1e-8)).astype(dtype)
    x = normalise(images.view(seen), SAM_MEAN, SAM_STD, dtype)
    return jnp.where(inside(images, seen), x, jnp.zeros((), dtype))


def box_prior(xyxy: jax.Array, config: Config) -> jax.Array | None:
    """The mask prompt that boxes [N, 4] in pixels of the view bring along, [N, 4h, 4w]; None for the official models."""
    if config.box_prior <= 0:
        return None
    return config.box_prior * filled(xyxy, config.image_size, 4 * config.grid)


def spec(config: Config) -> bind.Spec[Sam]:
    """The model without its numbers."""
    return bind.spec(lambda: Sam(config))


def build(
    config: Config,
    params: Params,
    tokenizer: object = None,
    preprocess: Literal["sam", "medsam"] | None = None,
    **settings: Any,
) -> Stage:
    """A segmenter from parameters that fit ``config`` (`gsam.bind.MismatchError` if they do not).

    ``preprocess``: instead of ``config``'s, for a checkpoint fine-tuned by MedSAM's code, which looks like any SAM.
    """
    if preprocess not in (None, "sam", "medsam"):
        raise ValueError(f"preprocess must be 'sam' or 'medsam', is {preprocess!r}")
    config = dataclasses.replace(config, preprocess=preprocess or config.preprocess)
    model = spec(config)
    model.check(params)
    return (MedSam if config.preprocess == "medsam" else Stage)(config, model, params, **settings)
