"""Tiles: what covers the picture, and what is one thing."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import gsam
from gsam.inputs.image import Picture
from gsam.nano import heldout
from gsam.pipeline.limits import Limits
from gsam.pipeline.tile import merge, tiles
from gsam.results.result import CroppedMasks, Result


@pytest.mark.parametrize("size", [(1024, 1024), (1025, 900), (3000, 4000), (200, 5000), (1, 1)])
@pytest.mark.parametrize("overlap", [0.0, 0.2, 0.5])
def test_tiles_cover_the_picture_and_each_other(size: tuple[int, int], overlap: float) -> None:
    seen = np.zeros(size, int)
    for y0, x0, y1, x1 in tiles(size, 1024, overlap):
        assert y1 - y0 == min(1024, size[0])
        assert x1 - x0 == min(1024, size[1])
        seen[y0:y1, x0:x1] += 1
    assert seen.min() >= 1
    for axis in (0, 1):
        edges = sorted({(t[axis], t[axis + 2]) for t in tiles(size, 1024, overlap)})
        assert all(a[1] - b[0] >= int(1024 * overlap) for a, b in itertools.pairwise(edges))


def test_an_overlap_that_is_none() -> None:
    with pytest.raises(ValueError, match="0 to 1, not 1"):
        tiles((4000, 4000), 1024, 1.0)


ROOT = Path(__file__).parents[2]
SIZE = (100, 160)
LEFT, RIGHT = (0, 0, 100, 100), (0, 60, 100, 160)


def seen(tile: tuple[int, int, int, int], *things: tuple[int, int, int, int, float], label: int = 0) -> Result:
    """What a tile finds of rectangles (top, left, bottom, right, score) of the picture."""
    y0, x0, y1, x1 = tile
    size = (y1 - y0, x1 - x0)
    corners, parts, boxes = [], [], []
    for top, left, bottom, right, _ in things:
        area = max(top - y0, 0), max(left - x0, 0), min(bottom, y1) - y0, min(right, x1) - x0
        corners.append(area[:2])
        parts.append(np.ones((area[2] - area[0], area[3] - area[1]), bool))
        boxes.append((area[1], area[0], area[3], area[2]))
    n = len(things)
    return Result(
        np.zeros((*size, 3), np.uint8),
        ["a", "b"],
        np.asarray(boxes, np.float32).reshape(-1, 4),
        ["ab"[label]] * n,
        np.full(n, label),
        np.asarray([t[-1] for t in things], np.float32),
        np.zeros(n, np.float32),
        CroppedMasks(np.asarray(corners, np.int64).reshape(-1, 2), parts, size),
    )


def together(*parts: tuple[tuple[int, int, int, int], Result], **limits: float) -> Result:
    tiles, results = zip(*parts, strict=True)
    return merge(Picture(np.zeros((*SIZE, 3), np.uint8), "x.png"), tiles, results, Limits(boxes=10, **limits))  # type: ignore[arg-type]


def test_a_thing_cut_by_two_tiles_is_whole_again() -> None:
    thing = (20, 40, 60, 130)
    result = together((LEFT, seen(LEFT, (*thing, 0.6))), (RIGHT, seen(RIGHT, (*thing, 0.8))))
    assert len(result) == 1
    assert result.scores[0] == pytest.approx(0.8)
    np.testing.assert_array_equal(result.xyxy, [[40, 20, 130, 60]])
    expected = np.zeros(SIZE, bool)
    expected[20:60, 40:130] = True
    np.testing.assert_array_equal(result.masks[0], expected)
    assert (result.image, result.size) == ("x.png", SIZE)


def test_a_thing_that_one_tile_sees_whole() -> None:
    """The other tile's part of it goes; the finer of two whole sights stays."""
    thing, whole = (20, 65, 40, 95), (0, 0, *SIZE)
    result = together(
        (whole, seen(whole, (*thing, 0.9))), (LEFT, seen(LEFT, (*thing, 0.5))), (RIGHT, seen(RIGHT, (*thing, 0.4)))
    )
    assert len(result) == 1
    assert result.scores[0] == pytest.approx(0.9)
    np.testing.assert_array_equal(result.xyxy, [[65, 20, 95, 40]])


