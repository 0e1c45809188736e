"""BERT (Devlin et al.

2019) over phrases that do not see each other; the original's attribute names.
"""

from __future__ import annotations

import jax
from flax import nnx

from gsam.models.grounding_dino.config import BertConfig
from gsam.nn.attention import attend
from gsam.nn.layers import Embedding, LayerNorm, Linear, gelu

EPS = 1e-12


class Embeddings(nnx.Module):
    """Word, position and type embeddings."""

    def __init__(self, config: BertConfig) -> None:
        self.word_embeddings = Embedding(config.vocab, config.width)
        self.position_embeddings = Embedding(config.positions, config.width)
        self.token_type_embeddings = Embedding(2, config.width)
        self.LayerNorm = LayerNorm(config.width, EPS)

    def __call__(self, ids: jax.Array, position: jax.Array) -> jax.Array:
        kind = self.token_type_embeddings.embedding[...][0]
        return self.LayerNorm(self.word_embeddings(ids) + self.position_embeddings(position) + kind)


class SelfAttention(nnx.Module):
    """Multi-head self-attention under a mask."""

    def __init__(self, config: BertConfig) -> None:
        self.query = Linear(config.width, config.width)
        self.key = Linear(config.width, config.width)
        self.value = Linear(config.width, config.width)
        self.heads = config.heads

    def __call__(self, x: jax.Array, sees: jax.Array) -> jax.Array:
        *lead, n, d = x.shape
        q, k, v = (f(x).reshape(*lead, n, self.heads, -1) for f in (self.query, self.key, self.value))
        return attend(q, k, v, mask=sees[..., None, :, :]).reshape(*lead, n, d)


class Output(nnx.Module):
    """A linear layer, a residual, and a norm."""

    def __init__(self, d_in: int, d_out: int) -> None:
        self.dense = Linear(d_in, d_out)
        self.LayerNorm = LayerNorm(d_out, EPS)

    def __call__(self, x: jax.Array, residual: jax.Array) -> jax.Array:
        return self.LayerNorm(self.dense(x) + residual)


class BertAttention(nnx.Module):
    """Self-attention with its output layer."""

    def __init__(self, config: BertConfig) -> None:
        self.self = SelfAttention(config)
        self.output = Output(config.width, config.width)

    def __call__(self, x: jax.Array, sees: jax.Array) -> jax.Array:
        return self.output(self.self(x, sees), x)


class Intermediate(nnx.Module):
    """The first linear layer of the MLP, with GELU."""

    def __init__(self, config: BertConfig) -> None:
        self.dense = Linear(config.width, config.hidden)

    def __call__(self, x: jax.Array) -> jax.Array:
        return gelu(self.dense(x))


class BertLayer(nnx.Module):
    """A post-norm transformer layer."""

    def __init__(self, config: BertConfig) -> None:
        self.attention = BertAttention(config)
        self.intermediate = Intermediate(config)
        self.output = Output(config.hidden, config.width)

    def __call__(self, x: jax.Array, sees: jax.Array) -> jax.Array:
        x = self.attention(x, sees)
        return self.output(self.intermediate(x), x)


class BertEncoder(nnx.Module):
    """The layers, under the original's name."""

    def __init__(self, config: BertConfig) -> None:
        self.layer = nnx.List([BertLayer(config) for _ in range(config.depth)])


class Bert(nnx.Module):
    """BERT without its pooler."""

    def __init__(self, config: BertConfig) -> None:
        self.embeddings = Embeddings(config)
        self.encoder = BertEncoder(config)

    def __call__(self, ids: jax.Array, position: jax.Array, sees: jax.Array) -> jax.Array:
        """Encode phrases.

        Args:
            ids: [C, T] token ids.
            position: [C, T] place of each token in its phrase.
            sees: [C, T, T] bool: which tokens see which.

        Returns:
            [C, T, D].
        """
        x = self.embeddings(ids, position)
        for layer in self.encoder.layer:
            x = layer(x, sees)
        return x
