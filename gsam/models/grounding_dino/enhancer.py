"""Grounding DINO's feature enhancer (original: ``transformer.py``).

In each layer image and text attend to each other, then each to itself.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from gsam.bind import param
from gsam.models.grounding_dino.attention import Attention, DeformableAttention, sine
from gsam.models.grounding_dino.config import Config
from gsam.nn.layers import NEVER, LayerNorm, Linear, by_rows


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Picture:
    """The feature maps of a batch of images, one after the other, row by row."""

    tokens: jax.Array
    """[B, S, D]."""
    sizes: jax.Array
    """[B, L, 2] int32: rows and columns of each map that are image."""
    shapes: tuple[tuple[int, int], ...] = dataclasses.field(metadata=dict(static=True))
    """(h, w) of each map."""

    @property
    def level(self) -> np.ndarray:
        """[S] index of each token's map."""
        return np.repeat(np.arange(len(self.shapes)), [h * w for h, w in self.shapes])

    @property
    def place(self) -> np.ndarray:
        """[S, 2] float32 x y: each token's pixel on its map."""
        grids = [np.stack(np.meshgrid(np.arange(w), np.arange(h)), -1).reshape(-1, 2) for h, w in self.shapes]
        return np.concatenate(grids).astype(np.float32)

    @property
    def extent(self) -> jax.Array:
        """[B, S, 2] float32 x y: size of the image on each token's map."""
        return self.sizes[:, self.level, ::-1].astype(jnp.float32)

    @property
    def real(self) -> jax.Array:
        """[B, S] bool: tokens that are image, not padding."""
        return jnp.all(jnp.asarray(self.place) < self.extent, -1)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Phrases:
    """A batch of captions."""

    tokens: jax.Array
    """[B, T, D]."""
    block: jax.Array
    """[B, T] int32: the phrase of each token, 0 for padding."""
    position: jax.Array
    """[B, T] int32: place of each token in its phrase."""

    @property
    def real(self) -> jax.Array:
        """[B, T] bool: tokens that are not padding."""
        return self.block > 0

    @property
    def sees(self) -> jax.Array:
        """[B, T, T] bool: tokens of one phrase see each other, padding only itself."""
        same = (self.block[:, :, None] == self.block[:, None, :]) & self.real[:, :, None]
        return same | jnp.eye(self.block.shape[1], dtype=bool)


