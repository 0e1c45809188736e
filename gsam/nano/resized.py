"""Fit a model's parameters to another image size: tables of positions are interpolated.

A transformer that learnt at one size needs far fewer steps at a larger one than a new one would
(Dosovitskiy et al. 2021, §3.2).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from gsam.bind import Shaped
from gsam.types import Params


def resized(params: Params, shapes: Mapping[str, Shaped]) -> Params:
    """Interpolate the tables of positions to the shapes that a model wants.

    Args:
        params: Parameters of the same model at another image size, by name.
        shapes: A parameter's name -> anything with its shape.  A table [1, h, w, D] is resized over
            its two sides, [1 + h * h, D] over the square after its first row (a class token), and
            relative positions [2 * h - 1, d] about their middle.

    Returns:
        Parameters with those shapes; the ones that fit already are the same arrays.

    Raises:
        ValueError: A parameter differs in more than the number of positions.
    """
    found = dict(params)
    others = [n for n, like in shapes.items() if n in params and params[n].shape != like.shape]
    scales = [s for n in others if (s := _scale(params[n].shape, shapes[n].shape)) is not None]
    scale = scales[0] if scales else 1.0
    for name in others:
        table = _table(name, np.asarray(params[name], np.float32), tuple(shapes[name].shape), scale)
        found[name] = jnp.asarray(table)
    return found


def _scale(before: tuple[int, ...], after: tuple[int, ...]) -> float | None:
    """Tokens along a side before, for each one after; None where a shape does not tell."""
    if len(before) == len(after) == 4:
        return before[1] / after[1]
    if len(before) == len(after) == 2 and (sides := _sides(before[0], after[0])):
        return sides[0] / sides[1]
    return None


def _sides(before: int, after: int) -> tuple[int, int] | None:
    """Sides of two squares of so many tokens, each with a class token before it."""
    a, b = math.isqrt(before - 1), math.isqrt(after - 1)
    return (a, b) if (a * a + 1, b * b + 1) == (before, after) else None


def _table(name: str, table: NDArray[np.float32], shape: tuple[int, ...], scale: float) -> NDArray[np.float32]:
    if table.ndim != len(shape) or table.shape[-1] != shape[-1]:
        raise ValueError(f"{name} is {table.shape} and should be {shape}: no table of positions")
    if table.ndim == 4:
        return _along(_along(table, 1, shape[1], scale), 2, shape[2], scale)
    if sides := _sides(len(table), shape[0]):
        before, after = sides
        grid = table[1:].reshape(before, before, -1)
        grid = _along(_along(grid, 0, after, scale), 1, after, scale)
        return np.concatenate([table[:1], grid.reshape(after * after, -1)])
    return _along(table, 0, shape[0], scale)


def _along(table: NDArray[np.float32], axis: int, length: int, scale: float) -> NDArray[np.float32]:
    """Linear interpolation about the middle of an axis."""
    count = table.shape[axis]
    at = np.clip((np.arange(length) - (length - 1) / 2) * scale + (count - 1) / 2, 0, count - 1)
    low = np.minimum(at.astype(int), count - 2)
    part = (at - low).astype(np.float32).reshape(-1, *[1] * (table.ndim - axis - 1))
    return np.take(table, low, axis) * (1 - part) + np.take(table, low + 1, axis) * part
