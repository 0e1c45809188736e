"""Self-attention with decomposed relative positions (MViTv2, as in SAM's image encoder): two forms of one function.

The reference adds ``rel_h[q, kh] + rel_w[q, kw]`` to the logits, both taken from the *unscaled* query.  For windows the two
terms are folded into the dot product: the query is widened by its terms, the key by the one-hot code of its row and column.
For large grids that would triple the work, so there queries are taken in tiles with the logits transposed, which keeps a
tile in the cache and adds the terms by broadcasting.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from gsam.nn.layers import softmax

FOLD_UP_TO = 400  # keys: beyond this the widened dot product costs more than tiling
TILE = 128


def attention(q: jax.Array, k: jax.Array, v: jax.Array, rel_h: jax.Array, rel_w: jax.Array) -> jax.Array:
    """``q k v`` [B, K, S*S, D] on an S x S grid, ``rel_h rel_w`` [2S-1, D] -> [B, K, S*S, D]."""
    side = round(q.shape[2] ** 0.5)
    index = np.arange(side)[:, None] - np.arange(side)[None, :] + side - 1  # query - key
    b, heads, n, d = q.shape
    grid = q.reshape(b, heads, side, side, d)
    terms_h = jnp.einsum("bnhwc,hkc->bnhwk", grid, rel_h[index].astype(q.dtype)).reshape(b, heads, n, side)
    terms_w = jnp.einsum("bnhwc,wkc->bnhwk", grid, rel_w[index].astype(q.dtype)).reshape(b, heads, n, side)
    q = q * d**-0.5
    if n <= FOLD_UP_TO or n % TILE:
        return _folded(q, k, v, terms_h, terms_w)
    return _tiled(q, k, v, terms_h, terms_w)


def _folded(q: jax.Array, k: jax.Array, v: jax.Array, terms_h: jax.Array, terms_w: jax.Array) -> jax.Array:
    b, heads, n, _ = q.shape
    side = terms_h.shape[-1]
    rows = np.kron(np.eye(side), np.ones((side, 1)))
    columns = np.kron(np.ones((side, 1)), np.eye(side))
    code = jnp.asarray(np.concatenate([rows, columns], 1), k.dtype)  # [n, 2S]
    wide_q = jnp.concatenate([q, terms_h, terms_w], -1)
    wide_k = jnp.concatenate([k, jnp.broadcast_to(code, (b, heads, n, 2 * side))], -1)
    weights = softmax(jnp.einsum("bnqd,bnkd->bnqk", wide_q, wide_k))
    return jnp.einsum("bnqk,bnkd->bnqd", weights, v)


def _tiled(q: jax.Array, k: jax.Array, v: jax.Array, terms_h: jax.Array, terms_w: jax.Array) -> jax.Array:
    b, heads, n, d = q.shape
    side = terms_h.shape[-1]

    def tiles(x: jax.Array) -> jax.Array:  # [B, K, n, F] -> [B*K, tiles, F, TILE]
        return x.reshape(b * heads, n // TILE, TILE, x.shape[-1]).swapaxes(2, 3)

    def head(args: tuple[jax.Array, ...]) -> jax.Array:
        q_tiles, h_tiles, w_tiles, keys, values = args

        def tile(args: tuple[jax.Array, ...]) -> jax.Array:
            q_tile, h_tile, w_tile = args
            logits = (keys @ q_tile).astype(jnp.float32).reshape(side, side, TILE)
            logits = logits + h_tile[:, None, :].astype(jnp.float32) + w_tile[None, :, :].astype(jnp.float32)
            weights = jnp.exp(logits - logits.max((0, 1), keepdims=True))
            total = weights.sum((0, 1))
            out = values @ weights.reshape(n, TILE).astype(values.dtype)
            return (out.astype(jnp.float32) / total[None, :]).astype(values.dtype)

        return lax.map(tile, (q_tiles, h_tiles, w_tiles))

    keys = k.reshape(b * heads, n, d)
    values = v.reshape(b * heads, n, d).swapaxes(1, 2)
    out = lax.map(head, (tiles(q), tiles(terms_h), tiles(terms_w), keys, values))  # [B*K, tiles, D, TILE]
    return out.swapaxes(2, 3).reshape(b, heads, n, d)