class BiAttention(nnx.Module):
    """Attention between image and text, both ways at once.

    The wide projections of the image's tokens are folded into the few tokens of the text.  The
    original projects every pixel to 1024 numbers three times.  ``(v W) . k`` is ``v . (W k)``, so a
    pixel meets one vector per text token and head: the same sums in another order, and fewer of
    them below 256 tokens.
    """

    def __init__(self, config: Config) -> None:
        width, wide = config.width, config.hidden // 2
        self.v_proj = Linear(width, wide)
        self.l_proj = Linear(width, wide)
        self.values_v_proj = Linear(width, wide)
        self.values_l_proj = Linear(width, wide)
        self.out_v_proj = Linear(wide, width)
        self.out_l_proj = Linear(wide, width)
        self.heads = config.heads // 2

    def __call__(self, v: jax.Array, t: jax.Array, real_v: jax.Array, real_t: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Attend between image and text.

        Args:
            v: Image tokens [B, S, D].
            t: Text tokens [B, T, D].
            real_v: [B, S] bool: image tokens that are not padding.
            real_t: [B, T] bool: text tokens that are not padding.

        Returns:
            Residuals of both, [B, S, D] and [B, T, D].
        """
        b, s, d = v.shape
        n, heads, dtype = t.shape[1], self.heads, v.dtype

        def apart(linear: Linear, *, out: bool = False) -> tuple[jax.Array, jax.Array]:
            kernel, bias = linear.kernel[...].astype(dtype), _bias(linear).astype(dtype)
            if out:
                return kernel.reshape(heads, -1, d), bias
            return kernel.reshape(d, heads, -1), bias.reshape(heads, -1)

        key = self.l_proj(t).reshape(b, n, heads, -1) * (self.v_proj.kernel[...].shape[1] // heads) ** -0.5
        kernel, bias = apart(self.v_proj)
        meets = jnp.einsum("dhe,bthe->bdht", kernel, key).reshape(b, d, heads * n)
        logits = (v @ meets).reshape(b, s, heads, n) + jnp.einsum("he,bthe->bht", bias, key)[:, None]
        logits = logits.astype(jnp.float32)

        of_text = jax.nn.softmax(jnp.where(real_t[:, None, None, :], logits, NEVER), -1).astype(dtype)
        kernel, bias = apart(self.out_v_proj, out=True)
        value = jnp.einsum("bthe,hed->bhtd", self.values_l_proj(t).reshape(b, n, heads, -1), kernel)
        gain_v = of_text.reshape(b, s, heads * n) @ value.reshape(b, heads * n, d) + bias

        of_picture = jax.nn.softmax(jnp.where(real_v[:, :, None, None], logits, NEVER), 1).astype(dtype)
        seen = jnp.einsum("bsm,bsd->bmd", of_picture.reshape(b, s, heads * n), v).reshape(b, heads, n, d)
        kernel, bias = apart(self.values_v_proj)
        seen = jnp.einsum("bhtd,dhe->bthe", seen, kernel) + bias
        return gain_v, self.out_l_proj(seen.reshape(b, n, -1))


class FusionLayer(nnx.Module):
    """Attention between image and text, added to the *normalised* tokens, as in the original."""

    def __init__(self, config: Config) -> None:
        self.layer_norm_v = LayerNorm(config.width)
        self.layer_norm_l = LayerNorm(config.width)
        self.attn = BiAttention(config)
        self.gamma_v = param(config.width)
        self.gamma_l = param(config.width)

    def __call__(self, v: jax.Array, t: jax.Array, real_v: jax.Array, real_t: jax.Array) -> tuple[jax.Array, jax.Array]:
        v, t = self.layer_norm_v(v), self.layer_norm_l(t)
        gain_v, gain_t = self.attn(v, t, real_v, real_t)
        return v + self.gamma_v[...].astype(v.dtype) * gain_v, t + self.gamma_l[...].astype(t.dtype) * gain_t


class TextLayer(nnx.Module):
    """A post-norm transformer layer of the text."""

    def __init__(self, config: Config) -> None:
        self.self_attn = Attention(config.width, config.heads // 2)
        self.norm1 = LayerNorm(config.width)
        self.linear1 = Linear(config.width, config.hidden // 2)
        self.linear2 = Linear(config.hidden // 2, config.width)
        self.norm2 = LayerNorm(config.width)

    def __call__(self, x: jax.Array, place: jax.Array, sees: jax.Array) -> jax.Array:
        query = x + place
        x = self.norm1(x + self.self_attn(query, query, x, sees))
        return self.norm2(x + self.linear2(jax.nn.relu(self.linear1(x))))


class PictureLayer(nnx.Module):
    """A post-norm transformer layer of the image, with deformable attention."""

    def __init__(self, config: Config) -> None:
        self.self_attn = DeformableAttention(config.width, config.heads, config.levels, config.points)
        self.norm1 = LayerNorm(config.width)
        self.linear1 = Linear(config.width, config.hidden)
        self.linear2 = Linear(config.hidden, config.width)
        self.norm2 = LayerNorm(config.width)

    def __call__(self, x: jax.Array, place: jax.Array, picture: Picture) -> jax.Array:
        scale = picture.sizes[:, None, :, ::-1].astype(jnp.float32)  # [B, 1, L, 2]
        at = jnp.asarray(picture.place + np.float32(0.5)) / picture.extent
        centre = at[:, :, None] * scale
        x = self.norm1(
            x + self.self_attn(x + place, x, picture.real, picture.shapes, centre, jnp.ones((1, 1, 1, 1), jnp.float32))
        )
        return by_rows(lambda rows: self.norm2(rows + self.linear2(jax.nn.relu(self.linear1(rows)))), x)


class Enhancer(nnx.Module):
    """Layers that fuse image and text, and transform each."""

    def __init__(self, config: Config) -> None:
        self.layers = nnx.List([PictureLayer(config) for _ in range(config.encoder_layers)])
        self.text_layers = nnx.List([TextLayer(config) for _ in range(config.encoder_layers)])
        self.fusion_layers = nnx.List([FusionLayer(config) for _ in range(config.encoder_layers)])

    def __call__(self, picture: Picture, place: jax.Array, text: Phrases) -> tuple[jax.Array, jax.Array]:
        """Enhance image and text.

        Args:
            picture: The images' features.
            place: Code of each image token's position [B, S, D].
            text: The captions.

        Returns:
            Image tokens [B, S, D] and text tokens [B, T, D].
        """
        v, t = picture.tokens, text.tokens
        order = sine(2 * np.pi * text.position.astype(jnp.float32), t.shape[-1], 10000.0).astype(t.dtype)
        for layer, text_layer, fusion in zip(self.layers, self.text_layers, self.fusion_layers, strict=True):
            v, t = fusion(v, t, picture.real, text.real)
            t = text_layer(t, order, text.sees)
            v = layer(v, place, picture)
        return v, t


def _bias(linear: Linear) -> jax.Array:
    assert linear.bias is not None
    return linear.bias[...]
