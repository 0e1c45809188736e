"""The convolutions in front of HQ-SAM's fine mask, ``embedding_maskfeature`` in the originals."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
from flax import nnx

from gsam.nn.layers import Conv, LayerNorm, gelu


class MaskFeature(nnx.Module):
    """Two convolutions, of whose output only the product with one vector per prompt is computed.

    The second convolution and that product are merged into a convolution with one output channel.
    """

    def __init__(self, width: int) -> None:
        self.conv1 = Conv(3, width, 2 * width)
        self.norm1 = LayerNorm(2 * width, 1e-6)
        self.conv2 = Conv(3, 2 * width, width)

    def __call__(self, x: jax.Array, along: jax.Array) -> jax.Array:
        """Map features [N, H, W, E] and a vector per prompt, ``along`` [N, E], to [N, H, W]."""
        x = gelu(self.norm1(self.conv1(x)))
        _, h, w, _ = x.shape
        kernel, bias = self.conv2.kernel[...].astype(x.dtype), self.conv2.bias
        assert bias is not None
        taps = jnp.einsum("ijfe,ne->nijf", kernel, along)
        products = jnp.einsum("nijf,nhwf->nijhw", taps, x)
        products = jnp.pad(products, ((0, 0), (0, 0), (0, 0), (1, 1), (1, 1)))
        shifted = (products[:, i, j, i : i + h, j : j + w] for i, j in itertools.product(range(3), repeat=2))
        return sum(shifted, (along @ bias[...].astype(x.dtype))[:, None, None])
