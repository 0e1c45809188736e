"""Grounding DINO as a detector."""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
from jax import lax

from gsam.models.grounding_dino.config import VARIANTS as VARIANTS
from gsam.models.grounding_dino.config import Config
from gsam.models.grounding_dino.enhancer import Phrases, Picture
from gsam.models.grounding_dino.model import GroundingDino
from gsam.models.grounding_dino.port import LAYOUTS as LAYOUTS
from gsam.models.stage import TextStage
from gsam.ops.boxes import area, cxcywh_to_xyxy
from gsam.ops.top import top
from gsam.ops.views import inside, normalise
from gsam.text.captions import CaptionPacker
from gsam.text.packed import Captions, EncodedPhrases, PhraseTokens
from gsam.types import Boxes, Images, Labels, Params, View


@dataclasses.dataclass(frozen=True, eq=False)
class GroundingDinoDetector(TextStage[GroundingDino]):
    """A `gsam.roles.Detector` by Grounding DINO.

    All queries are read as one caption of phrases.  A box scores for a query what the query's own
    words score, so that every box carries one of the queries; punctuation and neighbours never make
    a label. Captions longer than the model reads are read one after the other, on an image encoded
    once.
    """

    config: Config
    span: Literal["mean", "max"] = "mean"
    """Combination of the scores of a query's words.

    The mean tells "red apple" from "green apple", the maximum does not.
    """
    labels: Literal["queries", "phrases"] = "queries"
    """Source of the labels.

    ``"phrases"``: as in the original's demo, a box scores its best token, and its label is decoded
    from the tokens that fire.
    """
    template: str = "{}"
    """Text around a query, as ``"a {}"``."""

    module: ClassVar[type[GroundingDino]] = GroundingDino

    @property
    def view(self) -> View:
        return view(self.config)

    @property
    def text(self) -> CaptionPacker:
        """Processor that packs queries into captions of phrases."""
        config = self.config
        longest = min(config.tokens, config.bert.positions)
        return CaptionPacker(self.tokenizer, config.tokens, longest, self.template, self.labels)

    def embed(self, params: Params, tokens: PhraseTokens[jax.Array]) -> EncodedPhrases[jax.Array]:
        """Add BERT's features to the tokens.  Pure."""
        block = tokens.block
        sees = (block[:, :, None] == block[:, None, :]) & (block > 0)[:, :, None] | jnp.eye(block.shape[1], dtype=bool)
        return EncodedPhrases(*tokens, self.spec.bind(params).text(tokens.ids, tokens.position, sees))

    def features(self, params: Params, images: Images) -> Picture:
        """Encode images up to where they meet the text.  Pure."""
        return self.encoded(self.spec.bind(params), images)

    def encoded(self, model: GroundingDino, images: Images) -> Picture:
        """Encode images as `features` does, by a model whose parameters are bound.  Pure."""
        dtype = model.feat_map.kernel[...].dtype
        return model.picture(pixels(images, self.config, dtype), images.content[self.view.key])

    def detect(
        self,
        params: Params,
        images: Images,
        text: Captions[jax.Array],
        valid: jax.Array,
        n: int,
        features: Picture | None = None,
    ) -> tuple[Boxes, Labels]:
        """Detect the ``n`` boxes that score best for any query, of all captions.  Pure.

        Args:
            params: The model's parameters.
            images: The images.
            text: Captions of each image, [B, K, T, ...].
            valid: [B, C] bool: which queries are real.
            n: Number of boxes per image.
            features: The result of `features`, if it is known.
        """
        model = self.spec.bind(params)
        picture = self.features(params, images) if features is None else features
        b, count = text.ids.shape[:2]
        queries = min(self.config.queries, picture.tokens.shape[1])

        def read(part: Captions[jax.Array]) -> tuple[jax.Array, jax.Array]:
            phrases = Phrases(part.features.astype(picture.tokens.dtype), part.block, part.position)
            logits, boxes = model(picture, phrases)
            return jax.nn.sigmoid(logits), boxes

        def nothing(part: Captions[jax.Array]) -> tuple[jax.Array, jax.Array]:
            length = part.ids.shape[1]
            return jnp.zeros((b, queries, length), jnp.float32), jnp.zeros((b, queries, 4), jnp.float32)

        if count == 1:
            found = jax.tree.map(lambda x: x[None], read(jax.tree.map(lambda x: x[:, 0], text)))
        else:
            parts = jax.tree.map(lambda x: x.swapaxes(0, 1), text)
            found = lax.map(lambda part: lax.cond((part.block > 0).any(), read, nothing, part), parts)
        tokens, boxes = found
        return self.rank(tokens, boxes, images, text.query, valid, n)

    def rank(
        self, tokens: jax.Array, boxes: jax.Array, images: Images, query: jax.Array, valid: jax.Array, n: int
    ) -> tuple[Boxes, Labels]:
        """Take the ``n`` boxes of all captions that score best for any query.  Pure.

        Args:
            tokens: [K, B, Q, T] scores of each box's tokens, of K captions.
            boxes: [K, B, Q, 4] centre and size in 0..1.
            images: The images, of which the sizes are read.
            query: [B, K, T]: 1 + the query that a token is a word of, or 0.
            valid: [B, C] bool: which queries are real.
            n: Number of boxes per image.
        """
        count, b, queries = tokens.shape[:3]
        scores = jax.vmap(lambda t, q: self.scores(t, q, valid), in_axes=(0, 1))(tokens, query)
        best = tokens.max(-1) if self.labels == "phrases" else scores.max(-1)

        def side_by_side(x: jax.Array) -> jax.Array:  # [captions, B, Q, ...] -> [B, captions * Q, ...]
            return x.swapaxes(0, 1).reshape(b, count * queries, *x.shape[3:])

        size = jnp.tile(images.size[:, None, ::-1].astype(jnp.float32), (1, 1, 2))
        xyxy = jnp.clip(cxcywh_to_xyxy(side_by_side(boxes)) * size, 0.0, size)
        rows = {
            "xyxy": xyxy,
            "scores": side_by_side(scores),
            "tokens": side_by_side(tokens),
            "caption": jnp.broadcast_to(jnp.arange(count * queries) // queries, (b, count * queries)),
        }
        best, rows = top(side_by_side(best), n, rows)
        own = rows["caption"][..., None, None] == jnp.arange(count)[:, None]  # each box is of one caption
        words = jnp.where(own, rows["tokens"][:, :, None], 0.0)  # [B, n, captions, T]
        real = jnp.isfinite(best) & (area(rows["xyxy"]) > 0) & jnp.isfinite(rows["xyxy"]).all(-1)
        score = jnp.where(real, best, 0.0)
        index = rows["scores"].argmax(-1).astype(jnp.int32)
        return Boxes(rows["xyxy"], real), Labels(index, score, rows["scores"], words)

    def scores(self, tokens: jax.Array, query: jax.Array, valid: jax.Array) -> jax.Array:
        """Combine the scores of tokens into scores of queries.

        Args:
            tokens: [B, Q, T] scores of each box's tokens.
            query: [B, T]: 1 + the index of each token's query, or 0.
            valid: [B, C] bool.

        Returns:
            [B, Q, C].
        """
        own = query[:, :, None] == 1 + jnp.arange(valid.shape[1])  # [B, T, C]
        if self.span == "mean":
            share = own.astype(jnp.float32) / jnp.maximum(own.sum(1, keepdims=True), 1).astype(jnp.float32)
            return jnp.einsum("bqt,btc->bqc", tokens, share, precision=lax.Precision.HIGHEST)

        def best(row: jax.Array, words: jax.Array) -> jax.Array:  # [Q, T] -> [C, Q]
            return jax.ops.segment_max(row.T, words, valid.shape[1] + 1)[1:]

        found = jax.vmap(best)(tokens, query).swapaxes(1, 2)
        return jnp.where(own.any(1)[:, None], found, 0.0)


def view(config: Config) -> View:
    """Grounding DINO's view of an image."""
    return View(config.size, "shortest", "bilinear", 0.0, config.limit)


def pixels(images: Images, config: Config, dtype: jnp.dtype) -> jax.Array:
    """Normalise the view to the model's input [B, H, W, 3], zero outside of the images."""
    seen = view(config)
    x = normalise(images.view(seen).astype(jnp.float32) / 255.0, config.mean, config.std, dtype)
    return jnp.where(inside(images, seen), x, jnp.zeros((), dtype))


spec, build = GroundingDinoDetector.spec_of, GroundingDinoDetector.from_params
