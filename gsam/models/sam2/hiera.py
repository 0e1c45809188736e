"""SAM 2's image encoder: Hiera, a vision transformer in four stages.

Source: sam2/modeling/backbones/hieradet.py.

Tokens are kept in windows, [B, n, s, s, D]: n windows of s by s, in the order of rows; the whole
map is one window.  Attention within windows needs no data moved then, and pooling halves s: the
windows of the first two stages stay what they are.  Attention over the whole image does not depend
on the order.  Windows that do not divide the map are cut from one padded with zeros after the norm,
and the padding is attended to, as in the original: its keys and values are the bias of ``qkv``.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from flax import nnx

from gsam.bind import param
from gsam.models.sam2.config import STRIDE, Config
from gsam.nn.attention import attend
from gsam.nn.layers import LayerNorm, Linear, Mlp, by_rows, gelu
from gsam.ops.resize import bicubic


class PatchConv(nnx.Module):
    """A 7 x 7 convolution, stride 4, padding 3, as a product, [B, S, S, 3] -> [B, S/4, S/4, D]."""

    def __init__(self, width: int) -> None:
        self.kernel = param(7, 7, 3, width)
        self.bias = param(width)

    def __call__(self, pixels: jax.Array) -> jax.Array:
        b, size, _, c = pixels.shape
        side, d = size // STRIDE, self.bias.shape[0]
        kernel = jnp.pad(
            self.kernel[...].astype(pixels.dtype), ((0, 1), (0, 1), (0, 0), (0, 0))
        )  # two cells of 4 pixels
        kernel = kernel.reshape(2, STRIDE, 2, STRIDE, c, d).transpose(0, 2, 1, 3, 4, 5).reshape(-1, d)
        x = jnp.pad(pixels, ((0, 0), (3, 1), (3, 1), (0, 0)))
        x = x.reshape(b, side + 1, STRIDE, side + 1, STRIDE, c).swapaxes(2, 3).reshape(b, side + 1, side + 1, -1)
        x = jnp.concatenate([x[:, i : i + side, j : j + side] for i in range(2) for j in range(2)], -1)
        return x @ kernel + self.bias[...].astype(x.dtype)


class Attention(nnx.Module):
    """Multi-head self-attention within windows, or over all tokens.

    ``pool`` halves the queries per side.
    """

    def __init__(self, d_in: int, d_out: int, heads: int, *, window: int, pool: bool) -> None:
        self.qkv = Linear(d_in, 3 * d_out)
        self.proj = Linear(d_out, d_out)
        self.heads, self.window, self.pool = heads, window, pool

    def __call__(self, x: jax.Array) -> jax.Array:
        """Attend: [B, n, s, s, C] -> [B, n, s, s, D], or half the side with ``pool``."""
        b, n, s, *_ = x.shape
        window, d = self.window or s, self.proj.kernel.shape[0]
        spare = -s % window
        assert self.qkv.bias is not None
        qkv = x @ self.qkv.kernel[...].astype(x.dtype)
        if spare:
            qkv = jnp.pad(qkv, ((0, 0), (0, 0), (0, spare), (0, spare), (0, 0)))
        qkv = in_windows(qkv + self.qkv.bias[...].astype(x.dtype), window)
        q, k, v = (qkv[..., i * d : (i + 1) * d] for i in range(3))
        q = pooled(q) if self.pool else q
        t = q.shape[2]
        groups = (b, -1) if self.window else (b,)
        q, k, v = (
            y.reshape(*groups, y.shape[2] ** 2 if self.window else n * y.shape[2] ** 2, self.heads, d // self.heads)
            for y in (q, k, v)
        )
        y = attend(q, k, v).reshape(b, -1, t, t, d)
        if spare:
            y = in_windows(y, (s + spare) * t // window)[:, :, : s * t // window, : s * t // window]
        return self.proj(y)


class Block(nnx.Module):
    """A pre-norm transformer block.

    ``side`` is the number of tokens per side of the input; ``window`` 0 attends over all of it.
    """

    def __init__(
        self, d_in: int, d_out: int, heads: int, mlp_ratio: int, *, side: int, window: int, pool: bool
    ) -> None:
        self.norm1 = LayerNorm(d_in, 1e-6)
        self.attn = Attention(d_in, d_out, heads, window=window, pool=pool)
        self.norm2 = LayerNorm(d_out, 1e-6)
        self.mlp = Mlp(d_out, mlp_ratio * d_out, d_out, 2, gelu)
        self.proj = Linear(d_in, d_out) if d_in != d_out else None
        self.window, self.whole, self.pool = window, side, pool

    def __call__(self, x: jax.Array) -> jax.Array:
        if self.window:
            x = in_windows(x, self.whole if self.whole % self.window else self.window)
        y = self.norm1(x)
        if self.proj is not None:
            x = self.proj(y)
        x = (pooled(x) if self.pool else x) + self.attn(y)
        return x + by_rows(lambda rows: self.mlp(self.norm2(rows)), x)


class Patches(nnx.Module):
    """The patch embedding under the name the checkpoint gives it."""

    def __init__(self, width: int) -> None:
        self.proj = PatchConv(width)


class Hiera(nnx.Module):
    """Hiera: normalised pixels [B, S, S, 3] -> each stage's output in windows [B, n, s, s, D].

    The stages have strides 4, 8, 16 and 32.
    """

    def __init__(self, config: Config) -> None:
        self.patch_embed = Patches(config.embed)
        self.pos_embed = param(1, config.embed, config.background, config.background)
        self.pos_embed_window = param(1, config.embed, config.window_spec[0], config.window_spec[0])
        blocks: list[Block] = []
        width, heads, side = config.embed, config.heads, config.side
        self.ends: tuple[int, ...] = ()
        for stage, depth in enumerate(config.stages):
            for i in range(depth):
                pool = stage > 0 and i == 0
                window = config.window_spec[
                    stage - 1 if pool else stage
                ]  # what pools has the windows of what is pooled
                window = 0 if len(blocks) in config.global_blocks else window
                more = 2 if pool else 1
                ratio = config.mlp_ratio
                blocks.append(Block(width, more * width, more * heads, ratio, side=side, window=window, pool=pool))
                width, heads, side = more * width, more * heads, side // more
            self.ends += (len(blocks) - 1,)
        self.blocks = nnx.List(blocks)

    def __call__(self, pixels: jax.Array) -> list[jax.Array]:
        x = self.patch_embed.proj(pixels)
        x = (x + self.positions(x.shape[1]).astype(x.dtype))[:, None]
        out = []
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in self.ends:
                out.append(x)
        return out

    def positions(self, side: int) -> jax.Array:
        """Positions [side, side, D] float32: the whole image's, enlarged, plus each window's."""
        window = self.pos_embed_window[...].astype(jnp.float32)
        whole = bicubic(self.pos_embed[...].astype(jnp.float32), side, side)
        count = side // window.shape[-1]
        return (whole + jnp.tile(window, (1, 1, count, count)))[0].transpose(1, 2, 0)


def in_windows(x: jax.Array, s: int) -> jax.Array:
    """Cut tokens in any windows [B, n, t, t, D] into windows of side ``s``.

    ``s`` divides the side of the map.
    """
    b, n, t, _, d = x.shape
    if s == t:
        return x
    count = math.isqrt(n)
    side = count * t
    x = x.reshape(b, count, count, t, t, d).swapaxes(2, 3).reshape(b, side // s, s, side // s, s, d)
    return x.swapaxes(2, 3).reshape(b, -1, s, s, d)


def in_rows(x: jax.Array) -> jax.Array:
    """Lay tokens in any windows [B, n, s, s, D] out as the map [B, H, W, D]."""
    return in_windows(x, math.isqrt(x.shape[1]) * x.shape[2])[:, 0]


def pooled(x: jax.Array) -> jax.Array:
    """Max pooling of 2 by 2: [..., s, s, D] -> [..., s/2, s/2, D]."""
    *lead, s, _, d = x.shape
    return x.reshape(*lead, s // 2, 2, s // 2, 2, d).max((-4, -2))
