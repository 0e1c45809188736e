"""The options of `gsam.MaskGenerator`, and what they may be."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gsam.errors import UsageError
from gsam.ops.grid import point_grid

OutputMode = Literal["binary_mask", "uncompressed_rle", "coco_rle"]


@dataclasses.dataclass(frozen=True)
class Settings:
    """See `gsam.MaskGenerator`.  Raises `UsageError` for values that cannot be."""

    points_per_side: int | None = 32
    points_per_batch: int = 64
    pred_iou_thresh: float = 0.88
    stability_score_thresh: float = 0.95
    stability_score_offset: float = 1.0
    box_nms_thresh: float = 0.7
    crop_n_layers: int = 0
    crop_nms_thresh: float = 0.7
    crop_overlap_ratio: float = 512 / 1500
    crop_n_points_downscale_factor: int = 1
    point_grids: Sequence[ArrayLike] | None = None
    min_mask_region_area: int = 0
    output_mode: OutputMode = "binary_mask"
    mask_threshold: float = 0.0
    use_m2m: bool = False
    multimask_output: bool = True

    def __post_init__(self) -> None:
        if (self.points_per_side is None) == (self.point_grids is None):
            which = "both are" if self.point_grids is not None else "neither is"
            hint = "points_per_side=None goes with point_grids"
            raise UsageError(f"one of points_per_side and point_grids is needed, {which} given: {hint}")
        for name, low, high in _RANGES:
            _number(name, getattr(self, name), low, high)
        if self.crop_overlap_ratio >= 1:
            raise UsageError(f"crop_overlap_ratio is below 1, not {self.crop_overlap_ratio}")
        for name in _WHOLE:
            value = getattr(self, name)
            if value is not None and value != int(value):
                raise UsageError(f"{name} is a whole number, not {value}")
        if self.output_mode not in get_args(OutputMode):
            raise UsageError(f"no output_mode {self.output_mode!r}; there are {', '.join(get_args(OutputMode))}")
        _ = self.grids

    @functools.cached_property
    def grids(self) -> list[NDArray[np.float64]]:
        """The points of each layer of crops, [P, 2] in 0..1."""
        layers = self.crop_n_layers + 1
        if self.point_grids is None:
            assert self.points_per_side is not None
            sides = [int(self.points_per_side / self.crop_n_points_downscale_factor**i) for i in range(layers)]
            if sides[-1] < 1:
                raise UsageError(
                    f"no point is left in layer {layers - 1}: {self.points_per_side} a side, divided by "
                    f"{self.crop_n_points_downscale_factor} from layer to layer"
                )
            return [point_grid(side) for side in sides]
        grids = [np.asarray(grid, np.float64) for grid in self.point_grids]
        if len(grids) < layers:
            raise UsageError(f"point_grids has {len(grids)} grids, {layers} layers of crops need one each")
        for i, grid in enumerate(grids):
            if grid.ndim != 2 or grid.shape[1] != 2 or not len(grid):
                raise UsageError(f"point_grids[{i}] must be [P, 2] with a point at least, is {list(grid.shape)}")
            if not ((grid >= 0) & (grid <= 1)).all():
                raise UsageError(f"point_grids[{i}] has points outside 0..1: they are shares of width and height")
        return grids


_RANGES: tuple[tuple[str, float, float], ...] = (
    ("points_per_side", 1, 1024),
    ("points_per_batch", 1, math.inf),
    ("pred_iou_thresh", -math.inf, math.inf),
    ("stability_score_thresh", -math.inf, 1),
    ("stability_score_offset", 0, math.inf),
    ("box_nms_thresh", 0, 1),
    ("crop_n_layers", 0, 8),
    ("crop_nms_thresh", 0, 1),
    ("crop_overlap_ratio", 0, 1),
    ("crop_n_points_downscale_factor", 1, math.inf),
    ("min_mask_region_area", 0, math.inf),
    ("mask_threshold", -math.inf, math.inf),
)
_WHOLE = ("points_per_side", "points_per_batch", "crop_n_layers", "crop_n_points_downscale_factor")


def _number(name: str, value: Any, low: float, high: float) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not math.isfinite(value):
        raise UsageError(f"{name} is a number, not {value!r}")
    if not low <= value <= high:
        allowed = f"at least {low:g}" if high == math.inf else f"at most {high:g}" if low == -math.inf else ""
        raise UsageError(f"{name} is {allowed or f'between {low:g} and {high:g}'}, not {value}")
