"""SAM's image encoder: a plain ViT with windows and decomposed relative positions.

Source: segment_anything/modeling/image_encoder.py.

Windows are cut from a map padded with zeros *after* the norm, and the padding is attended to, as in
the original: its keys and values are the bias of ``qkv``.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx

from gsam.bind import param
from gsam.nn.layers import Conv, LayerNorm, Linear, MlpBlock, PatchEmbed, by_rows
from gsam.nn.relative import attention


@dataclasses.dataclass(frozen=True)
class SamVit:
    """Sizes of the encoder; the defaults are the same in ViT-B, L and H."""

    width: int
    depth: int
    heads: int
    global_blocks: tuple[int, ...]
    """Indices of the blocks that attend over the whole image; the others within windows."""
    image_size: int = 1024
    patch: int = 16
    window: int = 14
    mlp_ratio: int = 4
    out_chans: int = 256

    @property
    def grid(self) -> int:
        """Cells per side of the embedding."""
        return self.image_size // self.patch

    @property
    def early_width(self) -> int:
        """Channels of the early map, see `ImageEncoder.with_early`."""
        return self.width


VIT_B = (768, 12, 12, (2, 5, 8, 11))
VIT_L = (1024, 24, 16, (5, 11, 17, 23))
VIT_H = (1280, 32, 16, (7, 15, 23, 31))
"""Width, depth, heads and global blocks, as `SamVit` takes them."""


class Attention(nnx.Module):
    """Multi-head self-attention over a square map or over its windows."""

    def __init__(self, width: int, heads: int, side: int, window: int) -> None:
        self.qkv = Linear(width, 3 * width)
        self.proj = Linear(width, width)
        self.rel_pos_h = param(2 * side - 1, width // heads)
        self.rel_pos_w = param(2 * side - 1, width // heads)
        self.heads, self.window = heads, window

    def __call__(self, x: jax.Array) -> jax.Array:
        b, h, w, d = x.shape
        assert self.qkv.bias is not None
        qkv, bias = x @ self.qkv.kernel[...].astype(x.dtype), self.qkv.bias[...].astype(x.dtype)
        if self.window:
            s = self.window
            rows, columns = -(-h // s), -(-w // s)
            qkv = jnp.pad(qkv, ((0, 0), (0, rows * s - h), (0, columns * s - w), (0, 0))) + bias
            qkv = qkv.reshape(b, rows, s, columns, s, 3 * d).swapaxes(2, 3).reshape(-1, s * s, 3 * d)
        else:
            qkv = (qkv + bias).reshape(b, h * w, 3 * d)
        n = qkv.shape[1]
        q, k, v = qkv.reshape(-1, n, 3, self.heads, d // self.heads).transpose(2, 0, 3, 1, 4)
        y = attention(q, k, v, self.rel_pos_h[...], self.rel_pos_w[...])
        y = y.swapaxes(1, 2).reshape(-1, n, d)
        if self.window:
            y = y.reshape(b, rows, columns, s, s, d).swapaxes(2, 3).reshape(b, rows * s, columns * s, d)[:, :h, :w]
        return self.proj(y.reshape(b, h, w, d))


class Block(nnx.Module):
    """A pre-norm transformer block; ``window`` 0 attends over the whole image."""

    def __init__(self, config: SamVit, *, window: int) -> None:
        self.norm1 = LayerNorm(config.width, 1e-6)
        self.attn = Attention(config.width, config.heads, window or config.grid, window)
        self.norm2 = LayerNorm(config.width, 1e-6)
        self.mlp = MlpBlock(config.width, config.mlp_ratio * config.width)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = x + self.attn(self.norm1(x))
        return x + by_rows(lambda rows: self.mlp(self.norm2(rows)), x)


class Projection(nnx.Module):
    """The patch embedding under the name the checkpoint gives it."""

    def __init__(self, config: SamVit) -> None:
        self.proj = PatchEmbed(config.patch, 3, config.width)


class Neck(nnx.Module):
    """The four layers after the blocks; ``neck.0`` to ``neck.3`` in the original."""

    def __init__(self, width: int, out_chans: int) -> None:
        self.conv1 = Conv(1, width, out_chans, bias=False)
        self.norm1 = LayerNorm(out_chans, 1e-6)
        self.conv2 = Conv(3, out_chans, out_chans, bias=False)
        self.norm2 = LayerNorm(out_chans, 1e-6)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.norm2(self.conv2(self.norm1(self.conv1(x))))


class ImageEncoder(nnx.Module):
    """ViT with a neck: normalised pixels [B, S, S, 3] -> [B, S/patch, S/patch, out_chans]."""

    def __init__(self, config: SamVit) -> None:
        self.patch_embed = Projection(config)
        self.pos_embed = param(1, config.grid, config.grid, config.width)
        windows = [0 if i in config.global_blocks else config.window for i in range(config.depth)]
        self.blocks = nnx.List([Block(config, window=w) for w in windows])
        self.neck = Neck(config.width, config.out_chans)
        self.early = min(config.global_blocks, default=-1)

    def __call__(self, pixels: jax.Array) -> jax.Array:
        return self.with_early(pixels)[0]

    def with_early(self, pixels: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Encode pixels, and return also the output of the first block that attends globally.

        Returns:
            [B, S/patch, S/patch, out_chans] and [B, S/patch, S/patch, width].
        """
        x = self.patch_embed.proj(pixels)
        x = early = x + self.pos_embed[...].astype(x.dtype)
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i == self.early:
                early = x
        return self.neck(x), early
