"""What a computation must cost at least: products counted in its trace, and the bytes of what goes in and comes out."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

PEAK = 790e12
"""bfloat16 products of an H200, in operations a second (as reached by large plain matmuls)."""
BANDWIDTH = 4.3e12
"""Of its memory, in bytes a second (as reached by copies)."""


def products(work: Callable[..., Any], *args: Any) -> float:
    """Operations of all matrix products and convolutions in the trace of ``work``, two a multiplication with its sum.

    Of branches the dearest counts; a loop without a fixed number of rounds counts once.
    """
    return _count(jax.make_jaxpr(work)(*args).jaxpr)


def least_bytes(work: Callable[..., Any], *args: Any) -> float:
    """Bytes of the arguments, weights among them, and of the results: each is read or written once at least."""
    leaves = [*jax.tree.leaves(args), *jax.tree.leaves(jax.eval_shape(work, *args))]
    return float(sum(math.prod(x.shape) * np.dtype(x.dtype).itemsize for x in leaves))


def floor(operations: float, size: float) -> float:
    """Seconds on an H200, whichever of the two takes longer."""
    return max(operations / PEAK, size / BANDWIDTH)


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
