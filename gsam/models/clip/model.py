"""CLIP: images and sentences in one space (Radford et al. 2021; original: openai/CLIP).

Attributes have the names of the Hugging Face layout.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from gsam.bind import param
from gsam.models.clip.config import Config
from gsam.nn.layers import Linear
from gsam.nn.tower import TextTower, VisionTower, normalise


class Clip(nnx.Module):
    """Two towers with projections into one space."""

    def __init__(self, config: Config) -> None:
        self.vision_model = VisionTower(config.vision, config.image_size, config.patch)
        self.text_model = TextTower(config.text, config.vocab, config.context, config.end)
        self.visual_projection = Linear(config.vision.width, config.projection, bias=False)
        self.text_projection = Linear(config.text.width, config.projection, bias=False)
        self.logit_scale = param()

    def image(self, pixels: jax.Array) -> jax.Array:
        """Embed normalised pixels [B, S, S, 3] as unit vectors [B, P]."""
        return self.image_head(self.image_trunk(pixels))

    def image_trunk(self, pixels: jax.Array) -> jax.Array:
        """Encode normalised pixels [B, S, S, 3] as the class token [B, D] that the head reads."""
        return self.vision_model(pixels)[:, 0]

    def image_head(self, first: jax.Array) -> jax.Array:
        """Turn class tokens [B, D] into unit vectors [B, P]."""
        return normalise(self.visual_projection(self.vision_model.post_layernorm(first)))

    def text(self, ids: jax.Array) -> jax.Array:
        """Embed token ids [C, T] as unit vectors [C, P]."""
        return self.text_head(self.text_trunk(ids))

    def text_trunk(self, ids: jax.Array) -> jax.Array:
        """Encode token ids [C, T] as the last token [C, D] that the head reads."""
        return self.text_model(ids)

    def text_head(self, last: jax.Array) -> jax.Array:
        """Turn last tokens [C, D] into unit vectors [C, P]."""
        return normalise(self.text_projection(last))

    def logits(self, cosine: jax.Array) -> jax.Array:
        """Scale cosines of images and texts to logits of a softmax over texts."""
        return jnp.exp(self.logit_scale[...].astype(jnp.float32)) * cosine
