"""Rows 26 to 31: boxes, points and masks."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from gsam import bind
from gsam.models import sam
from gsam.predictors.image import Predictor
from gsam.results.masks import rle
from gsam.results.result import LowResMasks, Result
from tests.bad.sending import Sendable, clicked
from tests.bad.table import Row, Run, error

CONFIG = sam.Config(32, 2, 2, (1,), image_size=64, patch=8, window=4, out_chans=16, decoder_heads=2, decoder_mlp=32)


@functools.cache
def predictor() -> Predictor:
    p = Predictor(sam.build(CONFIG, bind.random_params(sam.spec(CONFIG), 1)))
    p.set_image(np.random.default_rng(0).integers(0, 256, (40, 100, 3), dtype=np.uint8))
    return p


def predict(code: str | None = None, **prompt: Any) -> Callable[[Path], Run]:
    def make(_: Path) -> Run:
        return lambda: predictor().predict(**prompt)

    sent = clicked(**prompt)
    return make if sent is None else Sendable(make, dataclasses.replace(sent, code=code))


def batch(**prompts: Any) -> Callable[[Path], Run]:
    return lambda _: lambda: predictor().predict_many(**prompts)


def usable(found: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    masks, iou, low = found
    assert (masks.shape, iou.shape, low.shape) == ((3, 40, 100), (3,), (3, 32, 32))
    assert np.isfinite(iou).all()
    assert np.isfinite(low).all()


def refused(id: str, what: str, says: str, code: str | None = None, **prompt: Any) -> Row:
    return error(id, what, predict(code, **prompt), "ValueError", says, 2, 422 if code else None)


def no_boxes(_: Path) -> Run:
    empty = np.zeros(0, np.float32)
    low = LowResMasks(np.zeros((0, 8, 8), np.float32), 32, (32, 16), (40, 20))
    pixels = np.zeros((40, 20, 3), np.uint8)
    return lambda: Result(pixels, ["a"], empty.reshape(0, 4), [], empty.astype(np.int64), empty, empty, low)


def nothing(result: Result) -> None:
    assert (len(result), result.masks.shape, result.masks.dtype) == (0, (0, 40, 20), np.bool_)
    assert result[result.scores > 0.5].xyxy.shape == (0, 4)
    assert result[:3].labels == []
    assert list(result) == []
    assert result.low_res is not None
    assert result.low_res.logits_full().shape == (0, 40, 20)
    assert result.to_coco()["annotations"] == []
    assert result.plot().size == (20, 40)
    assert "nothing" in repr(result)


def ten_thousand(_: Path) -> Run:
    """More boxes than pixels: each is filled, in order."""
    rng = np.random.default_rng(0)
    low = rng.integers(0, 6, (10_000, 2))
    boxes = np.concatenate([low, low + rng.integers(1, 3, (10_000, 2))], 1).astype(np.float32)
    one = np.ones(10_000, np.float32)
    result = Result(np.zeros((8, 8, 3), np.uint8), ["a"], boxes, ["a"] * 10_000, np.zeros(10_000, np.int64), one, one)

    def run() -> None:
        area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        np.testing.assert_array_equal(result.masks.sum((1, 2)), area)

    return run


def beyond(_: Path) -> Run:
    boxes = np.array([[-5, -5, 3, 2], [6, 6, 1e9, 1e9], [50, 50, 60, 60], [2, 2, 2, 5], [-9, 1, -2, 4]], np.float32)
    five = np.ones(5, np.float32)
    return lambda: Result(np.zeros((8, 10, 3), np.uint8), ["a"], boxes, ["a"] * 5, np.zeros(5, np.int64), five, five)


def clipped(result: Result) -> None:
    assert result.masks.sum((1, 2)).tolist() == [6, 8, 0, 0, 0]
    assert result.plot().size == (10, 8)


def mask(*parts: tuple[slice, slice, bool]) -> np.ndarray:
    out = np.zeros((9, 13), bool)
    for down, across, value in parts:
        out[down, across] = value
    return out


def round_trip(values: np.ndarray) -> Callable[[Path], Run]:
    def make(_: Path) -> Run:
        def run() -> None:
            text = rle.encode(values)
            assert text["size"] == list(values.shape)
            assert isinstance(text["counts"], str)
            np.testing.assert_array_equal(rle.decode(text), values)

        return run

    return make


ALL = slice(None)
ROWS: list[Row] = [
    refused("26a", "a box with NaN", r"not finite, at index \[1\]", code="box_invalid", box=[1, np.nan, 3, 4]),
    refused("26b", "a box with infinity", r"not finite, at index \[2\]", code="box_invalid", box=[1, 2, np.inf, 4]),
    refused(
        "26c", "a point with NaN", "not finite", code="points_invalid", point_coords=[[np.nan, 1]], point_labels=[1]
    ),
    refused("27a", "a reversed box", "x0 <= x1", code="box_invalid", box=[50, 2, 10, 4]),
    Row("27b", "a box partly outside", predict(box=[-20, -20, 50, 30]), check=usable),
    refused(
        "27s",
        "a box right of the picture",
        "has no pixel of the picture, 100 x 40",
        code="box_outside",
        box=[200, 2, 260, 30],
    ),
    refused("27t", "a box above the picture", "no pixel", code="box_outside", box=[5, -20, 50, 0]),
    refused(
        "27u",
        "boxes of which the second is outside",
        "prompt 1: box",
        code="box_invalid",
        box=[[5, 5, 50, 30], [5, 41, 50, 60]],
    ),
    refused("27w", "a mask for the logits of a mask", "mask_input is logits", mask_input=np.ones((1, 32, 32), bool)),
    refused("27x", "a grey mask, 0 to 255", "mask_input is logits", mask_input=np.full((1, 32, 32), 255, np.uint8)),
    refused("27y", "a mask of floats 0 and 1", "mask_input is logits", mask_input=np.eye(32)[None]),
    Row("27z", "logits of zeros", predict(mask_input=np.zeros((1, 32, 32))), check=usable),
    Row("27v", "a box of no area in the corner", predict(box=[0, 0, 0, 0]), check=usable),
    Row("27c", "a box of no area", predict(box=[5, 5, 5, 5]), check=usable),
    Row(
        "27d",
        "result boxes outside the picture, empty, or at 1e9: masks end at its borders",
        beyond,
        check=clipped,
        exit=None,
        http=None,
    ),
    refused("27e", "a box of three numbers", "four numbers", code="box_invalid", box=[1, 2, 3]),
    Row("28", "10 000 boxes in a result", ten_thousand, exit=None, http=None),
    Row("29", "no boxes: shapes (0, ...)", no_boxes, check=nothing),
    refused(
        "30a",
        "a point outside",
        "outside the picture, 100 x 40",
        code="point_outside",
        point_coords=[[500, 1]],
        point_labels=[1],
    ),
    refused(
        "30b",
        "a point left of the picture",
        "outside the picture",
        code="point_outside",
        point_coords=[[-1, 1]],
        point_labels=[1],
    ),
    refused("30c", "a point label of 2", "got .2.", code="labels_invalid", point_coords=[[1, 1]], point_labels=[2]),
    refused(
        "30d",
        "two points, one label",
        r"\(2, 2\) and \(1,\)",
        code="labels_invalid",
        point_coords=[[1, 1], [2, 2]],
        point_labels=[1],
    ),
    refused("30e", "points without labels", "go together", code="labels_invalid", point_coords=[[1, 1]]),
    refused("30f", "labels without points", "go together", code="points_invalid", point_labels=[1]),
    error(
        "30g",
        "two sets of points, three boxes",
        batch(point_coords=np.ones((2, 1, 2)), point_labels=np.ones((2, 1)), boxes=np.ones((3, 4))),
        "ValueError",
        "2 sets of points but 3 boxes",
        2,
    ),
    Row("30h", "a point in the last corner", predict(point_coords=[[100, 40]], point_labels=[1]), check=usable),
    Row("31a", "an empty mask as run lengths and back", round_trip(mask())),
    Row("31b", "a full mask", round_trip(mask((ALL, ALL, True)))),
    Row("31c", "one pixel", round_trip(mask((slice(4, 5), slice(7, 8), True)))),
    Row(
        "31d",
        "a mask with a hole",
        round_trip(mask((slice(1, 8), slice(2, 9), True), (slice(3, 5), slice(4, 6), False))),
    ),
    Row(
        "31e",
        "a mask of two parts",
        round_trip(mask((slice(1, 3), slice(1, 3), True), (slice(6, 8), slice(9, 12), True))),
    ),
    Row("31f", "a mask along all borders", round_trip(mask((ALL, ALL, True), (slice(1, -1), slice(1, -1), False)))),
    Row("31g", "a mask of one row", round_trip(np.array([[True, False, True]]))),
    Row("31h", "a chessboard", round_trip(np.indices((7, 6)).sum(0) % 2 == 0)),
]
