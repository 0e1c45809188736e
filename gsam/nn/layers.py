"""Layers with torch's arithmetic, abstract by construction (`gsam.bind.param`).

Parameters keep Flax's names: ``kernel`` is [in, out] or [kh, kw, in, out], norms have ``scale`` and
``bias``, tables ``embedding``.  Everything is channels-last.  Statistics and softmax stay in
float32 whatever the dtype of the input.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from gsam.bind import param

Activation = Callable[[jax.Array], jax.Array]


class Linear(nnx.Module):
    """A linear layer ``x @ kernel + bias`` over the last axis."""

    def __init__(self, d_in: int, d_out: int, *, bias: bool = True) -> None:
        self.kernel = param(d_in, d_out)
        self.bias = param(d_out) if bias else None

    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.kernel[...].astype(x.dtype)
        y = x @ kernel
        return y if self.bias is None else y + self.bias[...].astype(x.dtype)


class PatchEmbed(nnx.Module):
    """A convolution whose stride is its kernel, as one matmul: [B, H, W, 3] -> [B, H/p, W/p, D]."""

    def __init__(self, patch: int, d_in: int, d_out: int, *, bias: bool = True) -> None:
        self.kernel = param(patch, patch, d_in, d_out)
        self.bias = param(d_out) if bias else None

    def __call__(self, x: jax.Array) -> jax.Array:
        p, _, c, d = self.kernel[...].shape
        b, h, w, _ = x.shape
        x = x.reshape(b, h // p, p, w // p, p, c).transpose(0, 1, 3, 2, 4, 5).reshape(b, h // p, w // p, p * p * c)
        y = x @ self.kernel[...].astype(x.dtype).reshape(p * p * c, d)
        return y if self.bias is None else y + self.bias[...].astype(x.dtype)


class Conv(nnx.Module):
    """A convolution padded by half its (odd) kernel per side: [B, H, W, C] -> [B, H/s, W/s, D]."""

    def __init__(self, kernel: int, d_in: int, d_out: int, *, stride: int = 1, bias: bool = True) -> None:
        self.kernel = param(kernel, kernel, d_in, d_out)
        self.bias = param(d_out) if bias else None
        self.stride = stride

    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.kernel[...].astype(x.dtype)
        if kernel.shape[0] == self.stride == 1:
            y = x @ kernel[0, 0]
        else:
            pad = kernel.shape[0] // 2
            y = lax.conv_general_dilated(
                x, kernel, (self.stride,) * 2, [(pad, pad)] * 2, dimension_numbers=("NHWC", "HWIO", "NHWC")
            )
        return y if self.bias is None else y + self.bias[...].astype(x.dtype)


class ConvTranspose2x2(nnx.Module):
    """torch's ``ConvTranspose2d(kernel_size=2, stride=2)``.

    ``out[2i+a, 2j+b] = x[i, j] @ kernel[a, b]``.
    """

    def __init__(self, d_in: int, d_out: int) -> None:
        self.kernel = param(2, 2, d_in, d_out)
        self.bias = param(d_out)

    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.kernel[...].astype(x.dtype)
        *lead, h, w, c = x.shape
        d = kernel.shape[-1]
        y = x @ kernel.transpose(2, 0, 1, 3).reshape(c, 4 * d)  # [..., h, w, 2 * 2 * d]
        y = y.reshape(*lead, h, w, 2, 2, d).swapaxes(-4, -3).reshape(*lead, 2 * h, 2 * w, d)
        return y + self.bias[...].astype(x.dtype)


class LayerNorm(nnx.Module):
    """Layer norm over the last axis; SAM's ``LayerNorm2d`` too, as channels are last here.

    Two passes, biased variance.
    """

    def __init__(self, width: int, eps: float = 1e-5) -> None:
        self.scale = param(width)
        self.bias = param(width)
        self.eps = eps

    def __call__(self, x: jax.Array) -> jax.Array:
        y = x.astype(jnp.float32)
        y = y - y.mean(-1, keepdims=True)
        y = y * lax.rsqrt((y * y).mean(-1, keepdims=True) + self.eps)
        return (y * self.scale[...].astype(jnp.float32) + self.bias[...].astype(jnp.float32)).astype(x.dtype)


class BatchNorm(nnx.Module):
    """Batch norm by running statistics, computed in float32."""

    def __init__(self, width: int, eps: float = 1e-5) -> None:
        self.scale = param(width)
        self.bias = param(width)
        self.running_mean = param(width)
        self.running_var = param(width)
        self.eps = eps

    def gain_and_shift(self) -> tuple[jax.Array, jax.Array]:
        """Factor and summand per channel, [D] float32."""
        scale, bias, mean, variance = (
            p[...].astype(jnp.float32) for p in (self.scale, self.bias, self.running_mean, self.running_var)
        )
        gain = scale * lax.rsqrt(variance + self.eps)
        return gain, bias - mean * gain

    def __call__(self, x: jax.Array) -> jax.Array:
        """Normalise [..., D], and return it as float32."""
        gain, shift = self.gain_and_shift()
        return x.astype(jnp.float32) * gain + shift


class Embedding(nnx.Module):
    """A table of vectors, [rows, D]."""

    def __init__(self, rows: int, width: int) -> None:
        self.embedding = param(rows, width)

    def __call__(self, index: jax.Array) -> jax.Array:
        return self.embedding[...][index]


def by_rows(work: Callable[[jax.Array], jax.Array], x: jax.Array, rows: int = 1024) -> jax.Array:
    """Apply ``work`` to blocks of tokens on a CPU, so that wide intermediates stay in the cache.

    Args:
        work: Maps tokens to tokens, each by itself.
        x: Tokens [B, ..., D].
        rows: Number of tokens at a time, roughly.
    """
    b, *lead, d = x.shape
    length = math.prod(lead)
    count = -(-length // rows)
    if count <= 1:
        return work(x)
    rows = -(-length // (8 * count)) * 8

    def in_parts(x: jax.Array) -> jax.Array:
        padded = jnp.pad(x.reshape(b, length, d), ((0, 0), (0, count * rows - length), (0, 0)))
        out = lax.map(work, padded.reshape(b * count, rows, d))
        return out.reshape(b, count * rows, -1)[:, :length].reshape(b, *lead, -1)

    return lax.platform_dependent(x, cpu=in_parts, default=work)


def gelu(x: jax.Array) -> jax.Array:
    """GELU in its exact form with erf, torch's default."""
    return jax.nn.gelu(x, approximate=False)


