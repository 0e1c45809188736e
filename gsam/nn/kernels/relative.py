"""Flash attention with decomposed relative positions for large grids such as SAM's 64 x 64.

Neither logits nor bias are in memory.  A program has one tile of queries and walks over the rows of
keys.  Every row of keys meets the same term of columns, ``terms_w[q, :]``, and one number per query
of the other, ``terms_h[q, row]``: the terms need no gather.  Maximum, sum and result are kept in
float32.

Counted for ViT-B's global block in bfloat16 on one H200 (790 TFLOP/s, 4.3 TB/s): 51.5 GFLOP, 65 us,
and 50 MB, 12 us.  The terms as 128 columns more of a cuDNN call: 103 GFLOP, 130 us.  As a bias
tensor: 402 MB written and read, 187 us more.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl

LOWEST = -1e30

State = tuple[jax.Array, jax.Array, jax.Array]
"""Highest logit, sum of weights and weighted sum of values so far, per query."""
SlicedState = tuple[jax.Array, jax.Array, list[jax.Array]]
"""`State` with the values in slices of the head."""


def attend(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    terms_h: jax.Array,
    terms_w: jax.Array,
    *,
    target: str = "cuda",
    interpret: bool = False,
) -> jax.Array:
    """Attention of scaled queries with terms of rows and columns added to the logits.

    Not for several devices: JAX does not split a Pallas call.  The gradient is that of `plain`.

    Args:
        q: [B, K, S*S, D], scaled.
        k: [B, K, S*S, D].
        v: [B, K, S*S, D].
        terms_h: [B, K, S*S, S]: added to the logits of each row of keys.
        terms_w: [B, K, S*S, S]: added to the logits of each column of keys.
        target: ``cuda`` (Triton) or ``tpu`` (Mosaic).
        interpret: Whether to run the kernel in Pallas's interpreter.

    Returns:
        [B, K, S*S, D].
    """
    return _kernel(q, k, v, terms_h, terms_w, target, interpret)


def fits(side: int, d: int, target: str) -> bool:
    """Tell whether the kernel can be made for a grid of ``side`` and heads of width ``d``.

    Triton knows powers of two only, of 16 or more.
    """
    if target == "cuda":
        return side >= 16 and side & (side - 1) == 0 and d % 16 == 0
    return side >= 16 and side % 16 == 0 and side * side % 128 == 0 and d % 8 == 0


def _parts(d: int) -> list[pl.Slice]:
    """Slices of a head, each a power of two long: 80 is 64 and 16."""
    slices, start = [], 0
    while start < d:
        size = 1 << ((d - start).bit_length() - 1)
        slices.append(pl.Slice(start, size))
        start += size
    return slices


def _dot(a: jax.Array, b: jax.Array, over: tuple[int, int]) -> jax.Array:
    """Dot product of ``a`` and ``b`` over one axis of each, summed in float32."""
    exact = lax.Precision.HIGHEST if a.dtype == jnp.float32 else None
    dims = (((over[0],), (over[1],)), ((), ()))
    return lax.dot_general(a, b, dims, precision=exact, preferred_element_type=jnp.float32)


def _upright(q: Any, k: Any, v: Any, h: Any, w: Any, out: Any, *, side: int, parts: list[pl.Slice]) -> None:
    """Kernel for Triton, with logits [queries, keys].

    ``q out`` [tile, D], ``k v`` [n, D], ``h`` [S, tile], ``w`` [tile, S].
    """
    queries = [q[:, p] for p in parts]
    columns = w[...].astype(jnp.float32)
    tile = columns.shape[0]

    def step(row: jax.Array, state: SlicedState) -> SlicedState:
        top, total, sums = state
        keys = pl.ds(row * side, side)
        logits = columns + h[row, :].astype(jnp.float32)[:, None]
        for part, query in zip(parts, queries, strict=True):
            logits = logits + _dot(query, k[keys, part], (1, 1))
        new = jnp.maximum(top, logits.max(1))
        weights, keep = jnp.exp(logits - new[:, None]), jnp.exp(top - new)
        mixed = [_dot(weights.astype(v.dtype), v[keys, p], (1, 0)) for p in parts]
        sums = [s * keep[:, None] + m for s, m in zip(sums, mixed, strict=True)]
        return new, total * keep + weights.sum(1), sums

    start = (
        jnp.full((tile,), LOWEST, jnp.float32),
        jnp.zeros((tile,), jnp.float32),
        [jnp.zeros((tile, p.size), jnp.float32) for p in parts],
    )
    _, total, sums = lax.fori_loop(0, side, step, start)
    for part, s in zip(parts, sums, strict=True):
        out[:, part] = (s / total[:, None]).astype(out.dtype)


def _lying(q: Any, k: Any, v: Any, h: Any, w: Any, out: Any, *, side: int) -> None:
    """Kernel for Mosaic, with logits [keys, queries]: a term of rows is then a row of ``h``.

    ``q out`` [D, tile], ``k v`` [n, D], ``h w`` [S, tile].
    """
    queries, columns = q[...], w[...].astype(jnp.float32)
    d, tile = queries.shape

    def step(row: jax.Array, state: State) -> State:
        top, total, sums = state
        keys = pl.ds(pl.multiple_of(row * side, side), side)
        logits = _dot(k[keys, :], queries, (1, 0)) + columns + h[pl.ds(row, 1), :]
        new = jnp.maximum(top, logits.max(0, keepdims=True))
        weights, keep = jnp.exp(logits - new), jnp.exp(top - new)
        sums = sums * keep + _dot(v[keys, :], weights.astype(v.dtype), (0, 0))
        return new, total * keep + weights.sum(0, keepdims=True), sums

    start = (
        jnp.full((1, tile), LOWEST, jnp.float32),
        jnp.zeros((1, tile), jnp.float32),
        jnp.zeros((d, tile), jnp.float32),
    )
    _, total, sums = lax.fori_loop(0, side, step, start)
    out[...] = (sums / total).astype(out.dtype)


def _call(
    q: jax.Array, k: jax.Array, v: jax.Array, h: jax.Array, w: jax.Array, target: str, interpret: bool
) -> jax.Array:
    b, heads, n, d = q.shape
    side = w.shape[-1]
    tile = min(128, n)
    q, k, v, h, w = (x.reshape(b * heads, n, -1) for x in (q, k, v, h, w))
    h = h.swapaxes(1, 2)

    def along(width: int) -> pl.BlockSpec:  # [tile, width] of [n, width]
        return pl.BlockSpec((None, tile, width), lambda i, j: (i, j, 0))

    def across(width: int) -> pl.BlockSpec:  # [width, tile] of [width, n]
        return pl.BlockSpec((None, width, tile), lambda i, j: (i, 0, j))

    whole = pl.BlockSpec((None, n, d), lambda i, j: (i, 0, 0))
    grid = (b * heads, n // tile)
    if target == "tpu":
        y = pl.pallas_call(
            functools.partial(_lying, side=side),
            out_shape=jax.ShapeDtypeStruct((b * heads, d, n), v.dtype),
            grid=grid,
            in_specs=[across(d), whole, whole, across(side), across(side)],
            out_specs=across(d),
            interpret=interpret,
        )(q.swapaxes(1, 2), k, v, h.astype(jnp.float32), w.swapaxes(1, 2))
        return y.swapaxes(1, 2).reshape(b, heads, n, d)
    options: dict[str, Any] = {}
    if not interpret:
        from jax.experimental.pallas import triton

        options["compiler_params"] = triton.CompilerParams(num_warps=4 if d <= 64 else 8, num_stages=2)
    y = pl.pallas_call(
        functools.partial(_upright, side=side, parts=_parts(d)),
        out_shape=jax.ShapeDtypeStruct((b * heads, n, d), v.dtype),
        grid=grid,
        in_specs=[along(d), whole, whole, across(side), along(side)],
        out_specs=along(d),
        interpret=interpret,
        **options,
    )(q, k, v, h, w)
    return y.reshape(b, heads, n, d)


def plain(q: jax.Array, k: jax.Array, v: jax.Array, terms_h: jax.Array, terms_w: jax.Array) -> jax.Array:
    """Attention of `attend` in XLA with all logits in memory: the kernel's reference and VJP."""
    logits = _wide(q) @ _wide(k).swapaxes(-1, -2)
    grid = logits.reshape(*terms_h.shape, terms_w.shape[-1])
    grid = grid + _wide(terms_h)[..., :, None] + _wide(terms_w)[..., None, :]
    return (jax.nn.softmax(grid.reshape(logits.shape), -1).astype(v.dtype) @ v).astype(v.dtype)


def _wide(x: jax.Array) -> jax.Array:
    return x.astype(jnp.float32)


@functools.partial(jax.custom_vjp, nondiff_argnums=(5, 6))
def _kernel(
    q: jax.Array, k: jax.Array, v: jax.Array, h: jax.Array, w: jax.Array, target: str, interpret: bool
) -> jax.Array:
    return _call(q, k, v, h, w, target, interpret)


def _forward(
    q: jax.Array, k: jax.Array, v: jax.Array, h: jax.Array, w: jax.Array, target: str, interpret: bool
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    return _call(q, k, v, h, w, target, interpret), (q, k, v, h, w)


def _backward(target: str, interpret: bool, inputs: tuple[jax.Array, ...], grad: jax.Array) -> tuple[jax.Array, ...]:
    gradients: tuple[jax.Array, ...] = jax.vjp(plain, *inputs)[1](grad)
    return gradients


_kernel.defvjp(_forward, _backward)
