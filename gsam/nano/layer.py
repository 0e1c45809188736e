"""Something that moves through a clip over what lies before it, warped and composited frame by
frame."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gsam.nano.motion import Floats


@dataclasses.dataclass
class Layer:
    """A sprite and its path."""

    source: Image.Image
    """Square, mode RGBa."""
    path: Floats
    """[T, 4], see `gsam.nano.motion`."""
    side: float
    aspect: NDArray[np.float64]
    """[2]: how much narrower and lower than square it is."""
    mirror: float = 1.0
    light: NDArray[np.float32] = dataclasses.field(default_factory=lambda: np.ones(3, np.float32))
    number: int = 0
    """The object as the truth has it."""
    shadow: tuple[Image.Image, float, NDArray[np.float64]] | None = None
    """A soft outline (mode L), how dark, and how far from the thing."""

    def area(self, t: int) -> float:
        """Pixels it would fill alone."""
        solid = (np.asarray(self.source.getchannel("a")) > 127).mean()
        return float(solid * (self.side * np.exp(self.path[t, 3])) ** 2)

    def put(self, rgb: NDArray[np.float32], truth: NDArray[np.uint8], t: int) -> None:
        """Draw it into frame ``t``, in place."""
        if self.shadow is not None:
            outline, dark, away = self.shadow
            window = self._window(truth.shape, t, away)
            if window is not None:
                soft = np.asarray(self._warped(outline, window, t, away), np.float32)[..., None]
                rgb[_slices(window)] *= 1 - soft * np.float32(dark / 255)
        window = self._window(truth.shape, t)
        if window is None:
            return
        drawn = np.asarray(self._warped(self.source, window, t))
        alpha, here = drawn[..., 3:], _slices(window)
        colour = drawn[..., :3] * self.light
        np.minimum(colour, alpha, out=colour)
        under = rgb[here]
        under *= (255 - alpha) * np.float32(1 / 255)
        under += colour
        truth[here][alpha[..., 0] > 127] = self.number

    def _window(self, size: tuple[int, ...], t: int, away: Floats | float = 0.0) -> tuple[int, int, int, int] | None:
        """x0 y0 x1 y1 of the frame it can touch, or None."""
        centre = self.path[t, :2] + away
        reach = 0.72 * self.side * np.exp(self.path[t, 3]) * self.aspect.max() + 1
        x0, y0 = (int(v) for v in np.floor(np.maximum(centre - reach, 0)))
        x1, y1 = (int(v) for v in np.ceil(np.minimum(centre + reach, size[::-1])))
        return (x0, y0, x1, y1) if x1 > x0 and y1 > y0 else None

    def _warped(
        self, source: Image.Image, window: tuple[int, int, int, int], t: int, away: Floats | float = 0.0
    ) -> Image.Image:
        x0, y0, x1, y1 = window
        turn, zoom = self.path[t, 2], source.width / (self.side * np.exp(self.path[t, 3]))
        c, s = np.cos(turn) * zoom, np.sin(turn) * zoom
        matrix = np.array([[c * self.mirror, s * self.mirror], [-s, c]]) / self.aspect
        shift = source.width / 2 + matrix @ (np.array([x0, y0]) - self.path[t, :2] - away)
        data = (matrix[0, 0], matrix[0, 1], shift[0], matrix[1, 0], matrix[1, 1], shift[1])
        return source.transform((x1 - x0, y1 - y0), Image.Transform.AFFINE, data, Image.Resampling.BILINEAR)


def _slices(window: tuple[int, int, int, int]) -> tuple[slice, slice]:
    x0, y0, x1, y1 = window
    return slice(y0, y1), slice(x0, x1)
