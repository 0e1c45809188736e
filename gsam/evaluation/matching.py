"""Match found masks to true ones, and count hits, false and missed things.

Matching is greedy, best score first, at a mask IoU of at least 0.5.  It is done twice: among pairs
whose label is right, which gives precision, recall and F1, and among all pairs, which gives the
share of found things that are called rightly.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from gsam.ops.bounds import bounds
from gsam.types import Json

Masks = NDArray[np.bool_]
Right = Callable[[str, str], bool]
"""``right(name, label)``: whether a thing called ``name`` in the truth may be labelled ``label``.
"""

MIN_IOU = 0.5


def noun(name: str, label: str) -> bool:
    """A label is right if it is the name or the name's last word: "apple" for "red apple"."""
    return label == name or label == name.split()[-1]


def overlaps(found: Masks, true: Masks) -> NDArray[np.float32]:
    """IoU of every mask of [N, H, W] with every one of [M, H, W]: [N, M]; 0 where both are
    empty.
    """
    a, b = (m.reshape(len(m), m.shape[1] * m.shape[2]).astype(np.float32) for m in (found, true))
    both = a @ b.T
    union = a.sum(1)[:, None] + b.sum(1)[None] - both
    return np.asarray(both / np.maximum(union, 1), np.float32)


def box_overlaps(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """IoU of every box of [N, 4] with every one of [M, 4]: [N, M]; 0 where both are empty."""
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    both = np.clip(high - low, 0, None).prod(-1)
    area_a, area_b = (a[:, 2:] - a[:, :2]).prod(-1), (b[:, 2:] - b[:, :2]).prod(-1)
    return np.asarray(both / np.maximum(area_a[:, None] + area_b[None] - both, 1e-9), np.float32)


def covered(found: Masks, region: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The fraction of each mask of [N, H, W] that lies on ``region`` [H, W]: [N]; 0 for an empty
    mask.
    """
    area = found.sum((1, 2))
    return np.asarray((found & region).sum((1, 2)) / np.maximum(area, 1), np.float32)


def pairs(
    iou: NDArray[np.float32],
    scores: NDArray[np.float32],
    allowed: NDArray[np.bool_] | None = None,
    min_iou: float = MIN_IOU,
) -> list[tuple[int, int]]:
    """Match one to one, greedily: the best score first takes its best free column among the
    allowed.

    Args:
        iou: [N, M] of found against true masks.
        scores: [N], the order of the matching.
        allowed: [N, M] bool, pairs that may match; by default all.
        min_iou: The lowest IoU of a match.

    Returns:
        Rows and columns of the matches, best score first.
    """
    candidates = np.where(iou >= min_iou, iou, 0.0)
    if allowed is not None:
        candidates = np.where(allowed, candidates, 0.0)
    matches: list[tuple[int, int]] = []
    if candidates.size:
        for row in np.argsort(-scores, kind="stable"):
            column = int(candidates[row].argmax())
            if candidates[row, column] > 0:
                matches.append((int(row), column))
                candidates[:, column] = 0.0
    return matches


def table(names: Sequence[str], labels: Sequence[str], right: Right = noun) -> NDArray[np.bool_]:
    """[N, M]: whether label n is right for name m."""
    return np.array([[right(m, n) for m in names] for n in labels], bool).reshape(len(labels), len(names))


def mask_of_box(box: NDArray[np.float32] | Sequence[float], size: tuple[int, int]) -> NDArray[np.bool_]:
    """A box ``x0 y0 x1 y1`` as a mask [H, W]."""
    mask = np.zeros(size, bool)
    x0, y0, x1, y1 = (max(int(v), 0) for v in np.round(box))
    mask[y0:y1, x0:x1] = True
    return mask


@dataclasses.dataclass
class Tally:
    """Hits, false and missed things over many scenes: `add` one at a time, `report` at the end."""

    right: Right = noun
    min_iou: float = MIN_IOU
    scenes: int = 0
    names: dict[str, list[int]] = dataclasses.field(default_factory=dict)
    """Name -> hits, false segments with that label, missed."""
    found: int = 0
    """Matched irrespective of the label."""
    called: int = 0
    """Number of those that bear the right label."""
    ignored: int = 0
    """Segments on what is too hidden to have a label; they count neither way."""
    masks: list[float] = dataclasses.field(default_factory=list)
    """IoU of each hit."""
    found_boxes: list[float] = dataclasses.field(default_factory=list)
    """IoU each hit would have if its own box were filled in."""
    true_boxes: list[float] = dataclasses.field(default_factory=list)
    """IoU each hit would have if the true box were filled in."""

    def add(
        self,
        masks: Masks,
        labels: Sequence[str],
        scores: NDArray[np.float32],
        true_masks: Masks,
        names: Sequence[str],
        ignored: NDArray[np.bool_] | None = None,
        boxes: NDArray[np.float32] | None = None,
    ) -> list[tuple[int, int]]:
        """Count one scene.

        Args:
            masks: [N, H, W] bool, the found masks.
            labels: [N], the labels of these.
            scores: [N], the order of the matching.
            true_masks: [M, H, W] bool.
            names: [M], what the true things are called.
            ignored: [H, W] bool, where nothing is judged; by default nowhere.
            boxes: [N, 4] pixels, the found boxes; by default those of the masks.

        Returns:
            Rows of found and true masks that match and have the right label.

        Raises:
            ValueError: The numbers of masks, labels, scores or names do not go together.
        """
        if len(masks) != len(labels) or len(labels) != len(scores) or len(true_masks) != len(names):
            raise ValueError(f"{len(masks)} masks, {len(labels)} labels, {len(scores)} scores; {len(true_masks)} true")
        iou, right = overlaps(masks, true_masks), table(names, labels, self.right)
        outside = np.zeros(len(masks), bool) if ignored is None else covered(masks, ignored) > 0.5
        hits = self.count(iou, labels, scores, names, outside, right)
        for i, j in hits:
            truth, size = true_masks[j], true_masks[j].shape
            box = bounds(masks[i]) if boxes is None else boxes[i]
            self.masks.append(float(iou[i, j]))
            fills = np.stack([mask_of_box(box, size), mask_of_box(bounds(truth), size)])
            own, best = overlaps(fills, truth[None])[:, 0]
            self.found_boxes.append(float(own))
            self.true_boxes.append(float(best))
        return hits

    def count(
        self,
        iou: NDArray[np.float32],
        labels: Sequence[str],
        scores: NDArray[np.float32],
        names: Sequence[str],
        outside: NDArray[np.bool_],
        right: NDArray[np.bool_],
    ) -> list[tuple[int, int]]:
        """Count one scene from what `add` computes.

        Args:
            iou: [N, M] of found against true masks.
            labels: [N], the labels of found masks.
            scores: [N], the order of the matching.
            names: [M], what the true things are called.
            outside: [N] bool, masks mostly on what is ignored.
            right: [N, M] bool, labels that are right for names.

        Returns:
            Rows of found and true masks that match and have the right label.
        """
        self.scenes += 1
        hits = pairs(iou, scores, right, self.min_iou)
        for _, j in hits:
            self._counts_of(names[j])[0] += 1
        rows, columns = {i for i, _ in hits}, {j for _, j in hits}
        for i, label in enumerate(labels):
            if i not in rows:
                if outside[i]:
                    self.ignored += 1
                else:
                    self._counts_of(label)[1] += 1
        for j, name in enumerate(names):
            if j not in columns:
                self._counts_of(name)[2] += 1
        any_label = pairs(iou, scores, None, self.min_iou)
        self.found += len(any_label)
        self.called += sum(bool(right[i, j]) for i, j in any_label)
        return hits

    def _counts_of(self, name: str) -> list[int]:
        return self.names.setdefault(name, [0, 0, 0])

    def report(self) -> Json:
        """Return all counts and rates; a mean of nothing is 0."""
        hits, false, missed = (sum(c[k] for c in self.names.values()) for k in range(3))
        return {
            "scenes": self.scenes,
            "objects": hits + missed,
            "hits": hits,
            "false": false,
            "missed": missed,
            "ignored": self.ignored,
            **rates(hits, false, missed),
            "right_label": self.called / max(self.found, 1),
            "mask_iou": _mean(self.masks),
            "filled_found_box_iou": _mean(self.found_boxes),
            "filled_true_box_iou": _mean(self.true_boxes),
            "names": {
                name: {"hits": a, "false": b, "missed": c, **rates(a, b, c)}
                for name, (a, b, c) in sorted(self.names.items())
            },
        }


def rates(hits: int, false: int, missed: int) -> dict[str, float]:
    """Precision, recall and F1; 0 where there is nothing to divide by."""
    return {
        "precision": hits / max(hits + false, 1),
        "recall": hits / max(hits + missed, 1),
        "f1": 2 * hits / max(2 * hits + false + missed, 1),
    }


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else 0.0
