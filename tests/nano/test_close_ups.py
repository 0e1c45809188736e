"""Rows of close-ups: windows around small things, four in a view, with their truth."""

from __future__ import annotations

import numpy as np

from gsam.nano.close_ups import FEWEST, close_ups
from gsam.nano.names import LEAVES
from gsam.nano.scenes import IGNORE, OBJECTS, Drawn
from gsam.pipeline.refine import GREY

SIDE = 160


def scene(boxes: list[tuple[int, int, int, int]], names: list[str], size: tuple[int, int] = (400, 480)) -> Drawn:
    """Rectangles, each in a grey level of its own."""
    instances = np.zeros(size, np.uint8)
    rgb = np.full((*size, 3), 30, np.uint8)
    for k, (x0, y0, x1, y1) in enumerate(boxes, 1):
        instances[y0:y1, x0:x1] = k
        rgb[y0:y1, x0:x1] = 60 + 20 * k
    return Drawn(rgb, instances, names, np.array(boxes, np.float32).reshape(-1, 4))


def test_a_window_holds_what_it_is_about_and_labels_it() -> None:
    drawn = scene([(100, 100, 140, 130), (300, 250, 330, 300)], ["dog", "cat"])
    row = close_ups(np.random.default_rng(0), drawn, SIDE)
    assert row is not None
    rgb, instances, leaf, boxes, content = row
    assert rgb.shape == (SIDE, SIDE, 3)
    assert content.tolist() == [SIDE, SIDE]
    assert sorted(LEAVES[i] for i in leaf if i >= 0) == ["cat", "dog"]
    for k in range(2):
        mask = instances == k + 1
        level = 60 + 20 * (1 + ["dog", "cat"].index(LEAVES[leaf[k]]))
        assert abs(np.median(rgb[mask][:, 0].astype(int)) - level) <= 2
        x0, y0, x1, y1 = boxes[k].astype(int)
        assert mask[y0:y1, x0:x1].all()
        assert mask.sum() == (y1 - y0) * (x1 - x0)
        long = max(x1 - x0, y1 - y0)
        assert 0.45 * SIDE / 2 < long <= 0.88 * SIDE / 2  # margins from 0.1 to 0.5 of its longer side
    assert (rgb[SIDE // 2 :] == GREY).all()  # two windows fill the upper half


def test_one_thing_alone_fills_the_view() -> None:
    drawn = scene([(100, 100, 140, 130), (300, 250, 330, 300)], ["dog", "cat"])
    row = close_ups(np.random.default_rng(0), drawn, SIDE, together=1)
    assert row is not None
    rgb, instances, leaf, boxes, _ = row
    assert (leaf >= 0).sum() == 1
    level = 60 + 20 * (1 + ["dog", "cat"].index(LEAVES[leaf[0]]))
    assert abs(np.median(rgb[instances == 1][:, 0].astype(int)) - level) <= 2
    assert 0.45 * SIDE < (boxes[0, 2:] - boxes[0, :2]).max() <= 0.88 * SIDE


def test_beyond_the_image_is_grey_and_no_thing() -> None:
    drawn = scene([(0, 0, 50, 50)], ["dog"])
    row = close_ups(np.random.default_rng(1), drawn, SIDE)
    assert row is not None
    rgb, instances = row[0], row[1]
    assert (rgb[0, : SIDE // 2] == GREY).all()
    assert not instances[0].any()


def test_what_is_not_judged_stays_so() -> None:
    drawn = scene([(100, 100, 140, 130)], ["dog"])
    drawn.instances[126:130, 100:140] = IGNORE
    row = close_ups(np.random.default_rng(0), drawn, SIDE, together=1)
    assert row is not None
    instances = row[1]
    assert 0.05 < (instances == IGNORE).sum() / (instances == 1).sum() < 0.3


def test_a_scene_without_small_things_gives_no_row() -> None:
    assert close_ups(np.random.default_rng(0), scene([(0, 0, 300, 300)], ["dog"]), SIDE) is None
    assert close_ups(np.random.default_rng(0), scene([], []), SIDE) is None


def test_there_are_no_more_objects_than_a_row_has_room_for() -> None:
    boxes = [(200 + 22 * (i % 4), 200 + 22 * (i // 4), 220 + 22 * (i % 4), 220 + 22 * (i // 4)) for i in range(8)]
    crowded = scene(boxes, ["dog", "cat", "car", "bus", "key", "cow", "pig", "bee"])
    full = 0
    for seed in range(10):
        row = close_ups(np.random.default_rng(seed), crowded, SIDE)
        assert row is not None
        _, instances, leaf, boxes_found, _ = row
        count = int((leaf >= 0).sum())
        full += count == OBJECTS and (instances == IGNORE).any()
        assert count == instances[instances != IGNORE].max()
        for k in range(count):
            assert (instances == k + 1).sum() >= FEWEST
            assert (boxes_found[k, 2:] > boxes_found[k, :2]).all()
    assert full  # what had no room is not taken for background
