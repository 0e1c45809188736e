"""Scaled dot-product attention, in the best form a backend has; the one place where it is done.

On a CPU it is XLA's: all at once where the logits are few, then one head at a time, then in tiles
of queries, so that the softmax reads from the cache.  On a GPU it is cuDNN's flash attention for
16-bit numbers without bias or mask.  Everywhere else, and for float32, it is XLA's.

A form that is not plain XLA must prove itself first (`proved`); ``GSAM_ATTENTION=xla`` in the
environment, or `portable`, keep to XLA.  All of this is decided while tracing.
"""

from __future__ import annotations

import contextlib
import contextvars
import math
import os
import warnings
from collections.abc import Callable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import export, lax

from gsam.nn.layers import NEVER, softmax

HEADS_FROM = 1 << 14
"""Logits per head from which a CPU takes heads one by one, and a GPU cuDNN."""
TILES_FROM = 1 << 22
"""Logits per head from which a CPU takes queries in tiles."""
TILE = 128
"""Queries per tile."""
TOLERANCE = 0.03
"""Largest error of a fast form, relative to the largest value; bfloat16 keeps 8 bits."""

Form = Callable[..., jax.Array]
_portable: contextvars.ContextVar[bool] = contextvars.ContextVar("portable", default=False)
_verdicts: dict[tuple[object, ...], bool] = {}


def attend(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    bias: jax.Array | None = None,
    mask: jax.Array | np.ndarray | None = None,
    scale: float | None = None,
) -> jax.Array:
    """Attention ``softmax(scale q k + bias) v`` in the best form for the backend.

    Logits and result have the dtype of the input, the softmax is float32.

    Args:
        q: [..., Q, K, D]: Q queries of K heads.
        k: [..., T, K, D]: T keys.
        v: [..., T, K, E].
        bias: Added to the scaled logits; broadcasts to [..., K, Q, T].
        mask: bool, true where a query sees a key; broadcasts to [..., K, Q, T].  A query that sees
            no key gets the mean of the values.
        scale: Factor of the logits; None for ``D ** -0.5``.

    Returns:
        [..., Q, K, E].
    """
    q = q * (q.shape[-1] ** -0.5 if scale is None else scale)
    logits = q.shape[-3] * k.shape[-3]
    if bias is not None or export.is_symbolic_dim(logits) or logits < HEADS_FROM:
        return _at_once(q, k, v, bias, mask)
    if mask is not None:
        return lax.platform_dependent(q, k, v, jnp.asarray(mask), cpu=_by_heads, default=_masked)
    cpu = _by_heads if logits < TILES_FROM else _tiled
    flash = flash_for(q, k, v)
    if flash is None:
        return lax.platform_dependent(q, k, v, cpu=cpu, default=_at_once)
    return lax.platform_dependent(q, k, v, cpu=cpu, cuda=flash, default=_at_once)


def _at_once(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    bias: jax.Array | None = None,
    mask: jax.Array | np.ndarray | None = None,
) -> jax.Array:
    """Attention by plain XLA, with all logits in memory."""
    q, k, v = (jnp.moveaxis(x, -2, -3) for x in (q, k, v))
    logits = q @ k.swapaxes(-1, -2)
    if bias is not None:
        logits = logits + bias
    return jnp.moveaxis(softmax(_hidden(logits, mask)) @ v, -3, -2)


def _masked(q: jax.Array, k: jax.Array, v: jax.Array, mask: jax.Array) -> jax.Array:
    return _at_once(q, k, v, None, mask)


def _hidden(logits: jax.Array, mask: jax.Array | np.ndarray | None) -> jax.Array:
    """Logits that are too low to matter where ``mask`` is false."""
    if mask is None:
        return logits
    never = -6e4 if logits.dtype == jnp.float16 else NEVER  # a finite number there too
    return jnp.where(mask, logits, jnp.asarray(never, logits.dtype))


