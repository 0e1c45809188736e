"""SigLIP: CLIP with a sigmoid loss (Zhai et al. 2023; SigLIP 2: Tschannen et al. 2025).

Original: google-research/big_vision, names of the Hugging Face layout.

There is no class token: a learned probe attends to all patches once.  The text is read in both
directions, padding included, at its last position.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from gsam.bind import param
from gsam.models.siglip.config import Config
from gsam.nn.layers import Embedding, LayerNorm, Linear, PatchEmbed, softmax
from gsam.nn.tower import Encoder, TextEmbeddings, Tower, feed_forward, normalise


class VisionEmbeddings(nnx.Module):
    """Patch and position embeddings."""

    def __init__(self, config: Config) -> None:
        self.patch_embedding = PatchEmbed(config.patch, 3, config.vision.width)
        self.position_embedding = Embedding(config.grid**2, config.vision.width)
        self.side = config.grid * config.patch

    def __call__(self, pixels: jax.Array) -> jax.Array:
        x = self.patch_embedding(pixels[:, : self.side, : self.side])  # [B, h, w, D]
        x = x.reshape(x.shape[0], -1, x.shape[-1])
        return x + self.position_embedding.embedding[...].astype(x.dtype)


class ProbeAttention(nnx.Module):
    """torch's ``MultiheadAttention`` from queries [B, T, D] to tokens [B, hw, D]."""

    def __init__(self, width: int, heads: int) -> None:
        self.in_proj = Linear(width, 3 * width)
        self.out_proj = Linear(width, width)
        self.heads = heads

    def __call__(self, queries: jax.Array, x: jax.Array) -> jax.Array:
        width = x.shape[-1]
        head = width // self.heads

        def split(y: jax.Array) -> jax.Array:
            return y.reshape(*y.shape[:-1], self.heads, head)

        q, _, _ = jnp.split(self.in_proj(queries), 3, -1)
        _, k, v = jnp.split(self.in_proj(x), 3, -1)
        q, k, v = split(q) * head**-0.5, split(k), split(v)
        y = jnp.einsum("bhqk,bkhd->bqhd", softmax(jnp.einsum("bqhd,bkhd->bhqk", q, k)), v)
        return self.out_proj(y.reshape(*queries.shape[:-1], width))


class Pool(nnx.Module):
    """Pooling of tokens by attention of a probe, [B, hw, D] -> [B, D]."""

    def __init__(self, tower: Tower) -> None:
        self.probe = param(1, 1, tower.width)
        self.attention = ProbeAttention(tower.width, tower.heads)
        self.layernorm = LayerNorm(tower.width, tower.eps)
        self.mlp = feed_forward(tower)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.finish(self.attend(x))

    def attend(self, x: jax.Array) -> jax.Array:
        """Attend from the probe to tokens [B, hw, D]: [B, D], before the MLP."""
        probe = jnp.broadcast_to(self.probe[...].astype(x.dtype), (x.shape[0], 1, x.shape[-1]))
        return self.attention(probe, x)[:, 0]

    def finish(self, y: jax.Array) -> jax.Array:
        """Pass what was attended to [B, D] through the MLP."""
        return y + self.mlp(self.layernorm(y))


class VisionModel(nnx.Module):
    """ViT: normalised pixels [B, S, S, 3] -> [B, D]."""

    def __init__(self, config: Config) -> None:
        self.embeddings = VisionEmbeddings(config)
        self.encoder = Encoder(config.vision)
        self.post_layernorm = LayerNorm(config.vision.width, config.vision.eps)
        self.head = Pool(config.vision)

    def __call__(self, pixels: jax.Array) -> jax.Array:
        return self.head(self.tokens(pixels))

    def tokens(self, pixels: jax.Array) -> jax.Array:
        """Encode normalised pixels [B, S, S, 3] as the tokens [B, hw, D] that are pooled."""
        return self.post_layernorm(self.encoder(self.embeddings(pixels)))


class TextModel(nnx.Module):
    """Text transformer: ids [C, T], padded to the context of training -> [C, D]."""

    def __init__(self, config: Config) -> None:
        self.embeddings = TextEmbeddings(config.vocab, config.context, config.text.width)
        self.encoder = Encoder(config.text)
        self.final_layer_norm = LayerNorm(config.text.width, config.text.eps)
        self.head = Linear(config.text.width, config.vision.width)

    def __call__(self, ids: jax.Array) -> jax.Array:
        return self.head(self.last(ids))

    def last(self, ids: jax.Array) -> jax.Array:
        """Encode ids [C, T] as the last token [C, D] before the head."""
        return self.final_layer_norm(self.encoder(self.embeddings(ids))[:, -1])


class Siglip(nnx.Module):
    """Two towers with the scale and bias of their cosines."""

    def __init__(self, config: Config) -> None:
        self.vision_model = VisionModel(config)
        self.text_model = TextModel(config)
        self.logit_scale = param(1)
        self.logit_bias = param(1)

    def image(self, pixels: jax.Array) -> jax.Array:
        """Embed normalised pixels [B, S, S, 3] as unit vectors [B, D] float32."""
        return self.image_head(self.image_trunk(pixels))

    def image_trunk(self, pixels: jax.Array) -> jax.Array:
        """Encode normalised pixels [B, S, S, 3] as what the probe saw [B, D], for the head."""
        return self.vision_model.head.attend(self.vision_model.tokens(pixels))

    def image_head(self, seen: jax.Array) -> jax.Array:
        """Turn what the probe saw [B, D] into unit vectors [B, D] float32."""
        return normalise(self.vision_model.head.finish(seen).astype(jnp.float32))

    def text(self, ids: jax.Array) -> jax.Array:
        """Embed token ids [C, T] as unit vectors [C, D] float32."""
        return self.text_head(self.text_trunk(ids))

    def text_trunk(self, ids: jax.Array) -> jax.Array:
        """Encode token ids [C, T] as the last token [C, D] that the head reads."""
        return self.text_model.last(ids)

    def text_head(self, last: jax.Array) -> jax.Array:
        """Turn last tokens [C, D] into unit vectors [C, D] float32."""
        return normalise(self.text_model.head(last).astype(jnp.float32))

    def logits(self, cosine: jax.Array) -> jax.Array:
        """Turn cosines into logits; their sigmoid is the probability that both belong together."""
        scale, bias = self.logit_scale[...].astype(jnp.float32), self.logit_bias[...].astype(jnp.float32)
        return jnp.exp(scale) * cosine.astype(jnp.float32) + bias
