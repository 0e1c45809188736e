"""Self-attention with decomposed relative positions, in several forms of one function.

Source: MViTv2, as SAM's image encoder has it.

The reference adds ``rel_h[q, kh] + rel_w[q, kw]`` to the logits, both taken from the *unscaled*
query.  For windows the two terms are folded into the dot product: the query is widened by its
terms, the key by the one-hot code of its row and column.  A CPU takes one window at a time, whose
logits stay in the cache.  For large grids folding would triple the work, so there a CPU takes
queries in tiles with the logits transposed, and adds the terms by broadcasting.

With 16-bit numbers on an accelerator large grids go through the kernel of
`gsam.nn.kernels.relative`, and folded windows through cuDNN: a window's 28 columns more cost 22 %
more of 3 GFLOP (1 us of an H200), the logits that stay on the chip save 92 MB of traffic (21 us).
Both must be proved on the device (`gsam.nn.attention`); otherwise, and in float32, XLA does it.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from gsam.nn.attention import Form, accelerator, flash_for, proved
from gsam.nn.layers import softmax

FOLD_UP_TO = 400  # keys: beyond this the widened dot product costs more than tiling
TILE = 128


def attention(q: jax.Array, k: jax.Array, v: jax.Array, rel_h: jax.Array, rel_w: jax.Array) -> jax.Array:
    """Self-attention over an S x S grid with decomposed relative positions.

    Args:
        q: [B, K, S*S, D], not scaled.
        k: [B, K, S*S, D].
        v: [B, K, S*S, D].
        rel_h: [2S-1, D]: a vector per vertical distance of query and key.
        rel_w: [2S-1, D]: a vector per horizontal distance.

    Returns:
        [B, K, S*S, D].
    """
    side = round(q.shape[2] ** 0.5)
    index = np.arange(side)[:, None] - np.arange(side)[None, :] + side - 1  # query - key
    b, heads, n, d = q.shape
    grid = q.reshape(b, heads, side, side, d)
    terms_h = jnp.einsum("bnhwc,hkc->bnhwk", grid, rel_h[index].astype(q.dtype)).reshape(b, heads, n, side)
    terms_w = jnp.einsum("bnhwc,wkc->bnhwk", grid, rel_w[index].astype(q.dtype)).reshape(b, heads, n, side)
    q = q * d**-0.5
    few = n <= FOLD_UP_TO or bool(n % TILE)
    cpu, default = (_by_windows, _folded) if few else (_tiled, _by_heads)
    fast = _fast(q, side, few)
    return lax.platform_dependent(q, k, v, terms_h, terms_w, cpu=cpu, default=default, **fast)


def _fast(q: jax.Array, side: int, few: bool) -> dict[str, Form]:
    """Forms proved on the accelerator at hand, by its name.  The kernel is for a single device."""
    target = accelerator()
    if target is None or q.dtype not in (jnp.bfloat16, jnp.float16):
        return {}
    n, d = q.shape[2:]
    if not few and jax.local_device_count() == 1:
        from gsam.nn.kernels import relative as kernels

        form = functools.partial(kernels.attend, target=target)
        shapes = [(1, 2, n, d)] * 3 + [(1, 2, n, side)] * 2
        name = "the kernel for relative positions"
        if kernels.fits(side, d, target) and proved(name, form, kernels.plain, shapes, q.dtype):
            return {target: form}
    wide = jax.ShapeDtypeStruct((1, n, 2, -(-(d + 2 * side) // 8) * 8), q.dtype)
    flash = flash_for(wide, wide, jax.ShapeDtypeStruct((1, n, 2, d), q.dtype))
    return {} if flash is None else {"cuda": functools.partial(_through, flash)}


def _folded(q: jax.Array, k: jax.Array, v: jax.Array, terms_h: jax.Array, terms_w: jax.Array) -> jax.Array:
    """Attention with the terms folded into queries and keys."""
    wide_q, wide_k = _widened(q, k, terms_h, terms_w)
    weights = softmax(jnp.einsum("bnqd,bnkd->bnqk", wide_q, wide_k))
    return jnp.einsum("bnqk,bnkd->bnqd", weights, v)


def _widened(q: jax.Array, k: jax.Array, terms_h: jax.Array, terms_w: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Queries widened by their terms, keys by the one-hot code of their row and column."""
    b, heads, n, _ = q.shape
    side = terms_h.shape[-1]
    rows = np.kron(np.eye(side), np.ones((side, 1)))
    columns = np.kron(np.ones((side, 1)), np.eye(side))
    code = jnp.asarray(np.concatenate([rows, columns], 1), k.dtype)  # [n, 2S]
    wide_k = jnp.concatenate([k, jnp.broadcast_to(code, (b, heads, n, 2 * side))], -1)
    return jnp.concatenate([q, terms_h, terms_w], -1), wide_k


def _by_windows(q: jax.Array, k: jax.Array, v: jax.Array, terms_h: jax.Array, terms_w: jax.Array) -> jax.Array:
    """Folded attention of one window at a time."""
    return lax.map(lambda xs: _folded(*(x[None] for x in xs))[0], (q, k, v, terms_h, terms_w))


def _through(
    flash: Form, q: jax.Array, k: jax.Array, v: jax.Array, terms_h: jax.Array, terms_w: jax.Array
) -> jax.Array:
    """Folded attention through cuDNN, channels padded to a multiple of 8."""
    wide_q, wide_k = _widened(q, k, terms_h, terms_w)
    pad = ((0, 0), (0, 0), (0, 0), (0, -wide_q.shape[-1] % 8))
    y = flash(*(x.swapaxes(1, 2) for x in (jnp.pad(wide_q, pad), jnp.pad(wide_k, pad), v)))
    return y.swapaxes(1, 2)


def _by_heads(q: jax.Array, k: jax.Array, v: jax.Array, terms_h: jax.Array, terms_w: jax.Array) -> jax.Array:
    """Attention of one head at a time."""
    b, heads, n, d = q.shape

    def head(xs: tuple[jax.Array, ...]) -> jax.Array:
        q, k, v, h, w = xs
        logits = (q @ k.T).reshape(n, h.shape[-1], w.shape[-1]) + h[:, :, None] + w[:, None, :]
        return softmax(logits.reshape(n, n)) @ v

    y = lax.map(head, tuple(x.reshape(b * heads, n, -1) for x in (q, k, v, terms_h, terms_w)))
    return y.reshape(b, heads, n, d)


def _tiled(q: jax.Array, k: jax.Array, v: jax.Array, terms_h: jax.Array, terms_w: jax.Array) -> jax.Array:
    """Attention in tiles of queries with the logits transposed."""
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