def _by_heads(q: jax.Array, k: jax.Array, v: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """Attention of one head of one image at a time."""
    *lead, n, heads, _ = q.shape
    xs = [_heads(x) for x in (q, k, v)]
    if mask is not None:
        mask = mask.reshape((1,) * (len(lead) + 3 - mask.ndim) + mask.shape)
        xs.append(jnp.broadcast_to(mask, (*lead, heads, *mask.shape[-2:])).reshape(-1, *mask.shape[-2:]))

    def head(xs: Sequence[jax.Array]) -> jax.Array:
        return softmax(_hidden(xs[0] @ xs[1].T, xs[3] if len(xs) > 3 else None)) @ xs[2]

    return jnp.moveaxis(lax.map(head, xs).reshape(*lead, heads, n, -1), -3, -2)


def _tiled(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
    """Attention in tiles of queries, logits transposed so that the softmax runs down columns."""
    *lead, n, heads, d = q.shape
    count = -(-n // TILE)
    tiles = jnp.pad(_heads(q), ((0, 0), (0, count * TILE - n), (0, 0))).reshape(-1, count, TILE, d).swapaxes(2, 3)

    def head(xs: tuple[jax.Array, ...]) -> jax.Array:
        tiles, keys, values = xs

        def tile(queries: jax.Array) -> jax.Array:
            logits = (keys @ queries).astype(jnp.float32)
            weights = jnp.exp(logits - logits.max(0))
            out = values @ weights.astype(values.dtype)
            return (out.astype(jnp.float32) / weights.sum(0)).astype(values.dtype)

        return lax.map(tile, tiles)

    out = lax.map(head, (tiles, _heads(k), _heads(v).swapaxes(1, 2))).swapaxes(2, 3)  # [B*K, tiles, TILE, E]
    out = out.reshape(out.shape[0], count * TILE, -1)[:, :n]
    return jnp.moveaxis(out.reshape(*lead, heads, n, -1), -3, -2)


def _heads(x: jax.Array) -> jax.Array:
    """Merge batch and heads: [..., T, K, D] -> [B*K, T, D]."""
    return jnp.moveaxis(x, -2, -3).reshape(-1, x.shape[-3], x.shape[-1])


Shaped = jax.Array | jax.ShapeDtypeStruct


def flash_for(q: Shaped, k: Shaped, v: Shaped) -> Form | None:
    """Return cuDNN's attention if it is proved for these shapes and this dtype, else None.

    It takes scaled queries in the layout of `attend`.  ``D`` must be a multiple of 8 up to 256 and
    no less than ``E``: values narrower than the queries are padded.  cuDNN's call has its own rule
    for several devices, so it is used on any number.
    """
    wide, narrow = q.shape[-1], v.shape[-1]
    if not (q.dtype == k.dtype == v.dtype) or q.dtype not in (jnp.bfloat16, jnp.float16):
        return None
    if accelerator() != "cuda" or wide % 8 or wide > 256 or narrow > wide:
        return None
    tokens = [
        min(x.shape[-3], 256 + x.shape[-3] % 8) for x in (q, k)
    ]  # as odd as the caller's, and no longer than needed
    shapes = [(1, tokens[0], 2, wide), (1, tokens[1], 2, wide), (1, tokens[1], 2, narrow)]
    return _cudnn if proved("cuDNN attention", _cudnn, _at_once, shapes, q.dtype) else None


def _cudnn(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
    """Attention of scaled queries by cuDNN."""
    *lead, n, heads, d = q.shape
    e = v.shape[-1]
    q, k, v = (x.reshape(-1, *x.shape[-3:]) for x in (q, k, v))
    v = jnp.pad(v, ((0, 0), (0, 0), (0, 0), (0, d - e)))
    y = jax.nn.dot_product_attention(q, k, v, scale=1.0, implementation="cudnn")
    return y[..., :e].reshape(*lead, n, heads, e)


def accelerator() -> str | None:
    """Name the accelerator that fast forms may be used on: ``cuda``, ``tpu`` or None.

    Returns:
        JAX's default device, if it is one and fast forms are allowed.

    Raises:
        ValueError: ``GSAM_ATTENTION`` is neither ``auto`` nor ``xla``.
    """
    wish = os.environ.get("GSAM_ATTENTION", "auto")
    if wish not in ("auto", "xla"):
        raise ValueError(f"GSAM_ATTENTION is {wish!r}; it can be 'auto' or 'xla'")
    if wish == "xla" or _portable.get():
        return None
    backend = jax.default_backend()
    if backend == "gpu":
        return "cuda" if "cuda" in jax.local_devices()[0].client.platform_version else None
    return backend if backend == "tpu" else None


@contextlib.contextmanager
def portable() -> Iterator[None]:
    """Trace the block with XLA's forms only, as an export for several platforms needs.

    JAX remembers traces: give it a function that was not traced outside with the same shapes.
    """
    token = _portable.set(True)
    try:
        yield
    finally:
        _portable.reset(token)


def proved(name: str, form: Form, plain: Form, shapes: Sequence[tuple[int, ...]], dtype: jnp.dtype) -> bool:
    """Test that ``form`` runs on this device and agrees with ``plain`` in float32.

    Each is tested once per process, device kind, dtype and shapes, also in the midst of a trace.  A
    form that raises or is further off than `TOLERANCE` stays out, with a warning.

    Args:
        name: Name of the form in the warning.
        form: The fast form.
        plain: The form that it must agree with.
        shapes: Shapes of the random arrays that both are called with.
        dtype: Dtype that ``form`` is called with.
    """
    key = (name, jax.local_devices()[0].device_kind, jnp.dtype(dtype).name, *shapes)
    if key not in _verdicts:
        fault = _fault(form, plain, shapes, dtype)
        if fault:
            warnings.warn(f"{name} is not used on {key[1]} ({key[2]}), XLA's form is: {fault}", stacklevel=2)
        _verdicts[key] = not fault
    return _verdicts[key]


def _fault(form: Form, plain: Form, shapes: Sequence[tuple[int, ...]], dtype: jnp.dtype) -> str:
    """Describe why ``form`` cannot be used; empty if it can."""
    rng = np.random.default_rng(0)
    try:
        with jax.ensure_compile_time_eval():
            inputs = [jnp.asarray(rng.normal(size=s) / math.sqrt(math.sqrt(s[-1])), dtype) for s in shapes]
            result = np.asarray(jax.jit(form)(*inputs), np.float32)
            expected = np.asarray(jax.jit(plain)(*(x.astype(jnp.float32) for x in inputs)), np.float32)
        if result.shape != expected.shape:
            return f"its shape is {result.shape}, not {expected.shape}"
        off = float(np.abs(result - expected).max() / np.abs(expected).max())
    except Exception as error:  # compilers and drivers raise what they like, and none of it may stop a pipeline
        return f"{type(error).__name__}: {str(error)[:200]}"
    return "" if off <= TOLERANCE else f"it differs by {off:.2g} of the largest value"
