"""IoU of classes over a whole data set, of areas and of their boundaries."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gsam.evaluation.compared import Compared
from gsam.results.formats.dataset import run_lengths
from gsam.results.masks import rle
from gsam.types import JsonMapping

BAND = 0.02
"""Width of a boundary, as a share of the image's diagonal (Cheng et al. 2021)."""


class ClassIou(NamedTuple):
    """IoU of one class in 0..1; NaN of a class that is neither there nor found."""

    area: float
    boundary: float


def class_iou(compared: Compared) -> Mapping[str, ClassIou]:
    """Compute the IoU of each class: pixels of all images together.

    The pixels of a class are those of any of its segments. Source: mean IoU as of Pascal VOC's
    segmentation; boundary IoU as of Cheng et al., "Boundary IoU: Improving Object-Centric Image
    Segmentation Evaluation", 2021: both masks cut to a band along their own outlines, whose width
    is 2 % of the diagonal, rounded to pixels, at least one; the image's edge is an outline. Of LVIS
    a class counts in the images whose lists know all about it.

    Args:
        compared: The two data sets.
    """
    sums = {label: np.zeros(4, np.int64) for label in compared.labels}
    for image in compared.images:
        width = max(1, round(BAND * math.hypot(*image.size)))
        for label in image.whole(dict.fromkeys(s["label"] for s in (*image.true, *image.found))):
            true, found = _cut(*(_union(s, label, image.size) for s in (image.true, image.found)))
            edges = _band(true, width), _band(found, width)
            sums[label] += [
                (true & found).sum(),
                (true | found).sum(),
                (edges[0] & edges[1]).sum(),
                (edges[0] | edges[1]).sum(),
            ]
    return {label: ClassIou(_share(s[0], s[1]), _share(s[2], s[3])) for label, s in sums.items()}


def _union(segments: Sequence[JsonMapping], label: str, size: tuple[int, int]) -> NDArray[np.bool_]:
    whole = np.zeros(size, bool)
    for segment in segments:
        if segment["label"] == label:
            whole |= rle.decode(run_lengths(segment, size))
    return whole


def _cut(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Cut two masks to the bounds of both, beyond which nothing is inside."""
    either = a | b
    rows, columns = np.flatnonzero(either.any(1)), np.flatnonzero(either.any(0))
    if not len(rows):
        return a[:1, :1], b[:1, :1]
    here = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    return a[here], b[here]


def _band(mask: NDArray[np.bool_], width: int) -> NDArray[np.bool_]:
    """The pixels of a mask that are at most ``width`` from what is outside of it or the image."""
    from scipy.ndimage import distance_transform_cdt

    inside = distance_transform_cdt(np.pad(mask, 1), "chessboard")[1:-1, 1:-1]
    return mask & (inside <= width)


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole else float("nan")
