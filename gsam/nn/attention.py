"""Plain attention, in the best form a backend has; the one place where it is done.

On a CPU the XLA form: all at once where the logits are few, then a head at a time, then in tiles of queries, so that what
the softmax reads is still in the cache.  On a GPU cuDNN's flash attention for 16-bit numbers without bias or mask.
Everywhere else, and for float32, the XLA form.

A form that is not plain XLA must prove itself first (`proved`); ``GSAM_ATTENTION=xla`` in the environment, or `portable`,
keep to the XLA forms.  All of this is decided while tracing.
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
"""Logits of one head from which a CPU takes heads one by one, and a GPU cuDNN; below, all are done at once."""
TILES_FROM = 1 << 22
"""Logits of one head from which a CPU takes queries in tiles."""
TILE = 128
TOLERANCE = 0.03
"""How far a fast form may be from the float32 one, as a part of the largest value there; bfloat16 keeps 8 bits."""

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
    """``softmax(scale q k + bias) v``: ``q`` [..., Q, K, D], ``k`` [..., T, K, D], ``v`` [..., T, K, E] -> [..., Q, K, E].

    ``bias``, added to the scaled logits, and ``mask`` (bool, true where a query sees a key) broadcast to [..., K, Q, T].
    ``scale`` is ``D ** -0.5`` unless given.  A query that sees nothing gets the mean of the values.  Logits and result have
    the dtype of the input, the softmax is float32.
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
    q, k, v = (jnp.moveaxis(x, -2, -3) for x in (q, k, v))
    logits = q @ k.swapaxes(-1, -2)
    if bias is not None:
        logits = logits + bias
    return jnp.moveaxis(softmax(_hidden(logits, mask)) @ v, -3, -2)


def _masked(q: jax.Array, k: jax.Array, v: jax.Array, mask: jax.Array) -> jax.Array:
    return _at_once(q, k, v, None, mask)


def _hidden(logits: jax.Array, mask: jax.Array | np.ndarray | None) -> jax.Array:
    if mask is None:
        return logits
    never = -6e4 if logits.dtype == jnp.float16 else NEVER  # a finite number there too
    return jnp.where(mask, logits, jnp.asarray(never, logits.dtype))


def _by_heads(q: jax.Array, k: jax.Array, v: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """A head of a picture at a time."""
    *lead, n, heads, _ = q.shape
    xs = [_heads(x) for x in (q, k, v)]
    if mask is not None:
        mask = mask.reshape((1,) * (len(lead) + 3 - mask.ndim) + mask.shape)
        xs.append(jnp.broadcast_to(mask, (*lead, heads, *mask.shape[-2:])).reshape(-1, *mask.shape[-2:]))

    def head(xs: Sequence[jax.Array]) -> jax.Array:
        return softmax(_hidden(xs[0] @ xs[1].T, xs[3] if len(xs) > 3 else None)) @ xs[2]

    return jnp.moveaxis(lax.map(head, xs).reshape(*lead, heads, n, -1), -3, -2)


def _tiled(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
    """Tiles of queries with the logits transposed, so that the softmax runs along the long rows' columns."""
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
    """[..., T, K, D] -> [B*K, T, D]."""
    return jnp.moveaxis(x, -2, -3).reshape(-1, x.shape[-3], x.shape[-1])


Shaped = jax.Array | jax.ShapeDtypeStruct


def flash_for(q: Shaped, k: Shaped, v: Shaped) -> Form | None:
    """cuDNN's attention of scaled queries, in the layout of `attend`, if it is proved for these shapes and this dtype.

    ``D`` must be a multiple of 8 up to 256 and no less than ``E``: values narrower than the queries are padded.
    cuDNN's call has its own rule for several devices, so it is used on any number.
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
    *lead, n, heads, d = q.shape
    e = v.shape[-1]
    q, k, v = (x.reshape(-1, *x.shape[-3:]) for x in (q, k, v))
    v = jnp.pad(v, ((0, 0), (0, 0), (0, 0), (0, d - e)))
    y = jax.nn.dot_product_attention(q, k, v, scale=1.0, implementation="cudnn")
    return y[..., :e].reshape(*lead, n, heads, e)


def accelerator() -> str | None:
    """``cuda`` or ``tpu`` if JAX's default device is one and fast forms are allowed, else None.

    Raises ``ValueError`` where ``GSAM_ATTENTION`` is neither ``auto`` nor ``xla``.
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
    """What is traced inside uses XLA forms only, as it must to be exported for several platforms.

    JAX remembers traces: give it a function that was not traced outside with the same shapes.
    """
    token = _portable.set(True)
    try:
        yield
    finally:
        _portable.reset(token)


def proved(name: str, form: Form, plain: Form, shapes: Sequence[tuple[int, ...]], dtype: jnp.dtype) -> bool:
    """Whether ``form`` runs on this device and agrees with ``plain`` in float32, both called with arrays of ``shapes``.

    Tried once a process for each device kind, dtype and shapes, also in the midst of a trace.  What raises or is further off
    than `TOLERANCE` is warned of and stays out.
    """
    key = (name, jax.local_devices()[0].device_kind, jnp.dtype(dtype).name, *shapes)
    if key not in _verdicts:
        fault = _fault(form, plain, shapes, dtype)
        if fault:
            warnings.warn(f"{name} is not used on {key[1]} ({key[2]}), XLA's form is: {fault}", stacklevel=2)
        _verdicts[key] = not fault
    return _verdicts[key]


def _fault(form: Form, plain: Form, shapes: Sequence[tuple[int, ...]], dtype: jnp.dtype) -> str:
    rng = np.random.default_rng(0)
    try:
        with jax.ensure_compile_time_eval():
            given = [jnp.asarray(rng.normal(size=s) / math.sqrt(math.sqrt(s[-1])), dtype) for s in shapes]
            got = np.asarray(jax.jit(form)(*given), np.float32)
            want = np.asarray(jax.jit(plain)(*(x.astype(jnp.float32) for x in given)), np.float32)
        if got.shape != want.shape:
            return f"its shape is {got.shape}, not {want.shape}"
        off = float(np.abs(got - want).max() / np.abs(want).max())
    except Exception as error:  # compilers and drivers raise what they like, and none of it may stop a pipeline
        return f"{type(error).__name__}: {str(error)[:200]}"
    return "" if off <= TOLERANCE else f"it differs by {off:.2g} of the largest value"
