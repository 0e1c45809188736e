"""OWL-ViT and OWLv2 as a detector."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from gsam.models.owl_vit.config import VARIANTS as VARIANTS
from gsam.models.owl_vit.config import Config
from gsam.models.owl_vit.model import OwlVit
from gsam.models.owl_vit.port import LAYOUTS as LAYOUTS
from gsam.models.stage import TextStage
from gsam.ops.boxes import area, cxcywh_to_xyxy
from gsam.ops.top import top
from gsam.ops.views import CLIP_MEAN, CLIP_STD, from_view, inside, normalise
from gsam.text.single_queries import SingleQueries
from gsam.types import Boxes, Images, Labels, Params, View


@dataclasses.dataclass(frozen=True, eq=False)
class OwlDetector(TextStage[OwlVit]):
    """A `gsam.roles.Detector` by OWL-ViT or OWLv2.

    The score of a box for a query is the sigmoid of its logit; a box takes its best query.  Images
    are padded to a square and scaled with anti-aliasing, as in Scenic and for both generations
    (Hugging Face squashes for OWL-ViT, and pads OWLv2 with black since 5.0).
    """

    config: Config
    template: str = "{}"
    """Text around a query before it is tokenised, for instance ``"a photo of a {}"``."""

    module: ClassVar[type[OwlVit]] = OwlVit

    @property
    def view(self) -> View:
        return view(self.config)

    @property
    def text(self) -> SingleQueries:
        """Processor of queries, one by one, in the template."""
        return SingleQueries(self.tokenizer, self.config.context, self.template)

    def embed(self, params: Params, tokens: jax.Array) -> jax.Array:
        """Embed token ids [C, T] as query embeddings [C, D].  Pure."""
        return self.spec.bind(params).text(tokens)

    def features(self, params: Params, images: Images) -> jax.Array:
        """Encode images as tokens [B, hw, D].  Pure."""
        dtype = params["class_head/dense0/kernel"].dtype
        return self.spec.bind(params).image(pixels(images, self.config, dtype))

    def detect(
        self,
        params: Params,
        images: Images,
        text: jax.Array,
        valid: jax.Array,
        n: int,
        features: jax.Array | None = None,
    ) -> tuple[Boxes, Labels]:
        """Detect the ``n`` boxes that score best for any valid query.  Pure.

        Args:
            params: The model's parameters.
            images: The images.
            text: Query embeddings [B, C, D].
            valid: [B, C] bool: which queries are real.
            n: Number of boxes per image.
            features: The result of `features`, if it is known.
        """
        model = self.spec.bind(params)
        tokens = self.features(params, images) if features is None else features
        logits = model.logits(tokens, text)
        scores = jnp.where(valid[:, None, :], jax.nn.sigmoid(logits), 0.0)  # [B, hw, C]
        xyxy = from_view(cxcywh_to_xyxy(model.boxes(tokens)) * self.config.image_size, images, self.view)
        best, rows = top(scores.max(-1), n, {"xyxy": xyxy, "scores": scores})
        real = jnp.isfinite(best) & (area(rows["xyxy"]) > 0) & jnp.isfinite(rows["xyxy"]).all(-1)
        index = rows["scores"].argmax(-1).astype(jnp.int32)
        return Boxes(rows["xyxy"], real), Labels(index, jnp.where(real, best, 0.0), rows["scores"])


def view(config: Config) -> View:
    """OWL's view of an image."""
    if config.letterbox:
        return View(config.image_size, "longest", "bilinear", config.pad)
    return View(config.image_size, "square", "gaussian", config.pad)


def pixels(images: Images, config: Config, dtype: jnp.dtype) -> jax.Array:
    """Normalise the view to the model's input [B, S, S, 3]."""
    seen = view(config)
    x = normalise(images.view(seen).astype(jnp.float32) / 255.0, CLIP_MEAN, CLIP_STD, dtype)
    return jnp.where(inside(images, seen), x, jnp.zeros((), dtype)) if config.letterbox else x


spec, build = OwlDetector.spec_of, OwlDetector.from_params
