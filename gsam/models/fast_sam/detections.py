"""What the network says of every place -> what there is in each picture: FastSAM's "everything"."""

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
"""A side of a box so near (pixels) to the frame's is put onto it."""
WHOLE = 0.9
"""A box that overlaps the frame more than this is the frame."""
CELL = 4
"""Pixels of the view a cell of the prototypes."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Detections:
    """N things a picture, best first."""

    xyxy: jax.Array
    """[B, N, 4] float32 pixels of the original picture."""
    framed: jax.Array
    """[B, N, 4] float32: the same in pixels of the view."""
    score: jax.Array
    """[B, N] float32 in 0..1."""
    valid: jax.Array
    """[B, N] bool."""
    coefficients: jax.Array
    """[B, N, P] float32."""
    prototypes: jax.Array
    """[B, h, w, P] float32, rolled so that the picture begins in the upper left corner."""
    cells: jax.Array
    """[B, 2] int32: rows and columns of the prototypes that are picture."""
    corner: jax.Array
    """[B, 2] int32: by how many rows and columns the prototypes are rolled."""

    def logits(self, coefficients: jax.Array) -> jax.Array:
        """Masks [B, n, h, w] of coefficients [B, n, P], before anything is cut."""
        return jnp.einsum(
            "bnp,bhwp->bnhw", coefficients, self.prototypes, precision=jax.lax.Precision.HIGHEST
        )  # above 0 is inside


def find(seen: Seen, images: Images, view: View, conf: jax.Array, overlap: jax.Array, n: int) -> Detections:
    """Boxes that score above ``conf``, of those that overlap more than ``overlap`` the best, at most ``n`` of them.

    Then FastSAM's own rules: sides near the frame (of the padded picture, as in the original) are put onto it, and a box
    that almost fills the frame becomes the frame.  The original fails and finds nothing where two or more do; here all of
    them become the frame.
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
    """Boxes [B, N, 4] in frames [B, 2] (rows, columns): sides within `BORDER` put onto the frame, then whole frames."""
    limit = frame[:, None, ::-1].astype(jnp.float32)  # [B, 1, 2]
    low, high = xyxy[..., :2], xyxy[..., 2:]
    low = jnp.where(low < BORDER, 0.0, low)
    high = jnp.where(high > limit - BORDER, limit, high)
    xyxy = jnp.concatenate([low, high], -1)
    whole = jnp.concatenate([jnp.zeros_like(limit), limit], -1)  # [B, 1, 4]
    return jnp.where(iou(xyxy, whole) > WHOLE, whole, xyxy)


def _of_the_picture(prototypes: jax.Array, images: Images, frame: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The prototypes without the padding above and left of the picture, what of them is picture, and what was cut.

    The picture lies in the middle, at its own scale, and cells that it shares with the padding are cut to whole ones
    downwards.  In whole numbers, so that no picture loses a row to rounding.
    """
    cells, size = frame // CELL, images.size
    mine, other = cells * size[:, ::-1], cells[:, ::-1] * size  # the picture's scale is that of the axis that it fills
    fills = mine <= other
    start = jnp.where(fills, 0, (mine - other) // (2 * size[:, ::-1]))
    stop = jnp.where(fills, cells, (mine + other) // (2 * size[:, ::-1]))
    rolled = jax.vmap(lambda p, s: jnp.roll(p, (-s[0], -s[1]), (0, 1)))(prototypes, start)
    return rolled, stop - start, start


def cropped(logits: jax.Array, xyxy: jax.Array, found: Detections, size: jax.Array) -> jax.Array:
    """Masks [B, n, h, w], 0 where nothing inside their boxes [B, n, 4] (pixels of pictures of ``size`` [B, 2]) reads them.

    One cell and a half more than the box: what is enlarged from them is cut to the box itself afterwards.
    """
    rows, columns = spans(xyxy, found, size, logits.shape[-2:], margin=1.5)
    return jnp.where((rows > 0)[..., :, None] & (columns > 0)[..., None, :], logits, 0.0)


def spans(
    xyxy: jax.Array, found: Detections, size: jax.Array, shape: tuple[int, ...], margin: float = 0.0
) -> tuple[jax.Array, jax.Array]:
    """How much of each row and column of cells boxes [B, n, 4] in pixels of the pictures cover: [B, n, h] and [B, n, w]."""
    factor = found.cells.astype(jnp.float32) / size.astype(jnp.float32)  # [B, 2]

    def cover(axis: int, low: jax.Array, high: jax.Array) -> jax.Array:
        cell = jnp.arange(shape[axis], dtype=jnp.float32)
        limit = found.cells[:, axis, None].astype(jnp.float32)
        low = jnp.maximum(low * factor[:, axis, None] - margin, 0.0)[..., None]
        high = jnp.minimum(high * factor[:, axis, None] + margin, limit)[..., None]
        return jnp.clip(jnp.minimum(high, cell + 1) - jnp.maximum(low, cell), 0.0, 1.0)

    return cover(0, xyxy[..., 1], xyxy[..., 3]), cover(1, xyxy[..., 0], xyxy[..., 2])


def overlaps(masks: jax.Array, xyxy: jax.Array, found: Detections, size: jax.Array) -> jax.Array:
    """The original's measure between boxes [B, n, 4] and masks [B, m, h, w] of 0 and 1: IoU [B, n, m], in cells."""
    rows, columns = spans(xyxy, found, size, masks.shape[-2:])
    part = jnp.einsum("bmhw,bnh->bnmw", masks, rows)
    shared = jnp.einsum("bnmw,bnw->bnm", part, columns)
    area = rows.sum(-1) * columns.sum(-1)
    return shared / jnp.maximum(area[..., None] + masks.sum((2, 3))[:, None] - shared, 1e-6)
