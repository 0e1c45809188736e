"""Objects put together from tiles, and traced strip by strip."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from gsam.dataset.geo import merge
from gsam.dataset.geo.outline import traced
from gsam.pipeline.limits import Limits
from gsam.pipeline.tile import tiles
from gsam.results.masks.polygons import filled
from gsam.results.masks.rle import encode
from tests.dataset.geo.scenes import shapely


def pieces_of(mask: np.ndarray, side: int, overlap: float, label: int = 0) -> list[merge.Piece]:
    """Connected parts of a mask, as tiles would show them."""
    found = []
    for number, view in enumerate(tiles(mask.shape, side, overlap)):
        top, left, bottom, right = view
        marked, _ = ndimage.label(mask[top:bottom, left:right])
        for i, (y, x) in enumerate(ndimage.find_objects(marked)):
            part = marked[y, x] == i + 1
            area = (top + y.start, left + x.start, top + y.stop, left + x.stop)
            counts = str(encode(part)["counts"])
            found.append(merge.Piece(number, view, label, 0.5, 0.5, area, int(part.sum()), counts))
    return found


def blobs(seed: int, size: tuple[int, int]) -> np.ndarray:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=size), 9)
    return noise > 0.6 * noise.std()


@pytest.mark.parametrize("seed", range(4))
def test_connected_parts_come_back(seed: int) -> None:
    mask = blobs(seed, (400, 500))
    marked, count = ndimage.label(mask)
    found = merge.merge(pieces_of(mask, 128, 0.3), mask.shape, Limits(group=1.0, inside=1.0, nms=1.0))
    whole = (0, 0, *mask.shape)
    true = {(marked == i + 1).tobytes() for i in range(count)}
    assert {merge.painted(thing.pieces, whole).tobytes() for thing in found} == true
    assert len(found) == count


def test_labels_are_not_joined() -> None:
    mask = np.zeros((100, 200), bool)
    mask[40:60, 20:180] = True
    both = [*pieces_of(mask, 128, 0.3, 0), *pieces_of(mask, 128, 0.3, 1)]
    found = merge.merge(both, mask.shape, Limits())
    assert [(t.label, t.pixels) for t in found] == [(0, 3200), (1, 3200)]


def test_what_one_tile_shows_whole_is_taken_from_it() -> None:
    """The other tile's ragged cut of it is left out, its higher score kept."""
    size = (100, 180)
    one, two = tiles(size, 100, 0.2)
    whole, cut = np.ones((30, 40), bool), np.ones((30, 18), bool)
    cut[::2, 8:] = False
    a = merge.Piece(0, one, 0, 0.9, 0.9, (30, 82, 60, 100), int(cut.sum()), str(encode(cut)["counts"]))
    b = merge.Piece(1, two, 0, 0.6, 0.7, (30, 86, 60, 126), 1200, str(encode(whole)["counts"]))
    (thing,) = merge.merge([a, b], size, Limits())
    assert (thing.pieces, thing.pixels, thing.score) == ((b,), 1200, 0.9)


def test_a_box_around_a_group_and_duplicates_fall() -> None:
    view = (0, 0, 100, 100)

    def rectangle(area: tuple[int, int, int, int], score: float) -> merge.Piece:
        part = np.ones((area[2] - area[0], area[3] - area[1]), bool)
        return merge.Piece(0, view, 0, score, 0.5, area, part.size, str(encode(part)["counts"]))

    small = [rectangle((10, 10, 50, 50), 0.5), rectangle((10, 50, 50, 90), 0.6)]
    found = merge.merge(
        [*small, rectangle((10, 10, 50, 90), 0.9), rectangle((10, 11, 50, 50), 0.4)], (100, 100), Limits()
    )
    assert [t.pieces[0] for t in found] == [small[1], small[0]]


def test_large_areas_are_compared_in_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    mask = blobs(0, (300, 300))
    monkeypatch.setattr(merge, "BLOCK", 64)
    limits = Limits(group=1.0, inside=1.0, nms=1.0)
    small = merge.merge(pieces_of(mask, 100, 0.3), mask.shape, limits)
    monkeypatch.setattr(merge, "BLOCK", 4096)
    assert [t.pixels for t in small] == [t.pixels for t in merge.merge(pieces_of(mask, 100, 0.3), mask.shape, limits)]


@pytest.mark.parametrize("at_once", [400, 1000, 5000])
def test_strips_give_the_same_outlines(at_once: int) -> None:
    rng = np.random.default_rng(3)
    mask = blobs(5, (90, 110)) ^ (rng.random((90, 110)) < 0.05)  # with single pixels, and holes of one
    mask[[0, -1], 20:30] = True
    pieces = pieces_of(mask, 64, 0.3)
    thing = merge.Thing.of(pieces, pieces[0])
    whole, strips = traced(thing), traced(thing, at_once)
    assert strips.is_valid
    assert strips.geom_type == "MultiPolygon"
    assert shapely.equals(whole, strips)
    rings = [[np.asarray(r.coords)[:-1] for r in (p.exterior, *p.interiors)] for p in strips.geoms]
    assert np.array_equal(filled(rings, mask.shape), mask)
