"""Bring maps over one model's view of an image to another model's view of it.

SAM pads images to a square, EfficientSAM and MedSAM squash them: a cell of one's map shows another
place than that cell of the other's.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from gsam.ops.resize import crop_weights


def inside(content: jax.Array, size: int, cells: int) -> jax.Array:
    """Tell which cells of a map over a view are image, not padding.

    Args:
        content: [B, 2] rows and columns of the view that are image.
        size: Side of the view in pixels.
        cells: Side of the map.

    Returns:
        [B, cells, cells] bool: the centre of the cell is image.
    """
    centres = (jnp.arange(cells, dtype=jnp.float32) + 0.5) * (size / cells)
    rows, columns = (centres < content[:, axis, None].astype(jnp.float32) for axis in (0, 1))
    return rows[:, :, None] & columns[:, None, :]


def aligned(
    maps: jax.Array, content: jax.Array, size: int, to_content: jax.Array, to_size: int, *, channels_last: bool
) -> jax.Array:
    """Resample maps over one view to another view of the same images, bilinearly.

    Args:
        maps: [B, h, w, D] or [B, ..., h, w] over the first view, h and w alike.
        content: [B, 2] rows and columns of the first view that are image.
        size: Side of the first view in pixels.
        to_content: [B, 2] those of the second view.
        to_size: Side of the second view in pixels.
        channels_last: Whether ``maps`` are [B, h, w, D].

    Returns:
        Maps of the same shape and dtype over the second view.  What is padding there means nothing.
    """
    cells = maps.shape[1 if channels_last else -1]
    share = content.astype(jnp.float32) / size / (to_content.astype(jnp.float32) / to_size)  # [B, 2]
    begin = jnp.zeros(content.shape[:1], jnp.float32)
    rows, columns = (crop_weights(begin, share[:, i] * cells, cells, cells, "bilinear") for i in (0, 1))
    form = ("byh,bhwd->bywd", "bxw,bywd->byxd") if channels_last else ("byh,b...hw->b...yw", "bxw,b...yw->b...yx")
    wide = jnp.einsum(form[0], rows, maps.astype(jnp.float32), precision="highest")
    return jnp.einsum(form[1], columns, wide, precision="highest").astype(maps.dtype)


def boxes_of(masks: jax.Array) -> jax.Array:
    """Find the bounding boxes of masks.

    Args:
        masks: [..., h, w] bool.

    Returns:
        [..., 4] float32 x0 y0 x1 y1 in cells, exclusive right and bottom; the whole map for an
        empty mask.
    """

    def span(line: jax.Array) -> tuple[jax.Array, jax.Array]:
        size = line.shape[-1]
        return line.argmax(-1), size - line[..., ::-1].argmax(-1)

    x0, x1 = span(masks.any(-2))
    y0, y1 = span(masks.any(-1))
    return jnp.stack([x0, y0, x1, y1], -1).astype(jnp.float32)
