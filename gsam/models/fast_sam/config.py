"""Sizes of FastSAM."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Config:
    """Sizes of the network."""

    depth: float
    """Number of the repeated blocks, as a share of YOLOv8's largest."""
    width: float
    """Width of the layers, as a factor of YOLOv8's table."""
    most: int
    """Upper bound of a layer's width before ``width`` is applied."""
    image_size: int = 1024
    """Longer side of the scaled images, a multiple of 32: a setting, the weights serve any."""
    classes: int = 1
    bins: int = 16
    """Bins by which the distance to a side is read."""
    coefficients: int = 32
    """Number of mask prototypes."""

    def channels(self, count: int) -> int:
        """Width of a layer that is ``count`` wide in YOLOv8's table: a multiple of 8."""
        return -(-int(min(count, self.most) * self.width) // 8) * 8

    def repeats(self, count: int) -> int:
        """Number of blocks where YOLOv8's table has ``count``."""
        return max(round(count * self.depth), 1)


VARIANTS: dict[str, Config] = {
    "fast_sam_s": Config(0.33, 0.5, 1024),
    "fast_sam_x": Config(1.0, 1.25, 512),
}
