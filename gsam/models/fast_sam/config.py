"""The sizes FastSAM comes in."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Config:
    depth: float
    """How many of the repeated blocks there are, as a share of YOLOv8's largest."""
    width: float
    """How wide the layers are."""
    most: int
    """Layers are no wider than this before ``width`` is applied."""
    image_size: int = 1024
    """The longer side that pictures are scaled to, a multiple of 32: a setting of use, the weights serve any."""
    classes: int = 1
    bins: int = 16
    """In which the distance of a side is read."""
    coefficients: int = 32
    """Prototypes of masks."""

    def channels(self, count: int) -> int:
        """The width of a layer that is ``count`` wide in the table: a multiple of 8."""
        return -(-int(min(count, self.most) * self.width) // 8) * 8

    def repeats(self, count: int) -> int:
        return max(round(count * self.depth), 1)


VARIANTS: dict[str, Config] = {
    "fast_sam_s": Config(0.33, 0.5, 1024),
    "fast_sam_x": Config(1.0, 1.25, 512),
}
