"""Detections from the network's output: FastSAM's "everything"."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from gsam.models.fast_sam.model import Seen
from gsam.ops.boxes import iou
from gsam.ops.suppression import best
from gsam.ops.top import take
from gsam.ops.views import from_view, rectangle
from gsam.types import Images, View

BORDER = 20.0
"""Distance in pixels within which a box's side is moved onto the frame's."""
WHOLE = 0.9
"""IoU with the frame above which a box becomes the frame."""
CELL = 4
"""Pixels of the view per cell of the prototypes."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Detections:
    """N detections per image, best first."""

    xyxy: jax.Array
    """[B, N, 4] float32 pixels of the original image."""
    framed: jax.Array
    """[B, N, 4] float32 pixels of the view."""
    score: jax.Array
    """[B, N] float32 in 0..1."""
    valid: jax.Array
    """[B, N] bool."""
    coefficients: jax.Array
    """[B, N, P] float32."""
    prototypes: jax.Array
    """[B, h, w, P] float32, rolled so that the image begins in the upper left corner."""
    cells: jax.Array
    """[B, 2] int32: rows and columns of the prototypes that are image."""
    corner: jax.Array
    """[B, 2] int32: rows and columns by which the prototypes are rolled."""

    def logits(self, coefficients: jax.Array) -> jax.Array:
        """Masks [B, n, h, w] of coefficients [B, n, P], not yet cropped; above 0 is inside."""
        return jnp.einsum(
            "bnp,bhwp->bnhw", coefficients, self.prototypes, precision=jax.lax.Precision.HIGHEST
        )  # above 0 is inside


def find(seen: Seen, images: Images, view: View, conf: jax.Array, overlap: jax.Array, n: int) -> Detections:
    """Select detections by score and non-maximum suppression, and snap them to the frame.

    FastSAM's own rules come last: sides near the frame (of the padded image, as in the original)
    are put onto it, and a box that almost fills the frame becomes the frame.  The original fails
    and finds nothing where two or more do; here all of them become the frame.

    Args:
        seen: Output of the network.
        images: The images.
        view: Their view.
        conf: Score that a box must exceed.
        overlap: IoU above which only the better box stays.
        n: Most detections per image.
    """
    score = jnp.where(seen.score > conf, seen.score, -jnp.inf)
    rows, valid = jax.vmap(lambda b, s: best(b, s, overlap, n))(seen.xyxy, score)
    frame = rectangle(images, view)
    framed = snapped(take(seen.xyxy, rows), frame)
    framed = jnp.where(valid[..., None], framed, 0.0)
    prototypes, cells, corner = _of_the_picture(seen.prototypes, images, frame)
    return Detections(
        xyxy=jnp.where(valid[..., None], from_view(framed, images, view), 0.0),
        framed=framed,
        score=jnp.where(valid, take(seen.score, rows), 0.0),
        valid=valid,
        coefficients=take(seen.coefficients, rows).astype(jnp.float32),
        prototypes=prototypes.astype(jnp.float32),
        cells=cells,
        corner=corner,
    )


def snapped(xyxy: jax.Array, frame: jax.Array) -> jax.Array:
    """Move sides near the frame onto it, and replace boxes that almost fill it by the frame.

    Args:
        xyxy: [B, N, 4] in pixels of the view.
        frame: [B, 2] rows and columns.
    """
    limit = frame[:, None, ::-1].astype(jnp.float32)  # [B, 1, 2]
    low, high = xyxy[..., :2], xyxy[..., 2:]
    low = jnp.where(low < BORDER, 0.0, low)
    high = jnp.where(high > limit - BORDER, limit, high)
    xyxy = jnp.concatenate([low, high], -1)
    whole = jnp.concatenate([jnp.zeros_like(limit), limit], -1)  # [B, 1, 4]
    return jnp.where(iou(xyxy, whole) > WHOLE, whole, xyxy)


def _of_the_picture(prototypes: jax.Array, images: Images, frame: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Cut the padding above and left of the image off the prototypes.

    The image lies in the middle, at its own scale, and cells that it shares with the padding are
    cut to whole ones downwards.  In whole numbers, so that no image loses a row to rounding.

    Returns:
        The prototypes, rolled; [B, 2] their rows and columns that are image; and [B, 2] those cut
        off.
    """
    cells, size = frame // CELL, images.size
    mine, other = cells * size[:, ::-1], cells[:, ::-1] * size  # the image's scale is that of the axis that it fills
    fills = mine <= other
    start = jnp.where(fills, 0, (mine - other) // (2 * size[:, ::-1]))
    stop = jnp.where(fills, cells, (mine + other) // (2 * size[:, ::-1]))
    rolled = jax.vmap(lambda p, s: jnp.roll(p, (-s[0], -s[1]), (0, 1)))(prototypes, start)
    return rolled, stop - start, start


def cropped(logits: jax.Array, xyxy: jax.Array, found: Detections, size: jax.Array) -> jax.Array:
    """Set masks to 0 where nothing inside their boxes reads them.

    One cell and a half more than the box stays: what is enlarged from them is cut to the box itself
    afterwards.

    Args:
        logits: [B, n, h, w].
        xyxy: [B, n, 4] in pixels of the original images.
        found: The detections that the masks are of.
        size: [B, 2] rows and columns of the images.
    """
    rows, columns = spans(xyxy, found, size, logits.shape[-2:], margin=1.5)
    return jnp.where((rows > 0)[..., :, None] & (columns > 0)[..., None, :], logits, 0.0)


def spans(
    xyxy: jax.Array, found: Detections, size: jax.Array, shape: tuple[int, ...], margin: float = 0.0
) -> tuple[jax.Array, jax.Array]:
    """Share of each row and column of cells that boxes cover.

    Args:
        xyxy: [B, n, 4] in pixels of the original images.
        found: The detections, for the cells that are image.
        size: [B, 2] rows and columns of the images.
        shape: Ends with (h, w) of the cells.
        margin: Cells added on each side.

    Returns:
        [B, n, h] and [B, n, w] float32 in 0..1.
    """
    factor = found.cells.astype(jnp.float32) / size.astype(jnp.float32)  # [B, 2]

    def cover(axis: int, low: jax.Array, high: jax.Array) -> jax.Array:
        cell = jnp.arange(shape[axis], dtype=jnp.float32)
        limit = found.cells[:, axis, None].astype(jnp.float32)
        low = jnp.maximum(low * factor[:, axis, None] - margin, 0.0)[..., None]
        high = jnp.minimum(high * factor[:, axis, None] + margin, limit)[..., None]
        return jnp.clip(jnp.minimum(high, cell + 1) - jnp.maximum(low, cell), 0.0, 1.0)

    return cover(0, xyxy[..., 1], xyxy[..., 3]), cover(1, xyxy[..., 0], xyxy[..., 2])


def overlaps(masks: jax.Array, xyxy: jax.Array, found: Detections, size: jax.Array) -> jax.Array:
    """IoU of boxes with masks in cells, as the original measures it.

    Args:
        xyxy: [B, n, 4] in pixels of the original images.
        masks: [B, m, h, w] of 0 and 1.
        found: The detections, for the cells that are image.
        size: [B, 2] rows and columns of the images.

    Returns:
        [B, n, m].
    """
    rows, columns = spans(xyxy, found, size, masks.shape[-2:])
    part = jnp.einsum("bmhw,bnh->bnmw", masks, rows)
    shared = jnp.einsum("bnmw,bnw->bnm", part, columns)
    area = rows.sum(-1) * columns.sum(-1)
    return shared / jnp.maximum(area[..., None] + masks.sum((2, 3))[:, None] - shared, 1e-6)
