"""YOLOv8's blocks (Jocher et al. 2023), channels last, on canvases that images fill in part."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from gsam.nn.layers import BatchNorm, Conv, ConvTranspose2x2

EPS = 1e-3
"""Epsilon of the norms."""


@dataclasses.dataclass(frozen=True)
class Frame:
    """Rows and columns of a canvas that belong to each image.

    Outside of its frame, every layer finds for an image what its own padding would be.  So its
    result depends neither on the canvas nor on the other images.
    """

    rows: jax.Array
    """[B] int32, multiples of 32."""
    columns: jax.Array
    canvas: tuple[int, int]

    def inside(self, height: int, width: int) -> jax.Array:
        """Mask [B, height, width] bool of the frames on a map of the canvas."""
        rows = jnp.arange(height) * (self.canvas[0] // height) < self.rows[:, None]
        columns = jnp.arange(width) * (self.canvas[1] // width) < self.columns[:, None]
        return rows[:, :, None] & columns[:, None, :]

    def cut(self, x: jax.Array, outside: float = 0.0) -> jax.Array:
        """Set ``x`` [B, h, w, D] to ``outside`` around each image."""
        return jnp.where(self.inside(*x.shape[1:3])[..., None], x, jnp.asarray(outside, x.dtype))


class ConvBlock(nnx.Module):
    """A convolution, a norm and SiLU."""

    def __init__(self, d_in: int, d_out: int, kernel: int = 1, stride: int = 1) -> None:
        self.conv = Conv(kernel, d_in, d_out, stride=stride, bias=False)
        self.bn = BatchNorm(d_out, EPS)

    def __call__(self, x: jax.Array, frame: Frame) -> jax.Array:
        return frame.cut(jax.nn.silu(self.bn(self.conv(x))).astype(x.dtype))


class Bottleneck(nnx.Module):
    """Two 3 x 3 convolutions, with a residual if ``shortcut``."""

    def __init__(self, width: int, shortcut: bool) -> None:
        self.cv1 = ConvBlock(width, width, 3)
        self.cv2 = ConvBlock(width, width, 3)
        self.shortcut = shortcut

    def __call__(self, x: jax.Array, frame: Frame) -> jax.Array:
        y = self.cv2(self.cv1(x, frame), frame)
        return x + y if self.shortcut else y


class C2f(nnx.Module):
    """YOLOv8's C2f: half of the channels pass a chain of bottlenecks, and all outputs are mixed."""

    def __init__(self, d_in: int, d_out: int, count: int, shortcut: bool) -> None:
        half = d_out // 2
        self.cv1 = ConvBlock(d_in, 2 * half)
        self.cv2 = ConvBlock((2 + count) * half, d_out)
        self.m = nnx.List([Bottleneck(half, shortcut) for _ in range(count)])

    def __call__(self, x: jax.Array, frame: Frame) -> jax.Array:
        parts = jnp.split(self.cv1(x, frame), 2, -1)
        for block in self.m:
            parts.append(block(parts[-1], frame))
        return self.cv2(jnp.concatenate(parts, -1), frame)


class Sppf(nnx.Module):
    """Max pooling at three ranges (SPPF)."""

    def __init__(self, d_in: int, d_out: int, side: int = 5) -> None:
        self.cv1 = ConvBlock(d_in, d_in // 2)
        self.cv2 = ConvBlock(4 * (d_in // 2), d_out)
        self.side = side

    def __call__(self, x: jax.Array, frame: Frame) -> jax.Array:
        parts = [self.cv1(x, frame)]
        window = (1, self.side, self.side, 1)
        for _ in range(3):
            seen = frame.cut(parts[-1], -jnp.inf)
            parts.append(lax.reduce_window(seen, jnp.asarray(-jnp.inf, x.dtype), lax.max, window, (1,) * 4, "SAME"))
        return self.cv2(frame.cut(jnp.concatenate(parts, -1)), frame)


class Proto(nnx.Module):
    """Mask prototypes at twice the resolution: [B, h, w, D] -> [B, 2h, 2w, P]."""

    def __init__(self, d_in: int, width: int, prototypes: int) -> None:
        self.cv1 = ConvBlock(d_in, width, 3)
        self.upsample = ConvTranspose2x2(width, width)
        self.cv2 = ConvBlock(width, width, 3)
        self.cv3 = ConvBlock(width, prototypes)

    def __call__(self, x: jax.Array, frame: Frame) -> jax.Array:
        x = frame.cut(self.upsample(self.cv1(x, frame)))
        return self.cv3(self.cv2(x, frame), frame)
