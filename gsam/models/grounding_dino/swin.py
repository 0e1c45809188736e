"""Swin Transformer on padded images (Liu et al. 2021).

Original: GroundingDINO ``backbone/swin_transformer.py``.

Every image of a batch may fill another part of the canvas, and gets what it would get alone.  In
the original that does not hold: windows reach into the padding.  Here a window sees of the padding
only what it would see of its own, the zeros that fill the last window, and shifted windows wrap at
the image's own edge.
"""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from gsam.bind import param
from gsam.models.grounding_dino.config import SwinConfig
from gsam.nn.attention import attend
from gsam.nn.layers import FeedForward, LayerNorm, Linear, PatchEmbed

FAR = -100.0
"""Logit that the original adds between parts of a shifted window that were not neighbours."""


class WindowAttention(nnx.Module):
    """Self-attention within windows, with a bias by relative position."""

    def __init__(self, width: int, heads: int, window: int) -> None:
        self.relative_position_bias_table = param((2 * window - 1) ** 2, heads)
        self.query = Linear(width, width)
        self.key = Linear(width, width)
        self.value = Linear(width, width)
        self.proj = Linear(width, width)
        self.heads = heads
        self.window = window

    def __call__(self, x: jax.Array, region: jax.Array | None) -> jax.Array:
        """Attend within windows [B, W, n, D].

        Args:
            x: Tokens by window.
            region: [B, W, n]: only tokens of one region see each other; None for all.
        """
        b, w, n, d = x.shape
        q, k, v = (y.reshape(b, w, n, self.heads, -1) for y in project(x, (self.query, self.key, self.value)))
        bias = self.bias().astype(x.dtype)
        if region is not None:
            apart = region[:, :, :, None] != region[:, :, None, :]
            bias = bias + jnp.where(apart, FAR, 0.0).astype(x.dtype)[:, :, None]
        y = attend(q, k, v, bias=bias)
        return self.proj(y.reshape(b, w, n, d))

    def bias(self) -> jax.Array:
        """Bias of each query's logits by the key's relative position, [K, n, n]."""
        side = self.window
        y, x = np.divmod(np.arange(side * side), side)
        rows = (y[:, None] - y[None] + side - 1) * (2 * side - 1)
        return self.relative_position_bias_table[...][rows + x[:, None] - x[None] + side - 1].transpose(2, 0, 1)


