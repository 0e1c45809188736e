"""SAM's prompt encoder: points, boxes and masks become tokens and a dense map.

Source: segment_anything/modeling/prompt_encoder.py.

Counts are padded: a label of `PAD` is the original's "not a point", which it adds itself when there
is no box.  Any other row that must not exist is `ABSENT`, and attention skips it, so that a ragged
batch gives each prompt what it would get alone.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from gsam.bind import param
from gsam.nn.layers import Embedding, LayerNorm, PatchEmbed, gelu

ABSENT, PAD, BACKGROUND, FOREGROUND, TOP_LEFT, BOTTOM_RIGHT = -2, -1, 0, 1, 2, 3


class FourierCode(nnx.Module):
    """Random Fourier features of positions in 0..1."""

    def __init__(self, width: int) -> None:
        self.positional_encoding_gaussian_matrix = param(2, width // 2)

    def __call__(self, xy: jax.Array) -> jax.Array:
        """Encode positions [..., 2] as [..., D], float32."""
        angle = (2.0 * xy - 1.0) @ self.positional_encoding_gaussian_matrix[...].astype(jnp.float32) * (2.0 * np.pi)
        return jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], -1)

    def grid(self, at: np.ndarray) -> jax.Array:
        """Encode each pair of the positions ``at`` [S] as x and y: [D, S, S], rows first.

        The sine of a sum is made of the parts' own, as a product that is computed once and not
        wherever it is used.
        """
        matrix = self.positional_encoding_gaussian_matrix[...].astype(jnp.float32)
        x, y = matrix[:, :, None] * ((2.0 * at - 1.0) * (2.0 * np.pi))  # [D / 2, S] each
        down = jnp.concatenate([jnp.stack([jnp.sin(y), jnp.cos(y)], -1), jnp.stack([jnp.cos(y), -jnp.sin(y)], -1)])
        across = jnp.stack([jnp.cos(x), jnp.sin(x)], 1)  # [D / 2, 2, S]
        return jnp.matmul(down, jnp.concatenate([across, across]), precision="highest")


class MaskDownscaling(nnx.Module):
    """Convolutions of a mask prompt, [N, 4h, 4w, 1] -> [N, h, w, D].

    ``mask_downscaling.0`` to ``.6`` in the original.
    """

    def __init__(self, mask_chans: int, width: int) -> None:
        self.conv1 = PatchEmbed(2, 1, mask_chans // 4)
        self.norm1 = LayerNorm(mask_chans // 4, 1e-6)
        self.conv2 = PatchEmbed(2, mask_chans // 4, mask_chans)
        self.norm2 = LayerNorm(mask_chans, 1e-6)
        self.conv3 = PatchEmbed(1, mask_chans, width)

    def __call__(self, mask: jax.Array) -> jax.Array:
        x = gelu(self.norm1(self.conv1(mask)))
        return self.conv3(gelu(self.norm2(self.conv2(x))))


class PromptEncoder(nnx.Module):
    """SAM's encoder of points, boxes and masks."""

    def __init__(self, width: int, grid: int, image_size: int, mask_chans: int) -> None:
        self.pe_layer = FourierCode(width)
        self.point_embeddings = nnx.List([Embedding(1, width) for _ in range(4)])
        self.not_a_point_embed = Embedding(1, width)
        self.no_mask_embed = Embedding(1, width)
        self.mask_downscaling = MaskDownscaling(mask_chans, width)
        self.grid, self.image_size = grid, image_size

    def points(self, points: jax.Array, labels: jax.Array) -> jax.Array:
        """Encode points and corners of boxes as tokens.

        Half a pixel is added to every position, corners of boxes included.

        Args:
            points: [N, P, 2] x y in pixels of the view.
            labels: [N, P], see the constants of this module.

        Returns:
            [N, P, D] float32.
        """
        code = self.pe_layer((points.astype(jnp.float32) + 0.5) / self.image_size)
        kinds = jnp.concatenate([e.embedding[...] for e in self.point_embeddings]).astype(jnp.float32)  # [4, D]
        known = code + kinds[jnp.clip(labels, 0, 3)]
        return jnp.where((labels < 0)[..., None], self.not_a_point_embed.embedding[...].astype(jnp.float32), known)

    def dense(self, mask: jax.Array | None, has_mask: jax.Array | None) -> jax.Array:
        """Encode mask prompts as a map that is added to the image embedding.

        Args:
            mask: [N, 4h, 4w] raw logits, or None.
            has_mask: [N] bool: which prompts have a mask; None for all.

        Returns:
            [N, h, w, D]; without masks [1, 1, 1, D] to broadcast.
        """
        none = self.no_mask_embed.embedding[...][None, None]  # [1, 1, 1, D]
        if mask is None:
            return none
        given = self.mask_downscaling(mask[..., None])
        return given if has_mask is None else jnp.where(has_mask[:, None, None, None], given, none.astype(given.dtype))

    def image_code(self) -> jax.Array:
        """Positional encoding of the cells' centres, [D, h, w]."""
        centre = (np.arange(self.grid, dtype=np.float32) + 0.5) / self.grid
        return self.pe_layer.grid(centre)
