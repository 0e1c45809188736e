"""How long a computation takes at least: operations counted in its trace, and bytes in and out.

A lower bound on its time is the longer of two: its operations at the rate of large plain matrix
products, and its bytes at the rate of copies, both measured on the same device.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


@dataclasses.dataclass(frozen=True)
class Peak:
    """Rates that a device reaches."""

    operations: float
    """Operations per second of large plain matrix products."""
    bandwidth: float
    """Bytes per second of copies, read and written."""

    def least_seconds(self, operations: float, size: float) -> float:
        """Return the lower bound on the time of ``operations`` that move ``size`` bytes."""
        return max(operations / self.operations, size / self.bandwidth)


def measure_peak(device: jax.Device, dtype: Any, side: int = 8192, repeats: int = 10) -> Peak:
    """Measure the rates of a product of two [side, side] and of a copy of [16, side, side]."""
    left, right = (jax.random.normal(jax.random.key(i), (side, side), dtype) for i in range(2))
    left, right = jax.device_put((left, right), device)
    large = jax.device_put(jnp.ones((16, side, side), dtype), device)
    value = left[0, 0]
    product = jax.jit(jnp.matmul)
    # Adding a run-time value keeps the compiler from returning the input itself.
    copy = jax.jit(lambda x, y: x + y)
    return Peak(
        2.0 * side**3 / _seconds(lambda: product(left, right), repeats),
        2.0 * large.nbytes / _seconds(lambda: copy(large, value), repeats),
    )


def _seconds(work: Callable[[], Any], repeats: int) -> float:
    jax.block_until_ready(work())
    each = []
    for _ in range(3):
        began = time.perf_counter()
        jax.block_until_ready([work() for _ in range(repeats)][-1])
        each.append((time.perf_counter() - began) / repeats)
    return statistics.median(each)


def count_operations(function: Callable[..., Any], *args: Any) -> float:
    """Count the operations of all matrix products and convolutions in the trace of ``function``.

    A multiplication with its addition counts as two.  Of the branches of a condition the most
    costly counts; a loop without a fixed number of iterations counts once.
    """
    return _count(jax.make_jaxpr(function)(*args).jaxpr)


def minimum_bytes(function: Callable[..., Any], *args: Any) -> float:
    """Return the bytes of arguments, weights included, and results: each is moved once at least."""
    leaves = [*jax.tree.leaves(args), *jax.tree.leaves(jax.eval_shape(function, *args))]
    return float(sum(math.prod(x.shape) * np.dtype(x.dtype).itemsize for x in leaves))


def _count(jaxpr: Any) -> float:
    return sum(_equation(e) for e in jaxpr.eqns)


def _equation(equation: Any) -> float:
    kind, values = equation.primitive.name, equation.params
    if kind == "dot_general":
        (contracted, _), _ = values["dimension_numbers"]
        left = equation.invars[0].aval.shape
        return 2.0 * math.prod(equation.outvars[0].aval.shape) * math.prod(left[i] for i in contracted)
    if kind == "conv_general_dilated":
        kernel = equation.invars[1].aval.shape
        channels = kernel[values["dimension_numbers"].rhs_spec[0]]
        return 2.0 * math.prod(equation.outvars[0].aval.shape) * math.prod(kernel) / channels
    if kind == "scan":
        return values["length"] * _count(values["jaxpr"].jaxpr)
    if kind == "cond":
        return max(_count(branch.jaxpr) for branch in values["branches"])
    inner = [v for v in values.values() if hasattr(v, "eqns") or hasattr(v, "jaxpr")]
    return sum(_count(v if hasattr(v, "eqns") else v.jaxpr) for v in inner)
