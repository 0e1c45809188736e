"""SigLIP as a classifier of regions."""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp

from gsam.models.region_classifier import RegionClassifier
from gsam.models.siglip.config import VARIANTS as VARIANTS
from gsam.models.siglip.config import Config
from gsam.models.siglip.model import Siglip
from gsam.models.siglip.port import LAYOUTS as LAYOUTS
from gsam.text.sentences import SigLipText
from gsam.text.templates import Template
from gsam.types import Labels


@dataclasses.dataclass(frozen=True, eq=False)
class SiglipClassifier(RegionClassifier):
    """SigLIP as a classifier, see `gsam.models.region_classifier.RegionClassifier`.

    Unlike CLIP's, a query's probability does not depend on the other queries: it is the sigmoid of
    its own logit.  It is not the final score but this probability of the label that
    ``thresholds.reject`` is compared with, whatever the weight: a box that stays below is dropped,
    and so is one that a negative fits better than its label.

    Crops are resampled as Pillow's bilinear.  The original (big_vision) does the same without
    anti-aliasing, which is equal where a crop is enlarged; Hugging Face has bicubic for SigLIP,
    bilinear for SigLIP 2.
    """

    config: Config
    template: Template = "This is a photo of {}."
    """See `RegionClassifier.template`."""

    module: ClassVar[type[Siglip]] = Siglip
    crop: ClassVar[Literal["center", "stretch"]] = "stretch"
    resampling: ClassVar[Literal["bilinear", "bicubic"]] = "bilinear"
    mean: ClassVar[tuple[float, float, float]] = (0.5, 0.5, 0.5)
    std: ClassVar[tuple[float, float, float]] = (0.5, 0.5, 0.5)
    last: ClassVar[str] = "vision_model/head/mlp/fc2/kernel"
    head: ClassVar[str] = r"vision_model/head/(layernorm|mlp)/.*|text_model/head/.*|logit_(scale|bias)"
    exclusive: ClassVar[bool] = False

    @property
    def text(self) -> SigLipText:
        """Processor of sentences of SigLIP's tokens."""
        config = self.config
        return SigLipText(self.tokenizer, config.context, self.template, self.negatives, config.version, config.pad)

    def probabilities(self, logits: jax.Array, usable: jax.Array) -> jax.Array:
        """Sigmoids of the logits."""
        return jnp.where(usable, jax.nn.sigmoid(logits), 0.0)

    def accepts(self, labels: Labels, own: jax.Array, others: jax.Array, reject: jax.Array) -> jax.Array:
        """Accept boxes whose label is not less probable than ``reject`` or a negative."""
        believed = jnp.take_along_axis(own, labels.index[..., None], -1)[..., 0]
        return (believed >= reject) & (believed >= others.max(-1, initial=0.0))


spec, build = SiglipClassifier.spec_of, SiglipClassifier.from_params
