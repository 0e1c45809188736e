"""Suppression of overlapping objects by one set of greedy rules.

Shapes are static, and the result is exact for any threshold.  The rules take numpy arrays (tiles
and calibration, on the host) and JAX arrays (the pipeline, on the device) alike: objects are
described by their areas ``size`` [..., N] and the areas that each two share, ``shared``
[..., N, N], whether of boxes or of masks.
"""

from __future__ import annotations

from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from gsam.ops.boxes import iou

MEMBER = 0.9
"""Share of an object that must lie in another for it to count as a member of that one's group."""

Array = TypeVar("Array", jax.Array, np.ndarray)
State = tuple[jax.Array, jax.Array, jax.Array]


def keep_best(clash: Array, valid: Array) -> Array:
    """Keep each valid row that no kept better one clashes with.

    Args:
        clash: [N, N] bool: which two rows cannot both stay. Rows are sorted best first.
        valid: [N] bool: rows that are not neither stay nor suppress.

    Returns:
        [N] bool.
    """
    if isinstance(valid, np.ndarray):
        keep = valid.copy()
        for i in range(len(keep)):
            if keep[i]:
                keep[i + 1 :] &= ~clash[i, i + 1 :]
        return keep
    n = valid.shape[0]
    later = jnp.arange(n)

    def visit(i: jax.Array, keep: jax.Array) -> jax.Array:
        return keep & ~(keep[i] & clash[i] & (later > i))

    return lax.fori_loop(0, n, visit, valid)


def without_duplicates(
    overlap: Array, same: Array, valid: Array, nms: jax.Array | float, duplicate: jax.Array | float
) -> Array:
    """Keep the best of those that overlap too much: first within each label, then across all.

    Args:
        overlap: [N, N]: IoU of each two rows, which are sorted best first.
        same: [N, N] bool: which two have one label.
        valid: [N] bool.
        nms: IoU above which two of one label overlap too much.
        duplicate: IoU above which two of different labels do.

    Returns:
        [N] bool: the valid rows that stay.
    """
    return keep_best(overlap > duplicate, keep_best((overlap > nms) & same, valid))


def surrounds_group(size: Array, shared: Array, same: Array, group: jax.Array | float) -> Array:
    """Find objects that surround a group: two or more smaller ones of their label fill most of it.

    Detectors of text like to add one box around all objects that a plural names.

    Args:
        size: [..., N] areas.
        shared: [..., N, N] areas shared by each two.
        same: [..., N, N] bool: which two are valid and have one label.
        group: The share of an object from which on it is filled; 1 finds none.

    Returns:
        [..., N] bool.
    """
    smaller = size[..., None, :] < MEMBER * size[..., :, None]
    member = same & smaller & (shared > MEMBER * size[..., None, :])
    filled = (shared * member.astype(shared.dtype)).sum(-1)
    return (member.sum(-1) >= 2) & (filled > group * size) & (group < 1.0)


def contained(size: Array, shared: Array, inside: jax.Array | float) -> Array:
    """Find pairs of which the smaller lies in the other by more than a share of itself.

    Args:
        size: [..., N] areas.
        shared: [..., N, N] areas shared by each two.
        inside: The share; 1 finds none.

    Returns:
        [..., N, N] bool, symmetric.
    """
    return (shared > inside * size[..., :, None]) | (shared > inside * size[..., None, :])


def nms(xyxy: jax.Array, valid: jax.Array, overlap: jax.Array) -> jax.Array:
    """Non-maximum suppression with torchvision's rule: a box falls above the threshold, not at it.

    Args:
        xyxy: [N, 4] boxes, sorted best first.
        valid: [N] bool: boxes that are not valid neither survive nor suppress.
        overlap: IoU with a surviving better box above which a box falls.

    Returns:
        [N] bool: the boxes that survive.
    """
    return keep_best(iou(xyxy, xyxy) > overlap, valid)


def best(xyxy: jax.Array, score: jax.Array, overlap: jax.Array, n: int) -> tuple[jax.Array, jax.Array]:
    """Select the first ``n`` survivors of `nms` among boxes in any order, best first.

    Boxes are taken one after the other, so time and memory grow with n and A alone, where a matrix
    of overlaps would have A times A.

    Args:
        xyxy: [A, 4] boxes.
        score: [A]: of equal scores the first row comes first; -inf neither survives nor suppresses.
        overlap: IoU above which the worse box falls.
        n: Number of rows to select.

    Returns:
        Their rows [n] int32, and which of these exist [n] bool.
    """

    def more(state: State) -> jax.Array:
        count, left, _ = state
        return (count < n) & (left.max() > -jnp.inf)

    def take(state: State) -> State:
        count, left, rows = state
        row = left.argmax().astype(jnp.int32)
        clash = iou(xyxy[row][None], xyxy)[0] > overlap
        left = jnp.where(clash, -jnp.inf, left).at[row].set(-jnp.inf)
        return count + 1, left, rows.at[count].set(row)

    start = jnp.zeros((), jnp.int32), score.astype(jnp.float32), jnp.zeros(n, jnp.int32)
    count, _, rows = lax.while_loop(more, take, start)
    return rows, jnp.arange(n) < count
