"""The true boxes of an image as a detector of patches learns from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gsam.inputs.image import content
from gsam.types import View

BOXES_STEP = 4
"""Counts of boxes are rounded up to a multiple of this, so that data sets share programs."""


class Truth(NamedTuple):
    """The boxes of one image, padded to N; T tokens."""

    boxes: NDArray[np.float32]
    """[N, 4] corners in 0..1 of the view; zeros for padding."""
    labels: NDArray[np.int32]
    """[N] index of the name, -1 for padding."""
    ignored: NDArray[np.bool_]
    """[T] bool: tokens that lie on a crowd, and may find something there or not."""


def padded_count(most: int) -> int:
    """Round up a number of boxes; at least one."""
    return max(-(-most // BOXES_STEP) * BOXES_STEP, BOXES_STEP)


def in_view(boxes: NDArray[np.float32], size: tuple[int, int], view: View) -> NDArray[np.float32]:
    """Bring boxes from pixels of an image to shares of a view's side.

    Args:
        boxes: [N, 4] float32 ``x0 y0 x1 y1`` in pixels.
        size: Height and width of the image.
        view: A square view with the image in its upper left corner.

    Returns:
        [N, 4] float32 in 0..1.
    """
    h, w = size
    if view.fit == "square":
        return (boxes / max(h, w)).astype(np.float32)
    rows, columns = content(view, size)
    x, y = columns / w / view.size, rows / h / view.size
    return (boxes * [x, y, x, y]).astype(np.float32)


def truth_of(
    boxes: NDArray[np.float32],
    labels: NDArray[np.int32],
    crowd: NDArray[np.bool_],
    size: tuple[int, int],
    view: View,
    centres: NDArray[np.float32],
    count: int,
) -> Truth:
    """Lay out the boxes of an image.

    Args:
        boxes: [N, 4] float32 ``x0 y0 x1 y1`` in pixels of the image.
        labels: [N] int32 names of them.
        crowd: [N] bool: areas that hold several objects; none is learnt from.
        size: Height and width of the image.
        view: The detector's view.
        centres: [T, 2] x y of the tokens' centres, in 0..1 of the view.
        count: Boxes to pad to; the smallest of more are left out.

    Returns:
        The truth; boxes without area are left out.
    """
    at = in_view(boxes, size, view)
    area = np.clip(at[:, 2:] - at[:, :2], 0, None).prod(-1)
    x, y = centres[:, :1], centres[:, 1:]
    crowds = at[crowd]
    inside = (x >= crowds[:, 0]) & (x < crowds[:, 2]) & (y >= crowds[:, 1]) & (y < crowds[:, 3])
    ignored = np.asarray(inside.any(1), np.bool_)
    real = np.flatnonzero(~crowd & (area > 0))
    kept = np.sort(real[np.argsort(-area[real], kind="stable")][:count])
    out = Truth(np.zeros((count, 4), np.float32), np.full(count, -1, np.int32), ignored)
    out.boxes[: len(kept)], out.labels[: len(kept)] = at[kept], labels[kept]
    return out


def mirrored(boxes: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    """Mirror boxes [N, 4] in pixels of an image of this width, left to right."""
    return np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], -1).astype(np.float32)


def stacked(truths: Sequence[Truth]) -> Truth:
    """Stack the truths of a batch: [B, N, 4], [B, N], [B, T]."""
    boxes, labels, ignored = zip(*truths, strict=True)
    return Truth(np.stack(boxes), np.stack(labels), np.stack(ignored))
