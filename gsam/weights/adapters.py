"""Low-rank adapters beside a model's kernels: their names, and how they are merged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gsam.types import Params

LEFT, RIGHT = "lora_a", "lora_b"
"""Last part of an adapter's two names, ``<kernel>/lora_a`` [in, r] and ``<kernel>/lora_b``
[r, out].
"""


def kernels_of(adapters: Mapping[str, Any]) -> list[str]:
    """List the kernels that adapters belong to.

    Args:
        adapters: Arrays by name, two for each kernel.

    Returns:
        The kernels' names, in order.

    Raises:
        ValueError: A name is no adapter's, or one of a pair is missing.
    """
    found: dict[str, set[str]] = {}
    for name in adapters:
        kernel, _, part = name.rpartition("/")
        found.setdefault(kernel, set()).add(part)
    for kernel, parts in found.items():
        if parts != {LEFT, RIGHT}:
            raise ValueError(f"{kernel} has {', '.join(sorted(parts))}, and needs {LEFT} and {RIGHT}")
    return sorted(found)


def merge(params: Mapping[str, Any], adapters: Mapping[str, Any], scale: float) -> Params:
    """Add adapters to their kernels: W + ``scale`` · A · B.  Pure, so it may be compiled.

    Args:
        params: Flat parameters.
        adapters: Two arrays for each kernel, see `LEFT`.  A convolution's kernel [h, w, in, out]
            is taken as a matrix [h w in, out].
        scale: The factor, alpha / rank.

    Returns:
        All of ``params``, those with adapters replaced; the sums are made in float32 and have
        their kernel's dtype.

    Raises:
        ValueError: An adapter fits no kernel of ``params``.
    """
    import jax
    import jax.numpy as jnp

    merged: Params = dict(params)
    for name in kernels_of(adapters):
        if name not in params:
            raise ValueError(f"there is no parameter {name}")
        kernel, left, right = params[name], adapters[f"{name}/{LEFT}"], adapters[f"{name}/{RIGHT}"]
        rows = kernel.size // kernel.shape[-1]
        if left.shape[0] != rows or right.shape[-1] != kernel.shape[-1] or left.shape[1] != right.shape[0]:
            raise ValueError(f"{name} is {kernel.shape}, its adapters {left.shape} and {right.shape}")
        a, b = (jnp.asarray(x, jnp.float32) for x in (left, right))
        added = scale * jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)
        merged[name] = (jnp.asarray(kernel, jnp.float32) + added.reshape(kernel.shape)).astype(kernel.dtype)
    return merged
