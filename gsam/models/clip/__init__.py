"""CLIP as a classifier of regions."""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp

from gsam.models.clip.config import VARIANTS as VARIANTS
from gsam.models.clip.config import Config
from gsam.models.clip.model import Clip
from gsam.models.clip.port import LAYOUTS as LAYOUTS
from gsam.models.region_classifier import RegionClassifier
from gsam.ops.views import CLIP_MEAN, CLIP_STD
from gsam.text.sentences import Sentences
from gsam.types import Labels


@dataclasses.dataclass(frozen=True, eq=False)
class ClipClassifier(RegionClassifier):
    """CLIP as a classifier, see `gsam.models.region_classifier.RegionClassifier`.

    The softmax over all queries and negatives is the probability of a query.  A box is dropped
    whose final score of the label is below ``thresholds.reject``: the softmax alone means little.
    """

    config: Config

    module: ClassVar[type[Clip]] = Clip
    crop: ClassVar[Literal["center", "stretch"]] = "center"
    resampling: ClassVar[Literal["bilinear", "bicubic"]] = "bicubic"
    mean: ClassVar[tuple[float, float, float]] = CLIP_MEAN
    std: ClassVar[tuple[float, float, float]] = CLIP_STD
    last: ClassVar[str] = "visual_projection/kernel"
    head: ClassVar[str] = r"vision_model/post_layernorm/.*|(visual|text)_projection/kernel|logit_scale"
    exclusive: ClassVar[bool] = True

    @property
    def text(self) -> Sentences:
        """Processor of sentences of CLIP's tokens."""
        return Sentences(self.tokenizer, self.config.context, self.template, self.negatives)

    def probabilities(self, logits: jax.Array, usable: jax.Array) -> jax.Array:
        """Softmax of the logits."""
        return jax.nn.softmax(jnp.where(usable, logits, -jnp.inf), -1)

    def accepts(self, labels: Labels, own: jax.Array, others: jax.Array, reject: jax.Array) -> jax.Array:
        """Accept boxes whose final score is not below ``reject``."""
        return labels.score >= reject


spec, build = ClipClassifier.spec_of, ClipClassifier.from_params
