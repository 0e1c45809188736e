"""Windows: rectangles of an image that are cut out, looked at alone, and put back.

A window is ``x0 y0 x1 y1`` in pixels of the original image, or of a view of it; an empty one
(``x1 <= x0``) stands for the whole view.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from gsam.ops.resize import crop_weights
from gsam.types import Masks

HIGHEST = jax.lax.Precision.HIGHEST


def extents(masks: Masks, size: jax.Array) -> jax.Array:
    """Find the rectangles that logits lie over: the padded view, or a window of its own.

    Args:
        masks: Masks of N objects.
        size: [B, 2] height and width of the images.

    Returns:
        [B, N, 4] in pixels of the images.
    """
    whole = jnp.asarray(masks.logits.shape[-2:], jnp.float32)
    content = jnp.broadcast_to(whole if masks.content is None else masks.content, (*masks.iou.shape, 2))
    side = (whole / content * size[:, None].astype(jnp.float32))[..., ::-1]
    view = jnp.concatenate([jnp.zeros_like(side), side], -1)
    return view if masks.window is None else jnp.where(is_window(masks.window), masks.window, view)


def is_window(window: jax.Array) -> jax.Array:
    """Tell the windows [..., 4] that are not empty: [..., 1] bool."""
    return window[..., 2:3] > window[..., :1]


def twice(xy: jax.Array) -> jax.Array:
    """Repeat pairs [..., 2] as [..., 4]: for both corners of a box."""
    return jnp.concatenate([xy, xy], -1)


def windows_around(xyxy: jax.Array, limit: jax.Array, margin: float, least: jax.Array) -> jax.Array:
    """Place a square window around each box, moved into the image where it would leave it.

    A window that is larger than the image begins at the image's edge and reaches beyond it at the
    right or at the bottom.

    Args:
        xyxy: [N, 4] boxes in pixels.
        limit: [2] width and height of the image.
        margin: Share of the box's longer side that is added on each side.
        least: [] the shortest side of a window, in pixels.

    Returns:
        [N, 4] in the same pixels.
    """
    low, high = xyxy[:, :2], xyxy[:, 2:]
    side = jnp.maximum((high - low).max(-1, keepdims=True) * (1.0 + 2.0 * margin), least)  # [N, 1]
    start = jnp.clip((low + high - side) / 2.0, 0.0, jnp.maximum(limit - side, 0.0))
    return jnp.concatenate([start, start + side], -1)


def cut(canvas: jax.Array, window: jax.Array, out: int, reach: int) -> jax.Array:
    """Resample a window of an image, as Pillow's ``resize(box=...)`` does with its bilinear filter.

    Args:
        canvas: [S, S, 3], 0..255.
        window: [4] in its pixels, inside it but for what lies beyond its right and lower edge.
        out: Side of the result in pixels.
        reach: Longest side that the window may have, in pixels of the canvas, rounded up: so much
            of the canvas is read.

    Returns:
        [out, out, 3] float32, whole grey levels; 0 beyond the canvas.
    """
    span = min(reach + 4, canvas.shape[0])  # the filter reads two pixels beyond each edge
    start = jnp.clip(jnp.floor(window[:2]).astype(jnp.int32) - 2, 0, canvas.shape[0] - span)
    part = jax.lax.dynamic_slice(canvas, (start[1], start[0], 0), (span, span, 3)).astype(jnp.float32)
    low, high = window[:2] - start.astype(jnp.float32), window[2:] - start.astype(jnp.float32)
    rows = crop_weights(low[1:], high[1:], span, out, "bilinear")[0]
    columns = crop_weights(low[:1], high[:1], span, out, "bilinear")[0]
    part = _whole(jnp.einsum("yh,hwc->ywc", rows, part, precision=HIGHEST))
    return _whole(jnp.einsum("xw,ywc->yxc", columns, part, precision=HIGHEST))


def onto(maps: jax.Array, source: jax.Array, target: jax.Array, out: int, beyond: float) -> jax.Array:
    """Resample maps that lie over one rectangle so that they lie over another.

    Linear between cells, the mean of several where cells become larger.

    Args:
        maps: [N, h, w].
        source: [N, 4] the rectangle that each map covers.
        target: [N, 4] the rectangle that each result covers, in the same pixels.
        out: Side of the results in cells.
        beyond: Value of a cell that lies outside of the source.

    Returns:
        [N, out, out] float32.
    """
    h, w = maps.shape[1:]
    size = jnp.maximum(source[:, 2:] - source[:, :2], 1e-3)
    cells = jnp.asarray([w, h], jnp.float32) / size
    low, high = (target[:, :2] - source[:, :2]) * cells, (target[:, 2:] - source[:, :2]) * cells
    rows = crop_weights(low[:, 1], high[:, 1], h, out, "bilinear")
    columns = crop_weights(low[:, 0], high[:, 0], w, out, "bilinear")
    part = jnp.einsum("nxw,nhw->nhx", columns, maps.astype(jnp.float32) - beyond, precision=HIGHEST)
    return jnp.einsum("nyh,nhx->nyx", rows, part, precision=HIGHEST) + beyond


def bounds_of(mask: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Find the boxes of masks.

    Args:
        mask: [N, h, w] bool.

    Returns:
        Boxes [N, 4] in cells, exclusive right and bottom, and which masks [N] have any cell.
    """
    ends = []
    for line in (mask.any(1), mask.any(2)):  # columns, rows
        first, last = jnp.argmax(line, -1), line.shape[-1] - jnp.argmax(line[:, ::-1], -1)
        ends.append((first.astype(jnp.float32), last.astype(jnp.float32)))
    return jnp.stack([ends[0][0], ends[1][0], ends[0][1], ends[1][1]], -1), mask.any((1, 2))


def reach_of(view_side: int, share: float, margin: float) -> int:
    """The longest side in pixels of a window around a box that is ``share`` of a view long."""
    return min(math.ceil(view_side * share * (1.0 + 2.0 * margin)), view_side)


def _whole(x: jax.Array) -> jax.Array:
    """Round to whole grey levels, as Pillow does after each pass."""
    return jnp.clip(jnp.round(x), 0.0, 255.0)