def test_neighbours_stay_apart() -> None:
    """Two things of one label side by side in the strip that both tiles see, and one of another
    label on top.
    """
    one, two = (20, 62, 40, 78), (20, 80, 40, 98)
    parts = [(tile, seen(tile, (*one, 0.9), (*two, 0.8))) for tile in (LEFT, RIGHT)]
    assert len(together(*parts)) == 2
    other = (RIGHT, seen(RIGHT, (*one, 0.7), label=1))
    assert together(*parts, other).labels == ["a", "a", "b"]


def test_one_big_mask_around_a_group_goes() -> None:
    whole = (0, 0, *SIZE)
    small = seen(LEFT, (10, 10, 40, 24, 0.5), (10, 25, 40, 39, 0.5), (10, 40, 40, 55, 0.5))
    group = (whole, seen(whole, (10, 10, 40, 55, 0.9)))
    assert sorted(together(group, (LEFT, small)).scores.round(2)) == [0.5, 0.5, 0.5]
    assert len(together(group, (LEFT, small), group=1.0, inside=1.0)) == 4


def test_nothing_found_by_any_tile() -> None:
    result = together((LEFT, seen(LEFT)), (RIGHT, seen(RIGHT)))
    assert len(result) == 0
    assert result.masks.shape == (0, *SIZE)
    assert result.xyxy.shape == (0, 4)
    with pytest.raises(ValueError, match="no logits"):
        _ = result.mask_logits


@pytest.mark.long
def test_small_things_in_a_large_picture() -> None:
    """nano sees 160 pixels a side: a scene that is a corner of a large picture is found in tiles
    only.
    """
    example = heldout.read(ROOT / "tests" / "data" / "heldout")[0]
    scene, names = example.rgb, sorted(set(example.names))
    height, width = scene.shape[:2]
    large = np.full((4 * height, 4 * width, 3), 128, np.uint8)
    large[:height, :width] = scene
    with jax.numpy_dtype_promotion("standard"):
        found = asked(gsam.load("nano", device="cpu:0"), large, scene, names)
    plain, tiled, alone, streamed = found
    assert len(tiled) >= len(alone) > len(plain)
    assert [len(r) for r in streamed] == [len(tiled), len(alone)]


def asked(pipe: gsam.Pipeline, large: np.ndarray, scene: np.ndarray, names: list[str]) -> tuple[Any, ...]:
    side = max(scene.shape[:2])
    tiled = pipe(large, names, tile=side, overlap=0.2)
    streamed = list(pipe.stream([large, scene], names, batch_size=4, tile=side))
    return pipe(large, names), tiled, pipe(scene, names), streamed


def test_the_number_of_boxes_counts_per_tile() -> None:
    def many(tile: tuple[int, int, int, int], count: int) -> Result:
        y0, x0 = tile[:2]
        return seen(tile, *[(y0 + 9 * i, x0, y0 + 9 * i + 6, x0 + 20, 0.9) for i in range(count)])

    left, right = (0, 0, 100, 80), (0, 80, 100, 160)
    assert len(together((left, many(left, 9)), (right, many(right, 9)))) == 18
    with pytest.warns(UserWarning, match="1 of 2 tiles hold 10 boxes, the most"):
        assert len(together((left, many(left, 10)), (right, many(right, 9)))) == 19


def test_tiles_are_cut_when_their_turn_comes() -> None:
    from gsam.pipeline.tile import by_tiles

    asked: list[list[tuple[int, int]]] = []

    def find(some: Sequence[Picture]) -> list[Result]:
        asked.append([p.pixels.shape[:2] for p in some])
        return [seen((0, 0, *p.pixels.shape[:2])) for p in some]

    result = by_tiles(Picture(np.zeros((90, 300, 3), np.uint8)), Limits(tile=100, overlap=0.0), 2, find)
    assert asked == [[(90, 300), (90, 100)], [(90, 100), (90, 100)]]
    assert result.pixels.shape == (90, 300, 3)
    assert len(result) == 0
