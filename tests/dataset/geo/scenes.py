"""Small rasters for the tests of ``gsam geo``, and the packages that read what it writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

rasterio = pytest.importorskip("rasterio")
pyogrio = pytest.importorskip("pyogrio")
shapely = pytest.importorskip("shapely")
for part in ("control", "enums", "features", "warp", "windows"):
    pytest.importorskip(f"rasterio.{part}")

TRANSFORM = rasterio.Affine(0.5, 0, 500_000, 0, -0.5, 5_000_000)
CRS = "EPSG:32633"


def write(path: Path, bands: np.ndarray, *, crs: Any = CRS, transform: Any = TRANSFORM, **more: Any) -> Path:
    """Write bands [B, H, W] as a GeoTIFF."""
    count, height, width = bands.shape
    form = {"driver": "GTiff", "width": width, "height": height, "count": count, "dtype": bands.dtype, **more}
    with rasterio.open(path, "w", crs=crs, transform=transform, **form) as out:
        out.write(bands)
    return path


def things(height: int = 300, width: int = 420) -> np.ndarray:
    """Red and blue things [3, H, W] over seams and corners of tiles of 128 that share 32."""
    red, blue = np.zeros((2, height, width), bool)
    red[90:140, 90:140] = True  # over the corner of four tiles
    red[105:120, 105:120] = False  # with a hole there
    red[20:30, 60:360] = True  # through four tiles
    red[5:9, 5:9] = red[9:12, 9:12] = True  # two parts that meet at a corner: two objects
    y, x = np.mgrid[:height, :width]
    blue[(y - 200) ** 2 + (x - 200) ** 2 < 80**2] = True  # larger than a tile
    blue[250:290, 398:402] = blue[250:254, 380:402] = True
    out = np.zeros((3, height, width), np.uint8)
    out[0][red], out[2][blue] = 220, 210
    return out
