"""Attention of Grounding DINO's enhancer and decoder, dense and deformable, and sine codes."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from gsam.nn.attention import attend
from gsam.nn.layers import Linear
from gsam.ops.deformable import sample


class Attention(nnx.Module):
    """torch's ``MultiheadAttention``, its stacked projection taken apart."""

    def __init__(self, width: int, heads: int) -> None:
        self.query = Linear(width, width)
        self.key = Linear(width, width)
        self.value = Linear(width, width)
        self.out_proj = Linear(width, width)
        self.heads = heads

    def __call__(self, q: jax.Array, k: jax.Array, v: jax.Array, sees: jax.Array) -> jax.Array:
        """Attend from queries to keys.

        Args:
            q: [B, Q, D].
            k: [B, T, D].
            v: [B, T, D].
            sees: [B, Q, T] or [B, 1, T] bool: which queries see which keys.

        Returns:
            [B, Q, D].
        """
        b, n, d = q.shape
        q, k, v = (
            f(x).reshape(b, -1, self.heads, d // self.heads)
            for f, x in ((self.query, q), (self.key, k), (self.value, v))
        )
        return self.out_proj(attend(q, k, v, mask=sees[:, None]).reshape(b, n, d))


class DeformableAttention(nnx.Module):
    """Multi-scale deformable attention (Zhu et al. 2021)."""

    def __init__(self, width: int, heads: int, levels: int, points: int) -> None:
        self.sampling_offsets = Linear(width, heads * levels * points * 2)
        self.attention_weights = Linear(width, heads * levels * points)
        self.value_proj = Linear(width, width)
        self.output_proj = Linear(width, width)
        self.layout = heads, levels, points

    def __call__(
        self,
        query: jax.Array,
        memory: jax.Array,
        real: jax.Array,
        shapes: Sequence[tuple[int, int]],
        centre: jax.Array,
        reach: jax.Array,
    ) -> jax.Array:
        """Attend from queries to points of maps.

        Args:
            query: [B, Q, D].
            memory: [B, S, D]: the maps one after the other.
            real: [B, S] bool: tokens of ``memory`` that are image.
            shapes: (h, w) of each map.
            centre: [B, Q, L, 2] x y: where each query looks on each map, in pixels from its upper
                left corner.
            reach: Length of an offset of 1 in pixels; broadcasts to ``centre``.

        Returns:
            [B, Q, D].
        """
        heads, levels, points = self.layout
        b, n, _ = query.shape
        value = jnp.where(real[..., None], self.value_proj(memory), jnp.zeros((), memory.dtype))
        wide = query.astype(jnp.float32)  # positions are float32 whatever the dtype
        offset = self.sampling_offsets(wide).reshape(b, n, heads, levels, points, 2)
        weight = jax.nn.softmax(self.attention_weights(wide).reshape(b, n, heads, -1), -1)
        xy = centre[:, :, None, :, None] + offset * reach[:, :, None, :, None] - 0.5
        found = sample(
            value.reshape(b, -1, heads, value.shape[-1] // heads),
            shapes,
            xy,
            weight.reshape(b, n, heads, levels, points),
        )
        return self.output_proj(found.astype(query.dtype))


def sine(x: jax.Array, features: int, temperature: float) -> jax.Array:
    """Encode numbers [...] in radians as sines and cosines in turn, of falling frequency.

    Returns:
        [..., features] float32.
    """
    power = 2 * (np.arange(features) // 2) / features
    angle = x.astype(jnp.float32)[..., None] / np.asarray(temperature**power, np.float32)
    return jnp.where(np.arange(features) % 2 == 0, jnp.sin(angle), jnp.cos(angle))
