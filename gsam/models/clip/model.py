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
        first = self.vision_model(pixels)[:, 0]
        return normalise(self.visual_projection(self.vision_model.post_layernorm(first)))

    def text(self, ids: jax.Array) -> jax.Array:
        """Embed token ids [C, T] as unit vectors [C, P]."""
        return normalise(self.text_projection(self.text_model(ids)))

    def logits(self, cosine: jax.Array) -> jax.Array:
        """Scale cosines of images and texts to logits of a softmax over texts."""
        return jnp.exp(self.logit_scale[...].astype(jnp.float32)) * cosine
