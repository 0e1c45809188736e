"""Score tracks: J and F as DAVIS defines them, identity switches, and objects that enter late.

J (region) is the IoU of masks, F (contour) the harmonic mean of precision and recall of boundary
pixels, both the mean over a track's frames; where an object is in neither mask of a frame, both are
1.  numpy and scipy only.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from gsam.evaluation.matching import MIN_IOU, covered, overlaps
from gsam.ops.bounds import bounds
from gsam.results.masks.rle import Rle, decode
from gsam.results.tracks import TrackedFrame, Tracks
from gsam.types import Json

Mask = NDArray[np.bool_]
TOLERANCE = 0.008
"""Distance allowed between boundary pixels, a share of the image's diagonal, rounded up to
pixels.
"""


def region(found: Mask, true: Mask) -> float:
    """J of one frame: IoU of two masks [H, W]; 1 where both are empty."""
    union = int((found | true).sum())
    return int((found & true).sum()) / union if union else 1.0


def boundary(mask: Mask) -> Mask:
    """[H, W]: pixels unlike their neighbour to the right, below, or both, within the image."""
    padded = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
    return np.asarray((mask ^ padded[:-1, 1:]) | (mask ^ padded[1:, :-1]) | (mask ^ padded[1:, 1:]), bool)


def contour(found: Mask, true: Mask, tolerance: float = TOLERANCE) -> float:
    """F of one frame: boundary pixels are right where the other mask has one nearby.

    Args:
        found: [H, W] bool.
        true: [H, W] bool.
        tolerance: A fraction of the image's diagonal, rounded up to whole pixels.

    Returns:
        0..1; 0 where only one mask has a boundary, 1 where neither has.
    """
    mine, theirs = boundary(found), boundary(true)
    if not mine.any() or not theirs.any():
        return float(mine.any() == theirs.any())
    reach = math.ceil(tolerance * math.hypot(*true.shape))
    x0, y0, x1, y1 = bounds(mine | theirs)
    mine, theirs = mine[y0:y1, x0:x1], theirs[y0:y1, x0:x1]
    precision = float(_within(theirs, reach)[mine].mean())
    recall = float(_within(mine, reach)[theirs].mean())
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _within(pixels: Mask, reach: int) -> Mask:
    """[H, W]: pixels whose Euclidean distance to one of ``pixels`` is at most ``reach``."""
    from scipy import ndimage

    return np.asarray(ndimage.distance_transform_edt(~pixels) <= reach, bool)


@dataclasses.dataclass(frozen=True)
class Quality:
    """Measures of one object's track."""

    id: int
    """In the truth."""
    track: int | None
    """The track it was compared with; None if there was none."""
    j: float
    f: float
    frames: int
    """Over how many frames the means are."""

    @property
    def jf(self) -> float:
        """J&F, the mean of both."""
        return (self.j + self.f) / 2


def qualities(
    found: Tracks,
    true: Tracks,
    pairs: Mapping[int, int] | None = None,
    *,
    ends: bool = False,
    ignored: NDArray[np.bool_] | None = None,
) -> list[Quality]:
    """J and F of every object of the truth, against the track with the same id.

    An object that is visible in no frame that counts is left out.

    Args:
        found: The tracks to judge.
        true: The truth, of the same size and length.
        pairs: Id of an object -> id of the track it is compared with, instead of the same id.
        ends: Whether the frame an object first appears in, and the last one of the video, count.
            DAVIS leaves both out, because the first is given; without a prompt (see
            `assign_tracks`) they belong to it, and so do all frames before an object appears.
        ignored: [count, H, W] bool, pixels that are not judged; by default none.

    Returns:
        One entry per object, in the order of their ids.

    Raises:
        ValueError: The two differ in size or length.
    """
    _check_same_video(found, true)
    out = []
    for identity in true.ids:
        track = identity if pairs is None else pairs.get(identity)
        mine = [None] * true.count if track is None else found.masks_of(track)
        theirs = true.masks_of(identity)
        first = next((t for t, mask in enumerate(theirs) if mask is not None), true.count)
        scores = []
        for t in range(0 if ends else first + 1, true.count if ends else true.count - 1):
            a, b = _dense(mine[t], true.size), _dense(theirs[t], true.size)
            if ignored is not None:
                a, b = a & ~ignored[t], b & ~ignored[t]
            scores.append((region(a, b), contour(a, b)))
        if scores:
            j, f = np.mean(scores, 0).tolist()
            out.append(Quality(identity, track if track in found.ids else None, j, f, len(scores)))
    return out


def assign_tracks(found: Tracks, true: Tracks) -> dict[int, int]:
    """Assign tracks to objects one to one, so that the sum of J over the video is largest.

    For tracks whose ids were not given.

    Args:
        found: The tracks to judge.
        true: The truth, of the same size and length.

    Returns:
        Id of an object -> id of its track; without objects that no track overlaps in any frame.

    Raises:
        ValueError: The two differ in size or length.
    """
    from scipy.optimize import linear_sum_assignment

    _check_same_video(found, true)
    ids, tracks = true.ids, found.ids
    both, either = np.zeros((len(ids), len(tracks))), np.zeros((len(ids), len(tracks)))
    for a, b in _frames(found, true):
        rows, columns = [tracks.index(i) for i in a.ids.tolist()], [ids.index(i) for i in b.ids.tolist()]
        areas_a, areas_b = np.zeros(len(tracks)), np.zeros(len(ids))
        areas_a[rows], areas_b[columns] = a.areas, b.areas
        iou = np.zeros((len(ids), len(tracks)))
        if rows and columns:
            iou[np.ix_(columns, rows)] = overlaps(b.masks, a.masks)
        both += iou
        either += (areas_b[:, None] > 0) | (areas_a[None] > 0)
    score = np.where(either > 0, both / np.maximum(either, 1), 0.0)
    return {ids[i]: tracks[k] for i, k in zip(*linear_sum_assignment(-score), strict=True) if score[i, k] > 0}


