"""TinyViT as an image encoder for SAM's decoder (Wu et al. 2022).

Source: mobile_sam/modeling/tiny_vit_sam.py.

A stage of inverted bottlenecks, then stages of attention within windows, each followed by a small
convolution; between stages the map is merged, the last time without shrinking it.  Windows are cut
from a map padded with zeros *before* the norm that belongs to the attention, and the padding is
attended to: its keys and values are those of the norm's bias.

The positions within a window are in a table of attention biases.  MobileSAM's loader fills the
buffer that its attention reads while the table is still untrained, and scripts that do not call
``eval()`` again (its ``scripts/amg.py``) run without any bias.  Here the table is always used, as
in the original's training and demo.

Batch norms have the running statistics of the checkpoint and become part of their convolution:
there is no training mode.
"""

from __future__ import annotations

import dataclasses
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

from gsam.bind import param
from gsam.nn.attention import attend
from gsam.nn.layers import BatchNorm, FeedForward, LayerNorm, Linear, by_rows, gelu
from gsam.nn.sam_vit import Neck


@dataclasses.dataclass(frozen=True)
class TinyVit:
    """Sizes of the encoder; the defaults are TinyViT-5M's."""

    image_size: int = 1024
    widths: tuple[int, ...] = (64, 128, 160, 320)
    depths: tuple[int, ...] = (2, 2, 6, 2)
    heads: tuple[int, ...] = (4, 5, 10)
    """Heads of the stages that attend: all but the first."""
    windows: tuple[int, ...] = (7, 14, 7)
    """Windows of the same stages, in tokens per side."""
    strides: tuple[int, ...] = (2, 2, 1)
    """Stride of the merging after each stage but the last."""
    mlp_ratio: int = 4
    out_chans: int = 256

    @property
    def grid(self) -> int:
        """Cells per side of the embedding."""
        return self.image_size // (4 * math.prod(self.strides))

    @property
    def early_width(self) -> int:
        """Channels of the early map, see `ImageEncoder.with_early`."""
        return self.widths[2]


class Kernel(nnx.Module):
    """The parameters of a convolution under the name the checkpoint gives them."""

    def __init__(self, size: int, d_in: int, d_out: int) -> None:
        self.kernel = param(size, size, d_in, d_out)


