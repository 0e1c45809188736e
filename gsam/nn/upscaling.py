"""The last part of SAM's mask decoder: the image made finer, channels first, and the masks of it.

Source: segment_anything/modeling/mask_decoder.py.

No data is moved until the masks are finished: the rows and columns that a doubling makes stay axes
of their own.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from gsam.nn.layers import ConvTranspose2x2, LayerNorm, gelu, over_channels


class Upscaling(nnx.Module):
    """Fourfold upscaling of the image, [N, D, h w] -> [N, D/8, 2, 2, 2, 2, h w].

    ``output_upscaling.0``, ``.1`` and ``.3`` in the original.  Both transposed convolutions make
    every pixel four: rows and columns of the second, then of the first, stay axes of their own, so
    that no data is moved.
    """

    def __init__(self, width: int) -> None:
        self.conv1 = ConvTranspose2x2(width, width // 4)
        self.norm1 = LayerNorm(width // 4, 1e-6)
        self.conv2 = ConvTranspose2x2(width // 4, width // 8)

    def __call__(self, x: jax.Array, finer: tuple[jax.Array, jax.Array] | None = None) -> jax.Array:
        """Upscale ``x`` [N, D, h w].

        Args:
            x: The image, channels first.
            finer: Maps added after each convolution (SAM 2), [D/4, 4 L] and [D/8, 16 L], in the
                order of `quadrupled`.
        """
        n, _, pixels = x.shape
        x = _quadruple(self.conv1, x)  # [N, D/4, 4 L]
        x = gelu(over_channels(self.norm1, x if finer is None else x + finer[0]))
        x = _quadruple(self.conv2, x)  # [N, D/8, 16 L]
        x = gelu(x if finer is None else x + finer[1])
        return x.reshape(n, -1, 2, 2, 2, 2, pixels)


def in_place(hyper: jax.Array, pixels: jax.Array, height: int) -> jax.Array:
    """Multiply mask vectors with upscaled pixels, and bring the logits into the order of pixels.

    Args:
        hyper: [N, M, E].
        pixels: [N, E, 2, 2, 2, 2, h w], as `Upscaling` leaves them.
        height: Rows h of the image embedding.

    Returns:
        [N, M, 4h, 4w] float32.
    """
    n, m, channels = hyper.shape
    width = pixels.shape[-1] // height
    logits = hyper @ pixels.reshape(n, channels, -1)
    logits = logits.reshape(n, m, 2, 2, 2, 2, height, width).transpose(0, 1, 6, 4, 2, 7, 5, 3)
    return logits.reshape(n, m, 4 * height, 4 * width).astype(jnp.float32)


def channels_last(pixels: jax.Array, height: int) -> jax.Array:
    """Bring pixels, as `Upscaling` leaves them, into the layout [N, 4h, 4w, E]."""
    n, channels, *_, length = pixels.shape
    pixels = pixels.reshape(n, channels, 2, 2, 2, 2, height, length // height).transpose(0, 6, 4, 2, 7, 5, 3, 1)
    return pixels.reshape(n, 4 * height, -1, channels)


def quadrupled(x: jax.Array, height: int) -> jax.Array:
    """Bring a finer map into the order that `Upscaling` gives the pixels of a map [h, w].

    Args:
        x: [2h, 2w, E] or [4h, 4w, E].
        height: Rows h of the image embedding.

    Returns:
        [E, 4 h w] or [E, 16 h w].
    """
    rows, columns, e = x.shape
    width, times = columns * height // rows, (rows // height).bit_length() - 1
    x = x.reshape(height, *[2] * times, width, *[2] * times, e)
    finest_first = [a for t in range(times, 0, -1) for a in (t, 1 + times + t)]  # row and column of each doubling
    return x.transpose(x.ndim - 1, *finest_first, 0, 1 + times).reshape(e, -1)


def _quadruple(conv: ConvTranspose2x2, x: jax.Array) -> jax.Array:
    """Transposed convolution of [N, D, L] -> [N, E, 4 L]: the new pixel's row and column first.

    The kernel is repeated for every N because a product of one matrix with many is made by moving
    the many about.
    """
    kernel = conv.kernel[...].astype(x.dtype)  # [2, 2, D, E]
    n, out = x.shape[0], kernel.shape[-1]
    flat = kernel.transpose(3, 0, 1, 2).reshape(4 * out, -1)
    y = jnp.broadcast_to(flat, (n, *flat.shape)) @ x
    return y.reshape(n, out, -1) + conv.bias[...].astype(x.dtype)[:, None]
