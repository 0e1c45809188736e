"""The parts of the mask generator by themselves: options, crops, run lengths, duplicates."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gsam.errors import UsageError
from gsam.ops import grid
from gsam.predictors.automatic.candidates import cut_off, nms
from gsam.predictors.automatic.measure import Frame, area, filled, measure, run_lengths
from gsam.predictors.automatic.settings import Settings
from gsam.results.masks.low_res import LowResMasks


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"points_per_side": None}, "neither is given"),
        ({"point_grids": [[[0.5, 0.5]]]}, "both are given"),
        ({"points_per_side": 0}, "between 1 and 1024"),
        ({"points_per_side": 2.5}, "whole number"),
        ({"points_per_side": "32"}, "is a number"),
        ({"points_per_batch": 0}, "at least 1"),
        ({"pred_iou_thresh": float("nan")}, "is a number"),
        ({"stability_score_thresh": 1.5}, "at most 1"),
        ({"stability_score_offset": -1.0}, "at least 0"),
        ({"box_nms_thresh": 1.1}, "between 0 and 1"),
        ({"crop_nms_thresh": -0.1}, "between 0 and 1"),
        ({"crop_n_layers": -1}, "between 0 and 8"),
        ({"crop_n_layers": True}, "is a number"),
        ({"crop_overlap_ratio": 1.0}, "below 1"),
        ({"crop_n_points_downscale_factor": 0}, "at least 1"),
        (
            {"points_per_side": 4, "crop_n_layers": 3, "crop_n_points_downscale_factor": 2},
            "no point is left in layer 3",
        ),
        ({"min_mask_region_area": -5}, "at least 0"),
        ({"output_mode": "polygon"}, "coco_rle"),
        ({"points_per_side": None, "point_grids": [[[0.5, 0.5]]], "crop_n_layers": 1}, "1 grids, 2 layers"),
        ({"points_per_side": None, "point_grids": [[[0.5, 1.5]]]}, "outside 0..1"),
        ({"points_per_side": None, "point_grids": [[0.5, 0.5]]}, r"\[P, 2\]"),
        ({"points_per_side": None, "point_grids": [np.zeros((0, 2))]}, "a point at least"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Settings(**options)


def test_points_run_along_x_first() -> None:
    np.testing.assert_allclose(grid.point_grid(2), [[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]], atol=1e-12)


def test_crops_of_a_photograph() -> None:
    """Numbers worked out by hand: an overlap of int(512 / 1500 * 1000) = 341 in the first layer."""
    found = grid.crops((1000, 1500), 1, 512 / 1500)
    assert [c.xyxy for c in found] == [
        (0, 0, 1500, 1000), (0, 0, 921, 671), (0, 330, 921, 1000), (580, 0, 1500, 671), (580, 330, 1500, 1000)
    ]  # fmt: skip
    assert [c.layer for c in found] == [0, 1, 1, 1, 1]
    assert len(grid.crops((1000, 1500), 2, 512 / 1500)) == 1 + 4 + 16


@pytest.mark.parametrize(
    ("rows", "counts"),
    [
        (["...", "..."], [6]),
        (["###", "###"], [0, 6]),
        (["#..", "..."], [0, 1, 5]),
        (["..#", "..#"], [4, 2]),
        ([".#.", "##."], [1, 3, 2]),
    ],
)
def test_run_lengths(rows: list[str], counts: list[int]) -> None:
    mask = np.array([[c == "#" for c in row] for row in rows])
    found = run_lengths(mask, (0, 0), (2, 3))
    assert found.tolist() == counts
    np.testing.assert_array_equal(filled(found, (2, 3)), mask)
    assert area(found) == mask.sum()


def test_run_lengths_of_a_part() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        h, w = rng.integers(1, 9, 2)
        y0, y1 = sorted(rng.integers(0, h + 1, 2))
        x0, x1 = sorted(rng.integers(0, w + 1, 2))
        whole = np.zeros((h, w), bool)
        whole[y0:y1, x0:x1] = rng.random((y1 - y0, x1 - x0)) > 0.4
        part = run_lengths(whole[y0:y1, x0:x1], (int(y0), int(x0)), (int(h), int(w)))
        assert part.tolist() == run_lengths(whole, (0, 0), (int(h), int(w))).tolist()
        np.testing.assert_array_equal(filled(part, (int(h), int(w))), whole)


@pytest.mark.parametrize("way", ["view", "bilinear", "bicubic", "probability"])
def test_a_mask_is_measured_as_it_is_shown(way: Any) -> None:
    """Counts, box and pixels of bands are those of the whole logits."""
    logits = np.random.default_rng(1).normal(-1.5, 2, (16, 16)).astype(np.float32)
    logits[:, 12:] = -9
    content = (64, 44) if way == "view" else (64, 64)
    whole = LowResMasks(logits[None], 64, content, (130, 90), upsample=way).logits_of(0)
    found = measure(logits, Frame((16, 16), 64, content, (130, 90), way, (-0.7, 0.0, 0.7)))
    assert (found.large, found.small) == ((whole > -0.7).sum(), (whole > 0.7).sum())
    mask = np.zeros((130, 90), bool)
    (y, x), (h, w) = found.corner, found.part.shape
    mask[y : y + h, x : x + w] = found.part
    np.testing.assert_array_equal(mask, whole > 0)
    ys, xs = np.nonzero(whole > 0)
    assert found.box() == (xs.min(), ys.min(), xs.max(), ys.max())


def test_nothing_is_measured_as_nothing() -> None:
    found = measure(np.full((4, 4), -5, np.float32), Frame((4, 4), 16, (16, 16), (9, 7), "view", (-1, 0, 1)))
    assert (found.large, found.small, found.box()) == (0, 0, (0, 0, 0, 0))
    assert np.isnan(found.stability)
    assert run_lengths(found.part, found.corner, (9, 7)).tolist() == [63]


def test_duplicates() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [20, 0, 30, 10], [5, 5, 5, 5], [5, 5, 5, 5]])
    scores = np.array([0.5, 0.9, 0.9, 0.1, 0.1], np.float32)
    assert nms(boxes, scores, 0.7).tolist() == [1, 2, 3, 4]  # equals in order; without area nothing overlaps
    assert nms(boxes, scores, 0.9).tolist() == [1, 2, 0, 3, 4]  # an IoU of 0.9 is not above it
    assert nms(boxes[:0], scores[:0], 0.5).tolist() == []


def test_boxes_at_the_edge_of_a_crop() -> None:
    crop, size = (100, 0, 300, 200), (200, 400)
    assert cut_off((120, 50, 200, 150), crop, size)  # 20 pixels from the crop's left edge
    assert not cut_off((121, 50, 200, 150), crop, size)
    assert not cut_off((150, 3, 200, 199), crop, size)  # top and bottom are the picture's own
    assert not cut_off((0, 0, 399, 199), (0, 0, 400, 200), size)