class Block(nnx.Module):
    """A pre-norm transformer block over windows, shifted by ``shift`` tokens."""

    def __init__(self, width: int, heads: int, config: SwinConfig, shift: int) -> None:
        self.norm1 = LayerNorm(width)
        self.attn = WindowAttention(width, heads, config.window)
        self.norm2 = LayerNorm(width)
        self.mlp = FeedForward(width, config.mlp_ratio * width)
        self.window = config.window
        self.shift = shift

    def __call__(self, x: jax.Array, size: jax.Array) -> jax.Array:
        b, h, w, d = x.shape
        side, shift = self.window, self.shift
        rows, columns = -(-h // side) * side, -(-w // side) * side
        y = only(self.norm1(x), size)
        y = jnp.pad(y, ((0, 0), (0, rows - h), (0, columns - w), (0, 0)))
        region = None
        if shift:
            y = jnp.roll(y, (-shift, -shift), (1, 2))
            region = _windows(_regions((rows, columns), size, side, shift)[..., None], side)[..., 0]
        y = self.attn(_windows(y, side), region)
        y = y.reshape(b, rows // side, columns // side, side, side, d).swapaxes(2, 3).reshape(b, rows, columns, d)
        y = jnp.roll(y, (shift, shift), (1, 2)) if shift else y
        x = x + y[:, :h, :w]
        return x + self.mlp(self.norm2(x))


class PatchMerging(nnx.Module):
    """Merging of 2 x 2 tokens, [B, H, W, D] -> [B, H/2, W/2, 2D]."""

    def __init__(self, width: int) -> None:
        self.norm = LayerNorm(4 * width)
        self.reduction = Linear(4 * width, 2 * width, bias=False)

    def __call__(self, x: jax.Array, size: jax.Array) -> jax.Array:
        x = only(x, size)
        b, h, w, d = x.shape
        x = jnp.pad(x, ((0, 0), (0, h % 2), (0, w % 2), (0, 0)))
        x = x.reshape(b, (h + 1) // 2, 2, (w + 1) // 2, 2, d).transpose(0, 1, 3, 4, 2, 5)  # column, then row
        return self.reduction(self.norm(x.reshape(b, (h + 1) // 2, (w + 1) // 2, 4 * d)))


class SwinStage(nnx.Module):
    """The blocks of a stage, and but for the last stage the merging after them."""

    def __init__(self, width: int, depth: int, heads: int, config: SwinConfig, *, merge: bool) -> None:
        shifts = itertools.cycle((0, config.window // 2))
        self.blocks = nnx.List([Block(width, heads, config, s) for s, _ in zip(shifts, range(depth), strict=False)])
        if merge:
            self.downsample = PatchMerging(width)


class SwinPatchEmbed(nnx.Module):
    """Patch embedding with a norm."""

    def __init__(self, patch: int, width: int) -> None:
        self.proj = PatchEmbed(patch, 3, width)
        self.norm = LayerNorm(width)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.norm(self.proj(x))


class Swin(nnx.Module):
    """Swin Transformer, whose maps of several stages are read."""

    def __init__(self, config: SwinConfig) -> None:
        last = len(config.depths) - 1
        self.patch_embed = SwinPatchEmbed(config.patch, config.width)
        self.layers = nnx.List(
            [
                SwinStage(config.width << i, depth, heads, config, merge=i < last)
                for i, (depth, heads) in enumerate(zip(config.depths, config.heads, strict=True))
            ]
        )
        for i in config.out:
            setattr(self, f"norm{i}", LayerNorm(config.width << i))
        self.patch = config.patch
        self.out = config.out

    def __call__(self, pixels: jax.Array, size: jax.Array) -> list[jax.Array]:
        """Encode images.

        Args:
            pixels: [B, H, W, 3], normalised, zero outside ``size``.
            size: [B, 2] int32: rows and columns of each image.

        Returns:
            A map [B, H/s, W/s, D] per stage that is read, zero outside of the image.
        """
        _, h, w, _ = pixels.shape
        pad = -h % self.patch, -w % self.patch
        x = self.patch_embed(jnp.pad(pixels, ((0, 0), (0, pad[0]), (0, pad[1]), (0, 0))))
        size = -(-size // self.patch)
        maps = []
        for i, stage in enumerate(self.layers):
            for block in stage.blocks:
                x = block(x, size)
            if i in self.out:
                maps.append(only(getattr(self, f"norm{i}")(x), size))
            if i < len(self.layers) - 1:
                x = stage.downsample(x, size)
                size = -(-size // 2)
        return maps


def only(x: jax.Array, size: jax.Array) -> jax.Array:
    """Set [B, H, W, D] to zero outside of ``size`` [B, 2]."""
    _, h, w, _ = x.shape
    rows, columns = jnp.arange(h) < size[:, :1], jnp.arange(w) < size[:, 1:]
    return jnp.where((rows[:, :, None] & columns[:, None, :])[..., None], x, jnp.zeros((), x.dtype))


def project(x: jax.Array, layers: tuple[Linear, ...]) -> list[jax.Array]:
    """Apply several linear layers to one input as one product."""
    kernel = jnp.concatenate([layer.kernel[...] for layer in layers], 1).astype(x.dtype)
    shift = [layer.bias[...] for layer in layers if layer.bias is not None]
    y = x @ kernel + jnp.concatenate(shift).astype(x.dtype)
    return jnp.split(y, len(layers), axis=-1)


def _regions(grid: tuple[int, int], size: jax.Array, side: int, shift: int) -> jax.Array:
    """Regions [B, H, W] of the shifted map whose tokens belong together.

    Per axis, 0 is inside, 1 is wrapped around, and 2 does not exist for the image alone.
    """

    def edge(length: int, real: jax.Array) -> jax.Array:
        at = (jnp.arange(length) + shift) % length
        whole = -(-real // side) * side
        return jnp.where(at >= whole[:, None], 2, jnp.where(at < shift, 1, 0))

    rows, columns = edge(grid[0], size[:, 0]), edge(grid[1], size[:, 1])
    return 3 * rows[:, :, None] + columns[:, None, :]


def _windows(x: jax.Array, side: int) -> jax.Array:
    """Cut a map into windows: [B, H, W, D] -> [B, windows, side * side, D]."""
    b, h, w, d = x.shape
    x = x.reshape(b, h // side, side, w // side, side, d).swapaxes(2, 3)
    return x.reshape(b, (h // side) * (w // side), side * side, d)
