"""SigLIP as a classifier of regions."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np

from gsam import bind
from gsam.models.siglip.config import VARIANTS as VARIANTS
from gsam.models.siglip.config import Config
from gsam.models.siglip.model import Siglip
from gsam.models.siglip.port import LAYOUTS as LAYOUTS
from gsam.ops.regions import Regions, average, cut, regions, reweigh, similarity
from gsam.ops.top import in_chunks
from gsam.ops.views import normalise
from gsam.text.sentences import Marked, Tokenizer
from gsam.text.sentences import canonical as canonical
from gsam.text.sentences import finished as finished
from gsam.text.templates import Template, templates
from gsam.types import Params, Scene, View

MEAN = STD = (0.5, 0.5, 0.5)


@dataclasses.dataclass(frozen=True, eq=False)
class SiglipClassifier:
    """See `gsam.roles.Classifier`.

    Each box is cut out with some context and squashed to a square.  Unlike CLIP's, a query's probability does not depend on
    what else is asked: it is the sigmoid of its own logit.  The final score of a query is the detector's and the
    classifier's, weighted geometrically; the label is the best.  What ``thresholds.reject`` is compared with is not that
    score but the classifier's own probability of the label: a box that stays below is dropped, and so is one that a negative
    fits better than its label.

    Crops are resampled as Pillow's bilinear.  The original (big_vision) does the same without anti-aliasing, which is equal
    where a crop is enlarged; Hugging Face has bicubic for SigLIP, bilinear for SigLIP 2.
    """

    config: Config
    spec: bind.Spec[Siglip]
    params: Params
    tokenizer: Tokenizer | None = None
    template: Template = "This is a photo of {}."
    """The sentence around a query; several, whose embeddings are averaged; or ``"ensemble"`` (`gsam.text.templates`)."""
    negatives: tuple[str, ...] = ()
    """What else a box may turn out to be.  One that shares all its words with a query, or has them all, is left out."""
    weight: float = 0.5
    """How much the classifier counts against the detector in the score, 0..1; it rejects whatever the weight."""
    context: float = 0.15
    """What a crop shows around its box, as a part of the box's width and height on each side."""
    background: float = 1.0
    """How much of the picture a crop shows outside the object's mask, where there is one: 0 is none (grey)."""
    canvas: View | None = None
    """Which view crops are cut from; by default the picture at 1024 pixels at most."""
    chunk: int = 16

    whole: ClassVar[Literal["middle", "squash"]] = "squash"
    """How a picture becomes a square for `compare`."""

    @property
    def view(self) -> View:
        return self.canvas or View(1024, "at_most", "bilinear", 0.0)

    @property
    def reading(self) -> Marked:
        """What is done with text on the host."""
        config = self.config
        return Marked(self.tokenizer, config.context, self.template, self.negatives, config.version, config.pad)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Token ids of each text in each of the K templates, [C, K, T]."""
        return self.reading.encode(texts)

    def embed(self, params: Params, tokens: jax.Array) -> jax.Array:
        """Token ids [C, K, T] -> unit vectors [C, D]."""
        return average(self.spec.bind(params).text, tokens)

    def arrange(self, queries: Sequence[str], embedded: Callable[[Sequence[str]], Any]) -> dict[str, Any]:
        """Unit vectors of the queries [C, D] and of the negatives [K, D], and which negatives may be used [K]."""
        return self.reading.arrange(queries, embedded)

    def classify(self, params: Params, scene: Scene, text: dict[str, jax.Array], valid: jax.Array) -> Scene:
        """Re-score and re-label every box, and reject what the classifier does not believe in.

        ``text`` is what `arrange` gave, with a leading axis B; ``valid`` [B, C].
        """
        model = self.spec.bind(params)
        dtype = params["vision_model/head/mlp/fc2/kernel"].dtype
        canvas = scene.images.view(self.view)
        against = jnp.concatenate([text["queries"], text["negatives"]], 1)  # [B, C + K, D]
        usable = jnp.concatenate([valid, text["allowed"]], 1)[:, None]

        def work(some: Regions) -> jax.Array:
            pixels = cut(canvas, some, self.config.image_size, "bilinear", MEAN, STD, self.background, dtype)
            seen = model.image(pixels.reshape(-1, *pixels.shape[2:])).reshape(*pixels.shape[:2], -1)
            return jnp.where(usable, jax.nn.sigmoid(model.logits(similarity(seen, against))), 0.0)

        where = regions(scene, self.view, self.context, masked=self.background < 1.0)
        probability = in_chunks(work, where, scene.boxes.valid, self.chunk)  # [B, N, C + K]
        own, others = jnp.split(probability, [valid.shape[1]], -1)
        labels = reweigh(scene.labels, own, valid, self.weight)
        believed = jnp.take_along_axis(own, labels.index[..., None], -1)[..., 0]
        keep = scene.boxes.valid & (believed >= scene.thresholds.reject) & (believed >= others.max(-1, initial=0.0))
        return dataclasses.replace(scene, boxes=dataclasses.replace(scene.boxes, valid=keep), labels=labels)

    def compare(self, params: Params, pixels: jax.Array, text: jax.Array) -> jax.Array:
        """Whole pictures [N, S, S, 3] uint8 with `embed`'s vectors [C, D]: logits [N, C], of a sigmoid."""
        model = self.spec.bind(params)
        dtype = params["vision_model/head/mlp/fc2/kernel"].dtype
        seen = model.image(normalise(pixels.astype(jnp.float32) / 255.0, MEAN, STD, dtype))
        return model.logits(similarity(seen[None], text[None])[0])


def spec(config: Config) -> bind.Spec[Siglip]:
    """The model without its numbers."""
    return bind.spec(lambda: Siglip(config))


def build(config: Config, params: Params, tokenizer: Tokenizer | None = None, **settings: Any) -> SiglipClassifier:
    """A classifier from parameters that fit ``config`` (`gsam.bind.MismatchError` if they do not)."""
    model = spec(config)
    model.check(params)
    templates(settings.get("template", "{}"))
    return SiglipClassifier(config, model, params, tokenizer, **settings)