class ConvNorm(nnx.Module):
    """A convolution without bias and a batch norm, merged: [B, H, W, C] -> [B, H/s, W/s, E].

    Padding is torch's, symmetric.
    """

    def __init__(self, size: int, d_in: int, d_out: int, *, stride: int = 1, depthwise: bool = False) -> None:
        self.c = Kernel(size, 1 if depthwise else d_in, d_out)
        self.bn = BatchNorm(d_out)
        self.stride, self.depthwise = stride, depthwise

    def __call__(self, x: jax.Array) -> jax.Array:
        gain, shift = self.bn.gain_and_shift()
        kernel = self.c.kernel[...].astype(jnp.float32) * gain
        if self.depthwise:
            return (depthwise(x, kernel, self.stride) + shift).astype(x.dtype)
        kernel, shift = kernel.astype(x.dtype), shift.astype(x.dtype)
        if kernel.shape[0] == 1:
            return x @ kernel[0, 0] + shift
        pad = (kernel.shape[0] // 2,) * 2
        sizes = ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(x, kernel, (self.stride,) * 2, [pad, pad], dimension_numbers=sizes) + shift


def depthwise(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """Convolve each channel of [B, H, W, C] with its own kernel [k, k, 1, C], in float32.

    The convolution is a sum of shifted products.
    """
    k = kernel.shape[0]
    _, h, w, _ = x.shape
    padded = jnp.pad(x, ((0, 0), (k // 2, k // 2), (k // 2, k // 2), (0, 0)))
    return sum(
        (
            padded[:, i : i + h : stride, j : j + w : stride].astype(jnp.float32) * kernel[i, j, 0]
            for i, j in itertools.product(range(k), repeat=2)
        ),
        jnp.zeros((), jnp.float32),
    )


class PatchEmbed(nnx.Module):
    """Two convolutions of stride 2; ``seq.0`` and ``seq.2`` in the original."""

    def __init__(self, width: int) -> None:
        self.conv1 = ConvNorm(3, 3, width // 2, stride=2)
        self.conv2 = ConvNorm(3, width // 2, width, stride=2)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.conv2(gelu(self.conv1(x)))


class MBConv(nnx.Module):
    """An inverted bottleneck, with the last GELU after the sum."""

    def __init__(self, width: int, ratio: int = 4) -> None:
        self.conv1 = ConvNorm(1, width, ratio * width)
        self.conv2 = ConvNorm(3, ratio * width, ratio * width, depthwise=True)
        self.conv3 = ConvNorm(1, ratio * width, width)

    def __call__(self, x: jax.Array) -> jax.Array:
        return gelu(x + self.conv3(gelu(self.conv2(gelu(self.conv1(x))))))


class PatchMerging(nnx.Module):
    """Convolutions from one stage's width to the next one's, with a stride."""

    def __init__(self, d_in: int, d_out: int, stride: int) -> None:
        self.conv1 = ConvNorm(1, d_in, d_out)
        self.conv2 = ConvNorm(3, d_out, d_out, stride=stride, depthwise=True)
        self.conv3 = ConvNorm(1, d_out, d_out)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.conv3(gelu(self.conv2(gelu(self.conv1(x)))))


class Attention(nnx.Module):
    """Self-attention within windows, with its own norm, on a map [B, H, W, D].

    ``qkv`` is laid out as [heads, 3, D / heads].
    """

    def __init__(self, width: int, heads: int, window: int) -> None:
        self.attention_biases = param(heads, window * window)
        self.norm = LayerNorm(width)
        self.qkv = Linear(width, 3 * width)
        self.proj = Linear(width, width)
        self.heads, self.window = heads, window

    def __call__(self, x: jax.Array) -> jax.Array:
        b, h, w, d = x.shape
        s, k = self.window, self.heads
        rows, columns = -(-h // s), -(-w // s)
        qkv = self.qkv(self.norm(x))
        if (h, w) != (rows * s, columns * s):
            real = (np.arange(rows * s) < h)[:, None, None] & (np.arange(columns * s) < w)[:, None]
            blank = self.qkv(self.norm.bias[...].astype(x.dtype))
            padded = jnp.pad(qkv, ((0, 0), (0, rows * s - h), (0, columns * s - w), (0, 0)))
            qkv = jnp.where(real, padded, blank)
        qkv = qkv.reshape(b, rows, s, columns, s, 3 * d).swapaxes(2, 3)
        q, key, v = jnp.split(qkv.reshape(b * rows * columns, s * s, k, 3 * d // k), 3, -1)
        y = attend(q, key, v, bias=self.bias().astype(x.dtype))
        y = y.reshape(b, rows, columns, s, s, d).swapaxes(2, 3).reshape(b, rows * s, columns * s, d)
        return self.proj(y[:, :h, :w])

    def bias(self) -> jax.Array:
        """Bias of the logits by the distance of query and key, [heads, s s, s s]."""
        y, x = np.divmod(np.arange(self.window**2), self.window)
        apart = np.abs(y[:, None] - y) * self.window + np.abs(x[:, None] - x)
        return self.attention_biases[...][:, apart]


class NormedFeedForward(FeedForward):
    """A feed-forward block with its own norm."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__(width, hidden)
        self.norm = LayerNorm(width)

    def __call__(self, x: jax.Array) -> jax.Array:
        return super().__call__(self.norm(x))


class Block(nnx.Module):
    """Attention, a depthwise convolution that replaces the map, and an MLP."""

    def __init__(self, width: int, heads: int, window: int, ratio: int) -> None:
        self.attn = Attention(width, heads, window)
        self.local_conv = ConvNorm(3, width, width, depthwise=True)
        self.mlp = NormedFeedForward(width, ratio * width)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.local_conv(x + self.attn(x))
        return x + by_rows(self.mlp, x)


class TinyVitStage(nnx.Module):
    """The blocks of a stage, and but for the last stage the merging after them."""

    def __init__(self, config: TinyVit, index: int) -> None:
        width = config.widths[index]

        def block() -> MBConv | Block:
            if index == 0:
                return MBConv(width)
            return Block(width, config.heads[index - 1], config.windows[index - 1], config.mlp_ratio)

        self.blocks = nnx.List([block() for _ in range(config.depths[index])])
        last = index == len(config.widths) - 1
        self.downsample = None if last else PatchMerging(width, config.widths[index + 1], config.strides[index])

    def __call__(self, x: jax.Array) -> jax.Array:
        for block in self.blocks:
            x = block(x)
        return x if self.downsample is None else self.downsample(x)


class ImageEncoder(nnx.Module):
    """TinyViT with SAM's neck: normalised pixels [B, S, S, 3] -> [B, h, w, out_chans]."""

    def __init__(self, config: TinyVit) -> None:
        self.patch_embed = PatchEmbed(config.widths[0])
        self.layers = nnx.List([TinyVitStage(config, i) for i in range(len(config.widths))])
        self.neck = Neck(config.widths[-1], config.out_chans)

    def __call__(self, pixels: jax.Array) -> jax.Array:
        return self.with_early(pixels)[0]

    def with_early(self, pixels: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Encode pixels, and return also the second stage's merged output, [B, h, w, widths[2]]."""
        x = early = self.patch_embed(pixels)
        for i, layer in enumerate(self.layers):
            x = layer(x)
            if i == 1:
                early = x
        return self.neck(x), early
