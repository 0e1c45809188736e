"""The two towers of CLIP, shared by CLIP, OWL-ViT and, in their layers, SigLIP (Radford et al.

2021).

Pre-norm transformers with quick GELU and layer norms of eps 1e-5, with the attribute names of the
Hugging Face layout.  The text tower is causal and is read at its last token, which is the position
of the highest id.  SigLIP's towers are made of the same layers, with another GELU and eps 1e-6.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from gsam.bind import param
from gsam.nn.attention import attend
from gsam.nn.layers import (
    Activation,
    Embedding,
    FeedForward,
    LayerNorm,
    Linear,
    PatchEmbed,
    gelu,
    gelu_tanh,
    quick_gelu,
)
from gsam.weights.fields import Fields


@dataclasses.dataclass(frozen=True)
class Tower:
    """Sizes of a transformer."""

    width: int
    depth: int
    heads: int
    mlp_ratio: int = 4
    mlp: int = 0
    """Width inside the MLP where it is no multiple of ``width``, else 0."""
    act: Literal["quick_gelu", "gelu", "gelu_tanh"] = "quick_gelu"
    eps: float = 1e-5

    @property
    def hidden(self) -> int:
        """Width inside the MLP."""
        return self.mlp or self.mlp_ratio * self.width


def tower_of(fields: Fields, official: Tower) -> Tower:
    """Read a tower of a Hugging Face ``config.json``; what it leaves out is the official one's.

    Raises:
        CheckpointError: Sizes that cannot be, or an activation that is not known.
    """
    width, heads = fields.size("hidden_size", official.width), fields.size("num_attention_heads", official.heads)
    hidden = fields.size("intermediate_size", official.hidden)
    fields.divides(width, heads, "heads")
    fields.only(num_channels=3)
    whole = hidden % width == 0
    return Tower(
        width,
        fields.layers("num_hidden_layers", official.depth),
        heads,
        hidden // width if whole else 4,
        0 if whole else hidden,
        cast(Any, fields.word("hidden_act", ACT_WORDS, next(k for k, v in ACT_WORDS.items() if v == official.act))),
        fields.number("layer_norm_eps", official.eps, 1e-12, 1.0),
    )


ACT_WORDS = {"quick_gelu": "quick_gelu", "gelu": "gelu", "gelu_pytorch_tanh": "gelu_tanh"}
"""Hugging Face's names of activations, and ours."""
ACTS: dict[str, Activation] = {"quick_gelu": quick_gelu, "gelu": gelu, "gelu_tanh": gelu_tanh}


class Attention(nnx.Module):
    """Multi-head self-attention."""

    def __init__(self, width: int, heads: int) -> None:
        self.q_proj = Linear(width, width)
        self.k_proj = Linear(width, width)
        self.v_proj = Linear(width, width)
        self.out_proj = Linear(width, width)
        self.heads = heads

    def __call__(self, x: jax.Array, mask: np.ndarray | None = None) -> jax.Array:
        *lead, tokens, width = x.shape
        head = width // self.heads

        def split(y: jax.Array) -> jax.Array:
            return y.reshape(*lead, tokens, self.heads, head)

        y = attend(split(self.q_proj(x)), split(self.k_proj(x)), split(self.v_proj(x)), mask=mask)
        return self.out_proj(y.reshape(*lead, tokens, width))


def feed_forward(tower: Tower) -> FeedForward:
    """The feed-forward block of one of a tower's layers."""
    return FeedForward(tower.width, tower.hidden, ACTS[tower.act])


class Layer(nnx.Module):
    """A pre-norm transformer layer."""

    def __init__(self, tower: Tower) -> None:
        self.layer_norm1 = LayerNorm(tower.width, tower.eps)
        self.self_attn = Attention(tower.width, tower.heads)
        self.layer_norm2 = LayerNorm(tower.width, tower.eps)
        self.mlp = feed_forward(tower)

    def __call__(self, x: jax.Array, mask: np.ndarray | None = None) -> jax.Array:
        x = x + self.self_attn(self.layer_norm1(x), mask)
        return x + self.mlp(self.layer_norm2(x))


class Encoder(nnx.Module):
    """The layers of a tower."""

    def __init__(self, tower: Tower) -> None:
        self.layers = nnx.List([Layer(tower) for _ in range(tower.depth)])

    def __call__(self, x: jax.Array, mask: np.ndarray | None = None) -> jax.Array:
        for layer in self.layers:
            x = layer(x, mask)
        return x


class VisionEmbeddings(nnx.Module):
    """Patch and position embeddings, with the class token first."""

    def __init__(self, width: int, image_size: int, patch: int) -> None:
        self.class_embedding = param(width)
        self.patch_embedding = PatchEmbed(patch, 3, width, bias=False)
        self.position_embedding = Embedding((image_size // patch) ** 2 + 1, width)

    def __call__(self, pixels: jax.Array) -> jax.Array:
        x = self.patch_embedding(pixels)  # [B, h, w, D]
        x = x.reshape(x.shape[0], -1, x.shape[-1])
        first = jnp.broadcast_to(self.class_embedding[...].astype(x.dtype), (x.shape[0], 1, x.shape[-1]))
        x = jnp.concatenate([first, x], 1)
        return x + self.position_embedding.embedding[...].astype(x.dtype)


class VisionTower(nnx.Module):
    """ViT: normalised pixels [B, S, S, 3] -> tokens [B, 1 + hw, D] before the last norm.

    The class token comes first.
    """

    def __init__(self, tower: Tower, image_size: int, patch: int) -> None:
        self.embeddings = VisionEmbeddings(tower.width, image_size, patch)
        self.pre_layernorm = LayerNorm(tower.width, tower.eps)
        self.encoder = Encoder(tower)
        self.post_layernorm = LayerNorm(tower.width, tower.eps)

    def __call__(self, pixels: jax.Array) -> jax.Array:
        return self.encoder(self.pre_layernorm(self.embeddings(pixels)))


class TextEmbeddings(nnx.Module):
    """Token and position embeddings."""

    def __init__(self, vocab: int, context: int, width: int) -> None:
        self.token_embedding = Embedding(vocab, width)
        self.position_embedding = Embedding(context, width)

    def __call__(self, ids: jax.Array) -> jax.Array:
        return self.token_embedding(ids) + self.position_embedding.embedding[...][: ids.shape[-1]]


class TextTower(nnx.Module):
    """Causal text transformer: ids [C, T], padded with 0 -> [C, D] at the last token.

    That is the first ``end``, or the highest id where there is none.
    """

    def __init__(self, tower: Tower, vocab: int, context: int, end: int | None = None) -> None:
        self.end = end
        self.embeddings = TextEmbeddings(vocab, context, tower.width)
        self.encoder = Encoder(tower)
        self.final_layer_norm = LayerNorm(tower.width, tower.eps)

    def __call__(self, ids: jax.Array) -> jax.Array:
        causal = np.tril(np.ones((ids.shape[-1],) * 2, bool))
        x = self.final_layer_norm(self.encoder(self.embeddings(ids), causal))
        last = ids.argmax(-1) if self.end is None else (ids == self.end).argmax(-1)
        return jnp.take_along_axis(x, last[:, None, None], 1)[:, 0]


def normalise(x: jax.Array, eps: float = 0.0) -> jax.Array:
    """Scale to unit length over the last axis, with ``eps`` added to the length."""
    return x / (jnp.linalg.norm(x, axis=-1, keepdims=True) + eps)
