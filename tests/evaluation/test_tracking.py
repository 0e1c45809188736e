"""J, F, identities and late objects: against numbers worked out by hand, and F against a plain
reading of its definition.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from gsam.evaluation.tracking import (
    IdentityCounts,
    assign_tracks,
    boundary,
    contour,
    count_identities,
    qualities,
    region,
    total,
)
from gsam.nano import heldout_clips
from gsam.results.tracks import TrackedFrame, Tracks

SIZE = (20, 30)


def square(x: int, y: int = 4, side: int = 6, size: tuple[int, int] = SIZE) -> np.ndarray:
    mask = np.zeros(size, bool)
    mask[max(y, 0) : y + side, max(x, 0) : x + side] = True
    return mask


def tracks(*rows: dict[int, int | None], label: str = "dog") -> Tracks:
    """A frame a row: id -> where its square lies (None: an empty mask)."""
    frames = []
    for t, row in enumerate(rows):
        masks = [np.zeros(SIZE, bool) if x is None else square(x) for x in row.values()]
        stacked = np.stack(masks) if masks else np.zeros((0, *SIZE), bool)
        frames.append(TrackedFrame.of(t, stacked, list(row), [label] * len(row)))
    return Tracks.of(frames)


def test_region() -> None:
    nothing = np.zeros(SIZE, bool)
    assert region(square(2), square(2)) == 1
    assert region(square(2), square(5)) == pytest.approx(18 / 54)
    assert region(square(2), square(20)) == 0
    assert region(nothing, nothing) == 1
    assert region(square(2), nothing) == region(nothing, square(2)) == 0


def test_boundary_by_hand() -> None:
    mask = np.zeros((5, 6), bool)
    mask[1:3, 2:4] = True
    drawn = [".XXX..", ".X.X..", ".XXX..", "......", "......"]
    assert ["".join(".X"[int(v)] for v in row) for row in boundary(mask)] == drawn
    assert not boundary(np.ones((4, 4), bool)).any()  # no boundary along the border
    corner = np.zeros((3, 3), bool)
    corner[2, 2] = True
    assert np.argwhere(boundary(corner)).tolist() == [[1, 1], [1, 2], [2, 1]]


def plain(found: np.ndarray, true: np.ndarray, tolerance: float = 0.008) -> float:
    """F, read off its definition: pixel by pixel, neighbour by neighbour, distance by distance."""
    h, w = true.shape

    def edge(mask: np.ndarray) -> list[tuple[int, int]]:
        out = []
        for y in range(h):
            for x in range(w):
                near = [(y, x + 1)] if x + 1 < w else []
                near += [(y + 1, x)] if y + 1 < h else []
                near += [(y + 1, x + 1)] if x + 1 < w and y + 1 < h else []
                if any(mask[p] != mask[y, x] for p in near):
                    out.append((y, x))
        return out

    mine, theirs = edge(found), edge(true)
    if not mine and not theirs:
        return 1.0
    reach = math.ceil(tolerance * math.sqrt(h * h + w * w))

    def share(some: list[tuple[int, int]], others: list[tuple[int, int]]) -> float:
        if not some:
            return 1.0
        close = [any((y - v) ** 2 + (x - u) ** 2 <= reach**2 for v, u in others) for y, x in some]
        return sum(close) / len(some)

    precision, recall = share(mine, theirs), share(theirs, mine)
    return 0.0 if precision + recall == 0 else 2 * precision * recall / (precision + recall)


@pytest.mark.parametrize("tolerance", [0.008, 0.05, 0.12])
def test_contour_is_the_plain_reading(tolerance: float) -> None:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:24, :31]
    seen = set()
    for k in range(30):
        a, b = (
            (y - rng.uniform(0, 24)) ** 2 + rng.uniform(0.4, 2) * (x - rng.uniform(0, 31)) ** 2 < rng.uniform(0, 140)
            for _ in range(2)
        )
        b = a ^ (rng.random(a.shape) < 0.02) if k % 3 == 0 else b
        f = contour(a, b, tolerance)
        assert f == pytest.approx(plain(a, b, tolerance), abs=1e-12)
        seen.add(round(f, 3))
    assert len(seen) > 8


def test_contour_by_hand() -> None:
    size = (50, 100)  # diagonal 111.8: a tolerance of one pixel
    a = square(20, 10, 10, size)
    assert contour(a, a) == 1
    assert contour(a, square(21, 10, 10, size)) == 1
    assert contour(a, square(21, 11, 10, size)) < 1  # sides are near, but a corner is two pixels from its own
    # 2 to the right.  Each boundary is a ring of 40 pixels, 11 x 11.  Of the second one, 10 of the
    # 11 in the upper row, and in the lower, are within one pixel of the first's; of the side that
    # lies inside the first, the two ends; of the other, none.
    assert contour(a, square(22, 10, 10, size)) == pytest.approx(22 / 40)
    nothing = np.zeros(size, bool)
    assert contour(nothing, nothing) == 1
    assert contour(a, nothing) == contour(nothing, a) == 0
    assert contour(a, square(60, 30, 10, size)) == 0


def test_quality_of_a_track() -> None:
    true = tracks({1: 2}, {1: 2}, {1: 2}, {1: 2}, {1: 2})
    found = tracks({1: 20}, {1: 2}, {1: 5}, {1: None}, {1: 20})
    (q,) = qualities(found, true)
    assert (q.id, q.track, q.frames) == (1, 1, 3)
    assert q.j == pytest.approx((1 + 18 / 54 + 0) / 3)
    assert q.f == pytest.approx((1 + contour(square(5), square(2)) + 0) / 3)
    assert q.jf == (q.j + q.f) / 2
    (whole,) = qualities(found, true, ends=True)
    assert whole.frames == 5
    assert whole.j == pytest.approx((0 + 1 + 18 / 54 + 0 + 0) / 5)


def test_an_object_that_comes_and_goes() -> None:
    true = tracks({}, {1: 2}, {1: 2}, {}, {1: 2}, {})
    perfect = tracks({1: 9}, {1: 2}, {1: 2}, {}, {1: 2}, {})
    (q,) = qualities(perfect, true)  # frame 0, before it appears, is not its own
    assert (q.j, q.f, q.frames) == (1, 1, 3)
    (q,) = qualities(perfect, true, ends=True)
    assert q.j == pytest.approx(5 / 6)
    ghost = tracks({}, {1: 2}, {1: 2}, {1: 2}, {1: 2}, {})
    assert qualities(ghost, true)[0].j == pytest.approx(2 / 3)
    (lost,) = qualities(tracks({}, {2: 2}, {}, {}, {}, {}), true)
    assert (lost.track, lost.j) == (None, pytest.approx(1 / 3))


def test_only_frames_that_are_judged() -> None:
    true, found = tracks({1: 2}, {1: 2}, {1: 2}), tracks({1: 2}, {1: 5}, {1: 2})
    ignored = np.zeros((3, *SIZE), bool)
    ignored[1] = square(2) ^ square(5)
    assert qualities(found, true)[0].j == pytest.approx(18 / 54)
    assert qualities(found, true, ignored=ignored)[0].j == 1
    assert qualities(tracks({1: 2}, {1: 2}), tracks({1: 2}, {1: 2})) == []  # a first and a last frame, and none between


def test_tracks_without_known_ids_are_assigned() -> None:
    true = tracks({1: 0, 2: 15}, {1: 1, 2: 14}, {1: 2, 2: 13})
    found = tracks({7: 15, 9: 0}, {7: 14, 9: 1, 4: 22}, {9: 2, 7: 13})
    assert assign_tracks(found, true) == {1: 9, 2: 7}
    got = qualities(found, true, assign_tracks(found, true), ends=True)
    assert [(q.id, q.track, q.j, q.f) for q in got] == [(1, 9, 1, 1), (2, 7, 1, 1)]
    assert assign_tracks(tracks({5: 2}), true=tracks({3: 2, 8: 22})) == {3: 5}
    assert assign_tracks(tracks({}), tracks({1: 2})) == {}
    with pytest.raises(ValueError, match="tracks of 1 frames"):
        assign_tracks(tracks({1: 2}), tracks({1: 2}, {1: 2}))


def test_the_assignment_is_the_best_for_all() -> None:
    """Track 5 overlaps both objects, track 6 only the first: the first does not get what the second
    needs.
    """
    true, found = tracks({1: 4, 2: 8}), tracks({5: 6, 6: 2})
    assert region(square(4), square(6)) == region(square(4), square(2)) == region(square(8), square(6))
    assert assign_tracks(found, true) == {1: 6, 2: 5}


def test_identities_by_hand() -> None:
    # both followed    they swap        1 is lost        1 is back as 9   2 leaves, a false one
    true = tracks({1: 0, 2: 20}, {1: 0, 2: 20}, {1: 0, 2: 20}, {1: 0, 2: 20}, {1: 0})
    found = tracks({7: 0, 8: 20}, {8: 0, 7: 20}, {7: 20}, {9: 1, 7: 20}, {9: 0, 7: 20})
    got = count_identities(found, true)
    assert got == IdentityCounts(switches=3, present=9, matched=8, called=8, false=1, late=0, late_found=0, delays=())
    assert count_identities(true, true) == IdentityCounts(0, 9, 9, 9, 0, 0, 0, ())
    assert count_identities(tracks({}, {}, {}, {}, {}), true) == IdentityCounts(0, 9, 0, 0, 0, 0, 0, ())
    cats = tracks(*[{7: 0}] * 5, label="cat")
    assert (count_identities(cats, true).matched, count_identities(cats, true).called) == (5, 0)


def test_a_match_is_kept_while_it_is_good_enough() -> None:
    true = tracks({1: 10}, {1: 10}, {1: 10}, {1: 10})
    found = tracks(
        {7: 10}, {7: 11, 8: 10}, {7: 10, 8: 11}, {7: 14, 8: 10}
    )  # 8 is better for a frame: 7 stays the object's
    got = count_identities(found, true)
    assert (got.switches, got.matched, got.false) == (1, 4, 3)  # only when 7, in the last frame, is at 2/10


def test_late_objects_by_hand() -> None:
    true = tracks({1: 0}, {1: 0, 2: 10}, {1: 0, 2: 10}, {1: 0, 2: 10, 3: 22}, {1: 0, 2: 10, 3: 22})
    found = tracks({7: 0}, {7: 0}, {7: 0}, {7: 0, 8: 11}, {7: 0, 8: 10})
    assert count_identities(found, true).delays == (2,)
    got = count_identities(found, true, within=1)
    assert (got.late, got.late_found, got.delays) == (2, 0, ())
    soon = count_identities(true, true, within=0)
    assert (soon.late, soon.late_found, soon.delays) == (2, 2, (0, 0))
    told = total([count_identities(found, true), soon])
    assert told["clips"] == 2
    assert (told["late"], told["late_found"], told["late_share"]) == (4, 3, 0.75)
    assert told["late_delay"] == pytest.approx(2 / 3)
    assert told["switches_a_clip"] == 0
    assert told["found"] == pytest.approx((7 + 11) / 22)
    assert total([])["late_share"] == 0


def test_what_is_not_judged_counts_neither_way() -> None:
    true, found = tracks({1: 0}), tracks({7: 0, 8: 20})
    assert count_identities(found, true).false == 1
    ignored = square(19, 3, 8)[None]
    got = count_identities(found, true, ignored=ignored)
    assert (got.false, got.matched, got.present) == (0, 1, 1)
    gone = count_identities(found, true, ignored=square(0)[None])
    assert (gone.present, gone.matched) == (0, 0)


def test_the_shipped_clips_follow_themselves() -> None:
    for example in heldout_clips.read(Path(__file__).parents[1] / "data" / "clips"):
        tracks = example.tracks()
        ignored = example.clip.instances == 255
        got = count_identities(tracks, tracks, ignored=ignored)
        assert got.switches == got.false == 0
        assert got.matched == got.present == example.clip.present.sum()
        assert got.late == (~example.clip.present[0]).sum()
        assert all(q.j == q.f == 1 for q in qualities(tracks, tracks, ignored=ignored))
        assert assign_tracks(tracks, tracks) == {i: i for i in tracks.ids}
