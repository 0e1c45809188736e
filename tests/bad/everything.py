"""Rows 51 to 53: everything in a picture."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from gsam import bind
from gsam.models import sam
from gsam.predictors.automatic.generator import MaskGenerator
from tests.bad.geometry import CONFIG
from tests.bad.sending import EVERYTHING, Sendable, Sent, png_of
from tests.bad.table import Row, Run, error


class Boxed(sam.SamSegmenter):
    prompt_types = frozenset({"box"})


@functools.cache
def stage(kind: type[sam.SamSegmenter] = sam.SamSegmenter) -> sam.SamSegmenter:
    spec = sam.spec(CONFIG)
    return kind(CONFIG, spec, bind.random_params(spec, 1))


def find(height: int, width: int, **options: Any) -> Callable[[Path], Run]:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    loose = {"pred_iou_thresh": 0.0, "stability_score_thresh": 0.0, "points_per_side": 2, **options}

    def make(_: Path) -> Run:
        return lambda: (pixels.shape[:2], MaskGenerator(stage(), **loose).generate(pixels))

    return make if options else Sendable(make, Sent(EVERYTHING, {}, png_of(pixels), same=same))


def same(found: tuple[tuple[int, int], list[dict[str, Any]]], answer: Any) -> None:
    assert (answer["height"], answer["width"]) == found[0]
    assert all(s["mask"]["size"] == list(found[0]) for s in answer["segments"])


def whole(found: tuple[tuple[int, int], list[dict[str, Any]]]) -> None:
    size, records = found
    assert all(r["segmentation"].shape == size and r["segmentation"].sum() == r["area"] for r in records)


def refused(id: str, what: str, says: str, **options: Any) -> Row:
    return error(id, what, lambda _: lambda: MaskGenerator(stage(), **options), "UsageError usage", says, 2)


def unasked(_: Path) -> Run:
    return lambda: MaskGenerator(stage(Boxed))


ROWS = [
    Row("51a", "everything in one pixel", find(1, 1), check=whole),
    Row("51b", "everything in one pixel, in crops of crops", find(1, 1, crop_n_layers=2), check=whole),
    Row("51c", "everything in a line", find(1, 70), check=whole),
    Row("51d", "everything in a line, in crops", find(1, 70, crop_n_layers=1, min_mask_region_area=4), check=whole),
    refused("52a", "an output mode that does not exist", "no output_mode 'svg'", output_mode="svg"),
    refused("52b", "points a side and grids at once", "both are given", point_grids=[[[0.5, 0.5]]]),
    refused("52c", "neither points a side nor grids", "neither is given", points_per_side=None),
    refused("52d", "no points", "between 1 and 1024", points_per_side=0),
    refused("52e", "a threshold that is no number", "is a number", pred_iou_thresh=float("nan")),
    refused("52f", "points outside the picture", "outside 0..1", points_per_side=None, point_grids=[[[2, 0.5]]]),
    refused("52g", "more layers of crops than the points can be divided for", "no point is left", points_per_side=2,
            crop_n_layers=2, crop_n_points_downscale_factor=2),
    error("53", "everything of a model that takes no points", unasked, "UsageError model_takes_no_points",
          "cannot be asked with points", 2),
]  # fmt: skip
