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
    """See `gsam.models.region_classifier.RegionClassifier`.

    The softmax over all queries and negatives is the probability of a query.  What ``thresholds.reject`` is compared with is the
    final score of the label, since a softmax means little alone: a box that stays below is dropped.
    """

    config: Config

    module: ClassVar[type[Clip]] = Clip
    crop: ClassVar[Literal["center", "stretch"]] = "center"
    resampling: ClassVar[Literal["bilinear", "bicubic"]] = "bicubic"
    mean: ClassVar[tuple[float, float, float]] = CLIP_MEAN
    std: ClassVar[tuple[float, float, float]] = CLIP_STD
    last: ClassVar[str] = "visual_projection/kernel"

    @property
    def text(self) -> Sentences:
        """Sentences of CLIP's tokens."""
        return Sentences(self.tokenizer, self.config.context, self.template, self.negatives)

    def probabilities(self, logits: jax.Array, usable: jax.Array) -> jax.Array:
        """Their softmax."""
        return jax.nn.softmax(jnp.where(usable, logits, -jnp.inf), -1)

    def accepts(self, labels: Labels, own: jax.Array, others: jax.Array, reject: jax.Array) -> jax.Array:
        """Boxes whose final score is not below ``reject``."""
        return labels.score >= reject


spec, build = ClipClassifier.spec_of, ClipClassifier.from_params