@dataclasses.dataclass(frozen=True)
class IdentityCounts:
    """Matches and switches of identities in one clip.  Counts add up over clips: see `total`."""

    switches: int
    """Number of times an object's track is another one than when it was last matched."""
    present: int
    """Frames times objects that are visible in them."""
    matched: int
    """Number of those that have a track on them."""
    called: int
    """Number of those that bear the object's label."""
    false: int
    """Masks of tracks that match no object, and do not lie mostly on what is not judged."""
    late: int
    """Objects that enter after the first frame."""
    late_found: int
    """Number of those that get a track within the frames allowed."""
    delays: tuple[int, ...]
    """Frames until each of those has a track; 0 is the frame it enters in."""


def count_identities(
    found: Tracks,
    true: Tracks,
    *,
    within: int = 8,
    min_iou: float = MIN_IOU,
    ignored: NDArray[np.bool_] | None = None,
) -> IdentityCounts:
    """Match masks to objects frame by frame, one to one, and count identities.

    An object keeps the track of its last match while that is good enough, as in CLEAR MOT
    (Bernardin and Stiefelhagen 2008); what is left is matched so that the sum of IoU is largest.

    Args:
        found: The tracks to judge.
        true: The truth, of the same size and length.
        within: Frames after it enters in which a late object may be found.
        min_iou: The lowest IoU of a match.
        ignored: [count, H, W] bool, pixels that are not judged; by default none.

    Returns:
        The counts of this clip.

    Raises:
        ValueError: The two differ in size or length.
    """
    _check_same_video(found, true)
    last: dict[int, int] = {}
    entered: dict[int, int] = {}
    first_match: dict[int, int] = {}
    switches = present = matched = called = false = 0
    for t, (a, b) in enumerate(_frames(found, true)):
        mine, theirs = a.masks, b.masks
        outside = np.zeros(len(a), bool)
        if ignored is not None:
            outside = covered(mine, ignored[t]) > 0.5
            mine, theirs = mine & ~ignored[t], theirs & ~ignored[t]
        rows, columns = np.flatnonzero(mine.any((1, 2))), np.flatnonzero(theirs.any((1, 2)))
        iou = overlaps(mine[rows], theirs[columns])
        tracks, objects = a.ids[rows].tolist(), b.ids[columns].tolist()
        hits = _matched(iou, tracks, objects, last, min_iou)
        for i, k in hits.items():
            switches += last.get(objects[k], tracks[i]) != tracks[i]
            last[objects[k]] = tracks[i]
            first_match.setdefault(objects[k], t)
            called += a.labels[rows[i]] == b.labels[columns[k]]
        for identity in objects:
            entered.setdefault(identity, t)
        present += len(objects)
        matched += len(hits)
        false += sum(i not in hits and not outside[row] for i, row in enumerate(rows))
    late = [i for i, t in entered.items() if t > 0]
    delays = [first_match[i] - entered[i] for i in late if i in first_match and first_match[i] - entered[i] <= within]
    return IdentityCounts(switches, present, matched, called, false, len(late), len(delays), tuple(sorted(delays)))


def total(clips: Iterable[IdentityCounts]) -> Json:
    """Sum the counts over clips, and give rates of them; 0 where there is nothing to divide by."""
    every = list(clips)
    sums = {
        f.name: sum(getattr(c, f.name) for c in every) for f in dataclasses.fields(IdentityCounts) if f.name != "delays"
    }
    delays = [d for c in every for d in c.delays]
    return {
        "clips": len(every),
        **sums,
        "switches_a_clip": sums["switches"] / max(len(every), 1),
        "found": sums["matched"] / max(sums["present"], 1),
        "late_share": sums["late_found"] / max(sums["late"], 1),
        "late_delay": float(np.mean(delays)) if delays else 0.0,
    }


def _matched(
    iou: NDArray[np.float32], tracks: list[int], objects: list[int], last: Mapping[int, int], min_iou: float
) -> dict[int, int]:
    """Rows to columns of ``iou`` [N, M]."""
    from scipy.optimize import linear_sum_assignment

    good = np.where(iou >= min_iou, iou, 0.0)
    hits: dict[int, int] = {}
    for k, identity in enumerate(objects):
        before = last.get(identity)
        i = tracks.index(before) if before in tracks else -1
        if i >= 0 and good[i, k] > 0 and i not in hits:
            hits[i] = k
    free = good.copy()
    free[list(hits)], free[:, list(hits.values())] = 0.0, 0.0
    for i, k in zip(*linear_sum_assignment(-free), strict=True):
        if free[i, k] > 0:
            hits[int(i)] = int(k)
    return hits


def _frames(found: Tracks, true: Tracks) -> list[tuple[TrackedFrame, TrackedFrame]]:
    """All frames of the video, side by side; one that is not there has no objects."""
    nothing = np.zeros((0, *true.size), bool)
    mine, theirs = ({f.index: f for f in tracks} for tracks in (found, true))
    return [
        (mine.get(t) or TrackedFrame.of(t, nothing, []), theirs.get(t) or TrackedFrame.of(t, nothing, []))
        for t in range(true.count)
    ]


def _dense(mask: Rle | None, size: tuple[int, int]) -> Mask:
    return np.zeros(size, bool) if mask is None else decode(mask)


def _check_same_video(found: Tracks, true: Tracks) -> None:
    if (found.size, found.count) != (true.size, true.count):
        raise ValueError(f"tracks of {found.count} frames of {found.size} on a truth of {true.count} of {true.size}")
