"""Top-k selection, and work in chunks that are skipped when empty."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
from jax import lax

Rows = TypeVar("Rows")
Result = TypeVar("Result")


def top(score: jax.Array, n: int, values: Rows) -> tuple[jax.Array, Rows]:
    """Select the ``n`` highest scores, descending, and their rows of ``values``.

    Args:
        score: [B, L]; of equal scores the lowest index comes first.
        n: Number of rows; when L is less, the rest is padded with -inf scores and zero values.
        values: Any pytree of [B, L, ...].

    Returns:
        Scores [B, n], and a pytree of [B, n, ...].
    """
    short = max(n - score.shape[1], 0)
    if short:
        score = jnp.pad(score, ((0, 0), (0, short)), constant_values=-jnp.inf)
        values = jax.tree.map(lambda v: jnp.pad(v, ((0, 0), (0, short)) + ((0, 0),) * (v.ndim - 2)), values)
    best, index = lax.top_k(score, n)
    return best, jax.tree.map(lambda v: take(v, index), values)


def take(values: jax.Array, index: jax.Array) -> jax.Array:
    """Select rows ``index`` [B, n] of ``values`` [B, L, ...]: [B, n, ...]."""
    return jax.vmap(lambda v, i: v[i])(values, index)


def in_chunks(
    work: Callable[[Rows], Result], rows: Rows, valid: jax.Array, chunk: int, wide: int | None = None
) -> Result:
    """Apply ``work`` to some rows at a time, skipping chunks without a valid row.

    Memory is bounded by the chunk, time by the number of valid rows.  The program is the same for
    any count.

    Args:
        work: Takes and returns pytrees of [B, chunk, ...].
        rows: Any pytree of [B, N, ...].
        valid: [B, N] bool: of several chunks, one without a valid row gives zeros.
        chunk: Number of rows at a time.
        wide: Number of rows at a time on an accelerator; None for ``chunk``.

    Returns:
        A pytree of [B, N, ...].
    """
    if wide is None or min(wide, valid.shape[1]) == min(chunk, valid.shape[1]):
        return _chunked(work, rows, valid, chunk)
    by = {size: functools.partial(_chunked, work, chunk=size) for size in (chunk, wide)}
    return lax.platform_dependent(rows, valid, cpu=by[chunk], default=by[wide])


def _chunked(work: Callable[[Rows], Result], rows: Rows, valid: jax.Array, chunk: int) -> Result:
    b, n = valid.shape
    if n <= chunk:
        return work(rows)
    count = -(-n // chunk)

    def split(x: jax.Array) -> jax.Array:  # [B, N, ...] -> [count, B, chunk, ...]
        x = jnp.pad(x, ((0, 0), (0, count * chunk - n)) + ((0, 0),) * (x.ndim - 2))
        return x.reshape(b, count, chunk, *x.shape[2:]).swapaxes(0, 1)

    shapes = jax.eval_shape(work, jax.tree.map(lambda x: jax.ShapeDtypeStruct((b, chunk, *x.shape[2:]), x.dtype), rows))

    def step(carry: None, part: tuple[jax.Array, Rows]) -> tuple[None, Result]:
        here, some = part
        zeros = lambda _: jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)  # noqa: E731
        return carry, lax.cond(here.any(), work, zeros, some)

    _, out = lax.scan(step, None, (split(valid), jax.tree.map(split, rows)))
    return jax.tree.map(lambda y: y.swapaxes(0, 1).reshape(b, count * chunk, *y.shape[3:])[:, :n], out)
