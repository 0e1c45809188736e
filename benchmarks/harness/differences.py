"""Measures of how far two sides' outputs are apart, taken before either is timed."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

Outputs = Mapping[str, np.ndarray]
SAME_BOX = 1e-3
"""The part of the image's longer side by which coordinates of the same box may differ."""


def close(ours: Outputs, theirs: Outputs) -> float:
    """Return the largest difference of any output, in standard deviations of the peer's."""
    return max(
        float(np.abs(ours[k].astype(np.float64) - theirs[k]).max() / max(theirs[k].std(), 1e-9))
        if _fits(ours, theirs, k)
        else np.inf
        for k in theirs
    )


def masks(ours: Outputs, theirs: Outputs) -> float:
    """Return the share of pixels that differ."""
    return max(float((ours[k] != theirs[k]).mean()) if _fits(ours, theirs, k) else 1.0 for k in theirs)


def boxes(ours: Outputs, theirs: Outputs) -> float:
    """Return the share of the peer's boxes that ours lack: near ties of scores may swap ranks."""
    side = max(float(np.abs(theirs["boxes"]).max()), 1e-9)
    distance = np.abs(theirs["boxes"][:, None] - ours["boxes"][None]).max(-1).min(1) / side
    return float((~(distance <= SAME_BOX)).mean())


def scenes(ours: Outputs, theirs: Outputs) -> float:
    """Return 1 - IoU of the worst mask, among the boxes that both kept.

    It is 1 where an image has no such box, or where all masks are empty or full.
    """
    worst = 0.0
    side = max(float(np.abs(theirs["boxes"]).max()), 1e-9)
    if ours["masks"].shape != theirs["masks"].shape or not 0 < theirs["masks"].mean() < 1:
        return 1.0
    for i, found in enumerate(theirs["boxes"]):
        distance = np.abs(found[:, None] - ours["boxes"][i][None]).max(-1) / side
        pairs = [(j, int(k)) for j, k in enumerate(distance.argmin(1)) if distance[j, k] <= SAME_BOX]
        if not pairs:
            return 1.0
        for j, k in pairs:
            a, b = theirs["masks"][i, j], ours["masks"][i, k]
            worst = max(worst, 1.0 - float((a & b).sum() / max((a | b).sum(), 1)))
    return worst


def rough(ours: Outputs, theirs: Outputs) -> float:
    """Return the RMS of the difference in standard deviations of the peer's, for bfloat16.

    Boxes and masks are ranked by scores that rounding swaps: of these only the shapes are compared.
    """
    worst = 0.0
    for k, reference in theirs.items():
        if not _fits(ours, theirs, k):
            return np.inf
        if not {"boxes", "scores"} & theirs.keys() and reference.dtype != bool:
            difference = ours[k].astype(np.float64) - reference
            worst = max(worst, float(np.sqrt((difference**2).mean()) / max(reference.std(), 1e-9)))
    return worst


def worst_mask_iou(half: Outputs, full: Outputs) -> float:
    """Return the smallest IoU of masks from bfloat16 and from float32 ``logits`` [.., h, w]."""
    a, b = (x["logits"].reshape(-1, *x["logits"].shape[-2:]) > 0 for x in (half, full))
    both, either = ((f(a, b)).sum((1, 2)) for f in (np.logical_and, np.logical_or))
    return float(np.where(either > 0, both / np.maximum(either, 1), 1.0).min())


def _fits(ours: Outputs, theirs: Outputs, key: str) -> bool:
    return key in ours and ours[key].shape == theirs[key].shape and bool(np.isfinite(ours[key]).all())


MEASURES: Mapping[str, Callable[[Outputs, Outputs], float]] = {
    "rough": rough,
    "close": close,
    "masks": masks,
    "boxes": boxes,
    "scenes": scenes,
}
