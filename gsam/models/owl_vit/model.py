"""OWL-ViT and OWLv2: open-vocabulary detection with one box per patch (Minderer et al. 2022, 2023).

Source: Scenic's ``projects/owl_vit`` (the original) and the Hugging Face layout for names.  Where
the two differ, this is Scenic: the merged class token is normalised with eps 1e-6 (Hugging Face:
1e-5), the heads use the tanh GELU (Hugging Face: erf).  ``erf`` selects the Hugging Face arithmetic
for comparison.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from gsam.models.owl_vit.config import Config
from gsam.nn.layers import LayerNorm, Linear
from gsam.nn.tower import TextTower, VisionTower, normalise


class Head(nnx.Module):
    """Three linear layers with GELU between them, for boxes and objectness."""

    def __init__(self, width: int, d_out: int, *, erf: bool) -> None:
        self.dense0 = Linear(width, width)
        self.dense1 = Linear(width, width)
        self.dense2 = Linear(width, d_out)
        self.erf = erf

    def __call__(self, x: jax.Array) -> jax.Array:
        x = jax.nn.gelu(self.dense0(x), approximate=not self.erf)
        x = jax.nn.gelu(self.dense1(x), approximate=not self.erf)
        return self.dense2(x)


class ClassHead(nnx.Module):
    """Cosine similarity of token and query, shifted and scaled by the token."""

    def __init__(self, width: int, d_query: int) -> None:
        self.dense0 = Linear(width, d_query)
        self.logit_shift = Linear(width, 1)
        self.logit_scale = Linear(width, 1)

    def embed(self, tokens: jax.Array) -> jax.Array:
        """Project tokens [..., D] to unit vectors in the space of the queries."""
        return normalise(self.dense0(tokens), 1e-6)

    def __call__(self, tokens: jax.Array, queries: jax.Array) -> jax.Array:
        cosine = self.embed(tokens) @ normalise(queries, 1e-6).swapaxes(-1, -2)
        return (cosine + self.logit_shift(tokens)) * (jax.nn.elu(self.logit_scale(tokens)) + 1)


class OwlVit(nnx.Module):
    """CLIP's towers with heads for classes, boxes and objectness."""

    def __init__(self, config: Config, *, erf: bool = False) -> None:
        width, d_query = config.vision.width, config.text.width
        self.vision_model = VisionTower(config.vision, config.image_size, config.patch)
        self.text_model = TextTower(config.text, config.vocab, config.context)
        self.text_projection = Linear(d_query, d_query, bias=False)
        self.layer_norm = LayerNorm(width, 1e-5 if erf else 1e-6)
        self.class_head = ClassHead(width, d_query)
        self.box_head = Head(width, 4, erf=erf)
        if config.objectness:
            self.objectness_head = Head(width, 1, erf=erf)
        self.grid = config.image_size // config.patch

    def image(self, pixels: jax.Array) -> jax.Array:
        """Encode normalised pixels [B, S, S, 3] as one token per patch, row by row [B, hw, D]."""
        x = self.vision_model.post_layernorm(self.vision_model(pixels))
        return self.layer_norm(x[:, 1:] * x[:, :1])

    def text(self, ids: jax.Array) -> jax.Array:
        """Encode token ids [C, T] as query embeddings of unit length [C, D]."""
        return normalise(self.text_projection(self.text_model(ids)))

    def logits(self, tokens: jax.Array, queries: jax.Array) -> jax.Array:
        """Logits [B, hw, C] of tokens [B, hw, D] for queries [C, D]; their sigmoid is the score."""
        return self.class_head(tokens, queries.astype(tokens.dtype)).astype(jnp.float32)

    def boxes(self, tokens: jax.Array) -> jax.Array:
        """Predict a box per token [B, hw, D]: centre and size [B, hw, 4] in 0..1 of the view."""
        return jax.nn.sigmoid(self.box_head(tokens).astype(jnp.float32) + jnp.asarray(box_bias(self.grid)))

    def objectness(self, tokens: jax.Array) -> jax.Array:
        """Logits [B, hw] that a token's box is an object (OWLv2).  The tokens get no gradient."""
        return self.objectness_head(jax.lax.stop_gradient(tokens))[..., 0].astype(jnp.float32)


def box_bias(grid: int) -> np.ndarray:
    """Bias [grid * grid, 4] of the raw boxes, so that each begins at its own patch."""

    def logit(p: np.ndarray) -> np.ndarray:
        return np.log(p + 1e-4) - np.log1p(-p + 1e-4)

    y, x = np.meshgrid(np.arange(1, grid + 1), np.arange(1, grid + 1), indexing="ij")
    corner = np.stack([x, y], -1).reshape(-1, 2).astype(np.float32) / grid
    size = np.full_like(corner, 1.0 / grid)
    return np.concatenate([logit(corner), logit(size)], -1).astype(np.float32)
