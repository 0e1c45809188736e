"""EfficientSAM's image encoder: a plain ViT that attends over the whole image.

Source: efficient_sam/efficient_sam_encoder.py.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from gsam.bind import param
from gsam.models.efficient_sam.config import Config
from gsam.nn.attention import attend
from gsam.nn.layers import FeedForward, LayerNorm, Linear, PatchEmbed, by_rows
from gsam.nn.sam_vit import Neck
from gsam.ops.resize import bicubic


class Attention(nnx.Module):
    """Multi-head self-attention over a map."""

    def __init__(self, width: int, heads: int) -> None:
        self.qkv = Linear(width, 3 * width)
        self.proj = Linear(width, width)
        self.heads = heads

    def __call__(self, x: jax.Array) -> jax.Array:
        b, h, w, d = x.shape
        q, k, v = jnp.moveaxis(self.qkv(x).reshape(b, h * w, 3, self.heads, d // self.heads), 2, 0)
        return self.proj(attend(q, k, v).reshape(b, h, w, d))


class Block(nnx.Module):
    """A pre-norm transformer block."""

    def __init__(self, config: Config) -> None:
        self.norm1 = LayerNorm(config.width, 1e-6)
        self.attn = Attention(config.width, config.heads)
        self.norm2 = LayerNorm(config.width, 1e-6)
        self.mlp = FeedForward(config.width, config.mlp_ratio * config.width)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = x + self.attn(self.norm1(x))
        return x + by_rows(lambda rows: self.mlp(self.norm2(rows)), x)


class Projection(nnx.Module):
    """The patch embedding under the name the checkpoint gives it."""

    def __init__(self, config: Config) -> None:
        self.proj = PatchEmbed(config.patch, 3, config.width)


class ImageEncoder(nnx.Module):
    """ViT with a neck: normalised pixels [B, S, S, 3] -> [B, S/patch, S/patch, out_chans]."""

    def __init__(self, config: Config) -> None:
        self.patch_embed = Projection(config)
        self.pos_embed = param(1, 1 + config.trained_grid**2, config.width)
        self.blocks = nnx.List([Block(config) for _ in range(config.depth)])
        self.neck = Neck(config.width, config.out_chans)
        self.trained_grid = config.trained_grid

    def __call__(self, pixels: jax.Array) -> jax.Array:
        x = self.patch_embed.proj(pixels)
        x = x + self.positions(*x.shape[1:3]).astype(x.dtype)
        for block in self.blocks:
            x = block(x)
        return self.neck(x)

    def positions(self, h: int, w: int) -> jax.Array:
        """Resize the checkpoint's positions by bicubic interpolation to [h, w, D] float32.

        The class token's, the first, is not used.
        """
        side = self.trained_grid
        known = self.pos_embed[...].astype(jnp.float32)[0, 1:].reshape(side, side, -1)
        return jnp.moveaxis(bicubic(jnp.moveaxis(known, -1, 0), h, w), 0, -1)
