"""Values of a raster's bands -> uint8, by one rule for all its tiles."""

from __future__ import annotations

import dataclasses
import itertools
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gsam.errors import ImageError
from gsam.inputs.levels import DARK, DARK_TOLD

Reader = Callable[[Any, tuple[int, int]], tuple[NDArray[Any], NDArray[np.bool_]]]
PERCENTILES = (2.0, 98.0)
"""Values of a band that become 0 and 255 with ``stretch``."""
WINDOWS, SIDE = 8, 128
"""A raster is sampled in so many windows along each side, each reduced to so many pixels a side."""
ASK = "use stretch=True (--stretch), or say which values are black and white: span=(0, 3000) (--range 0,3000)"


@dataclasses.dataclass(frozen=True)
class Levels:
    """The way from values to uint8.

    Args:
        shift: Bits that are dropped on the right of whole numbers.
        low: The value of each band that becomes 0; None where ``shift`` is the rule.
        high: The value of each band that becomes 255.
    """

    shift: int = 0
    low: tuple[float, ...] | None = None
    high: tuple[float, ...] = ()

    def apply(self, values: NDArray[Any]) -> NDArray[np.uint8]:
        """Convert values.

        Args:
            values: [B, H, W], of the bands this was made for.

        Returns:
            [B, H, W] uint8; values that are no numbers become 0.
        """
        if self.low is None:
            if values.dtype == np.uint8:
                return values
            return np.clip(values >> self.shift, 0, 255).astype(np.uint8)
        out = np.empty(values.shape, np.uint8)
        for i, (low, high) in enumerate(zip(self.low, self.high, strict=True)):
            band = np.nan_to_num(values[i].astype(np.float32), nan=low, posinf=high, neginf=low)
            out[i] = np.clip((band - low) * (255.0 / (high - low)), 0, 255)
        return out


def levels_of(
    source: Any, bands: tuple[int, ...], name: str, read: Reader, *, stretch: bool, span: tuple[float, float] | None
) -> Levels:
    """Choose the levels of a raster.

    Args:
        source: The opened raster (rasterio).
        bands: Numbers of the bands, from 1.
        name: The raster's, for messages.
        read: Reads a window (rasterio) in a shape (height, width): values [B, H, W], and where they
            were measured [H, W].
        stretch: Whether percentiles of each band, measured over all the raster, become 0 and 255.
            8-bit values stay as they are.
        span: Values that become 0 and 255 in every band, in place of measured ones.

    Raises:
        gsam.errors.ImageError: The values have no known range, and neither ``stretch`` nor ``span``
            is given (``image_float``, ``image_depth``).
    """
    kinds = {np.dtype(source.dtypes[band - 1]) for band in bands}
    kind = np.result_type(*kinds)
    if kind.kind not in "uif":
        raise ImageError(f"{name}: values of type {kind} cannot be shown", "image_depth")
    if span is not None:
        return Levels(0, (span[0],) * len(bands), (span[1],) * len(bands))
    if kind == np.uint8:
        return Levels()
    if stretch:
        pairs = [_percentiles(band) for band in _sampled(source, len(bands), read)]
        return Levels(0, tuple(low for low, _ in pairs), tuple(high for _, high in pairs))
    if kind.kind == "f":
        raise ImageError(f"{name}: floating-point values have no known range; {ASK}", "image_float")
    if kind != np.uint16:
        raise ImageError(f"{name}: values of type {kind} have no known range; {ASK}", "image_depth")
    bits = max(int(source.tags(band, ns="IMAGE_STRUCTURE").get("NBITS", 16)) for band in bands)
    shift = max(bits - 8, 0)
    brightest = [np.quantile(band, 0.99) for band in _sampled(source, len(bands), read) if len(band)]
    if brightest and max(brightest) < DARK << shift:
        warnings.warn(f"{name}: {bits} bits a band, {DARK_TOLD}", stacklevel=4)
    return Levels(shift)


def _percentiles(values: NDArray[Any]) -> tuple[float, float]:
    if not len(values):
        return 0.0, 1.0
    low, high = (float(v) for v in np.percentile(values.astype(np.float64), PERCENTILES))
    return (low, high) if high > low else (low, low + 1)


def _sampled(source: Any, count: int, read: Reader) -> list[NDArray[Any]]:
    """Values of each band from all over a raster, from its overviews where it has them.

    What cannot be read is left out: the tile that needs it will say so.
    """
    from rasterio.errors import RasterioIOError
    from rasterio.windows import Window

    rows, columns = ([round(side * i / WINDOWS) for i in range(WINDOWS + 1)] for side in (source.height, source.width))
    found: list[list[NDArray[Any]]] = [[] for _ in range(count)]
    for (y0, y1), (x0, x1) in itertools.product(itertools.pairwise(rows), itertools.pairwise(columns)):
        if y1 == y0 or x1 == x0:
            continue
        window, shape = Window(x0, y0, x1 - x0, y1 - y0), (min(y1 - y0, SIDE), min(x1 - x0, SIDE))
        try:
            values, measured = read(window, shape)
        except RasterioIOError:
            continue
        for i, band in enumerate(values):
            found[i].append(band[measured & np.isfinite(band)])
    return [np.concatenate(band) if band else np.zeros(0) for band in found]