def gelu_tanh(x: jax.Array) -> jax.Array:
    """GELU's approximation with tanh, Flax's default and so that of models trained in it."""
    return jax.nn.gelu(x, approximate=True)


def quick_gelu(x: jax.Array) -> jax.Array:
    """CLIP's ``x * sigmoid(1.702 x)``."""
    return x * jax.nn.sigmoid(1.702 * x)


class Mlp(nnx.Module):
    """An MLP: ``depth`` linear layers with an activation between them, in ``layers``."""

    def __init__(self, d_in: int, d_hidden: int, d_out: int, depth: int = 3, act: Activation = jax.nn.relu) -> None:
        widths = [d_in] + [d_hidden] * (depth - 1) + [d_out]
        self.layers = nnx.List([Linear(a, b) for a, b in itertools.pairwise(widths)])
        self.act = act

    def __call__(self, x: jax.Array) -> jax.Array:
        for layer in self.layers[:-1]:
            x = self.act(layer(x))
        return self.layers[-1](x)


class FeedForward(nnx.Module):
    """Two linear layers with an activation between them, ``fc1`` and ``fc2``."""

    def __init__(self, width: int, hidden: int, act: Activation = gelu) -> None:
        self.fc1 = Linear(width, hidden)
        self.fc2 = Linear(hidden, width)
        self.act = act

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.fc2(self.act(self.fc1(x)))


class MlpBlock(nnx.Module):
    """`FeedForward` under SAM's names, ``lin1`` and ``lin2``."""

    def __init__(self, width: int, hidden: int, act: Activation = gelu) -> None:
        self.lin1 = Linear(width, hidden)
        self.lin2 = Linear(hidden, width)
        self.act = act

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.lin2(self.act(self.lin1(x)))


NEVER = -1e30
"""The logit of what must not be seen: finite, so that a row that sees nothing is no NaN."""


def softmax(x: jax.Array, axis: int = -1) -> jax.Array:
    """In float32, returned in the dtype of ``x``."""
    return jax.nn.softmax(x.astype(jnp.float32), axis=axis).astype(x.dtype)


def over_channels(norm: LayerNorm, x: jax.Array) -> jax.Array:
    """Layer norm of [..., D, L] over D."""
    y = x.astype(jnp.float32)
    y = y - y.mean(-2, keepdims=True)
    y = y * lax.rsqrt((y * y).mean(-2, keepdims=True) + norm.eps)
    scale, bias = norm.scale[...].astype(jnp.float32), norm.bias[...].astype(jnp.float32)
    return (y * scale[:, None] + bias[:, None]).astype(x.dtype)
