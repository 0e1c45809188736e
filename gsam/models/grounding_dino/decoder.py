"""Grounding DINO's decoder: queries attend to each other, text and image, and refine boxes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

from gsam.models.grounding_dino.attention import Attention, DeformableAttention, sine
from gsam.models.grounding_dino.config import Config
from gsam.models.grounding_dino.enhancer import Phrases, Picture
from gsam.nn.layers import LayerNorm, Linear, Mlp

EPS = 1e-3
"""Bound of the original's ``inverse_sigmoid``.

Hugging Face has 1e-5, which differs for boxes at the image's very edge.
"""


class DecoderLayer(nnx.Module):
    """Attention among queries, to the text and to the image, and a feed-forward part."""

    def __init__(self, config: Config) -> None:
        self.cross_attn = DeformableAttention(config.width, config.heads, config.levels, config.points)
        self.norm1 = LayerNorm(config.width)
        self.ca_text = Attention(config.width, config.heads)
        self.catext_norm = LayerNorm(config.width)
        self.self_attn = Attention(config.width, config.heads)
        self.norm2 = LayerNorm(config.width)
        self.linear1 = Linear(config.width, config.hidden)
        self.linear2 = Linear(config.hidden, config.width)
        self.norm3 = LayerNorm(config.width)
        self.points = config.points

    def __call__(
        self, x: jax.Array, place: jax.Array, alive: jax.Array, boxes: jax.Array, picture: Picture, text: Phrases
    ) -> jax.Array:
        """Transform queries.

        Args:
            x: [B, Q, D].
            place: [B, Q, D]: code of the boxes.
            alive: [B, Q] bool: queries that exist.
            boxes: [B, Q, 4] centre and size in 0..1 of the image.
            picture: The enhanced images.
            text: The enhanced captions.
        """
        query = x + place
        x = self.norm2(x + self.self_attn(query, query, x, alive[:, None]))
        x = self.catext_norm(x + self.ca_text(x + place, text.tokens, text.tokens, text.real[:, None]))
        scale = picture.sizes[:, None, :, ::-1].astype(jnp.float32)
        centre, reach = boxes[:, :, None, :2] * scale, boxes[:, :, None, 2:] * scale * (0.5 / self.points)
        x = self.norm1(x + self.cross_attn(x + place, picture.tokens, picture.real, picture.shapes, centre, reach))
        return self.norm3(x + self.linear2(jax.nn.relu(self.linear1(x))))


class Decoder(nnx.Module):
    """Decoder layers, each followed by a refinement of the boxes."""

    def __init__(self, config: Config) -> None:
        self.layers = nnx.List([DecoderLayer(config) for _ in range(config.decoder_layers)])
        self.norm = LayerNorm(config.width)
        self.ref_point_head = Mlp(2 * config.width, config.width, config.width, 2)

    def __call__(
        self, x: jax.Array, boxes: jax.Array, alive: jax.Array, picture: Picture, text: Phrases, heads: list[Mlp]
    ) -> tuple[jax.Array, jax.Array]:
        """Decode queries and refine their boxes.

        Args:
            x: Queries [B, Q, D].
            boxes: Their proposals [B, Q, 4], centre and size in 0..1.
            alive: [B, Q] bool: queries that exist.
            picture: The enhanced images.
            text: The enhanced captions.
            heads: The box head of each layer.

        Returns:
            Queries [B, Q, D] and boxes [B, Q, 4] float32.
        """
        *_, (x, before) = self.trace(x, boxes, alive, picture, text, heads)
        x = self.norm(x)
        return x, moved(before, heads[-1](x))

    def trace(
        self, x: jax.Array, boxes: jax.Array, alive: jax.Array, picture: Picture, text: Phrases, heads: list[Mlp]
    ) -> Iterator[tuple[jax.Array, jax.Array]]:
        """Run layer by layer; the arguments are those of a call.

        Yields:
            The queries after a layer, and the boxes before it; no gradient flows from one layer's
            boxes to the layers before.
        """
        for i, layer in enumerate(self.layers):
            if i:  # only the reported boxes are read from the normed output
                boxes = lax.stop_gradient(moved(boxes, heads[i - 1](x)))
            code = sine(2 * np.pi * boxes[..., [1, 0, 2, 3]], self.norm.scale[...].shape[0] // 2, 10000.0)
            place = self.ref_point_head(code.reshape(*code.shape[:2], -1)).astype(x.dtype)
            tokens, x = lax.optimization_barrier((picture.tokens, x))  # else all layers' values are made at once
            picture = dataclasses.replace(picture, tokens=tokens)
            x = layer(x, place, alive, boxes, picture, text)
            yield x, boxes


def moved(boxes: jax.Array, by: jax.Array) -> jax.Array:
    """Shift boxes in 0..1 by ``by`` before the sigmoid; float32."""
    return jax.nn.sigmoid(by.astype(jnp.float32) + inverse_sigmoid(boxes))


def inverse_sigmoid(x: jax.Array) -> jax.Array:
    """Logit of ``x``, bounded by `EPS`."""
    x = jnp.clip(x, 0.0, 1.0)
    return jnp.log(jnp.maximum(x, EPS) / jnp.maximum(1.0 - x, EPS))
