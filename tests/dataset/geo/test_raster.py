"""Bands, depths and what was not measured: the pixels that a pipeline sees."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gsam.dataset.geo.raster import Raster, Reading
from gsam.errors import ImageError
from tests.dataset.geo.scenes import rasterio, write

SIZE = (90, 120)
RAMP = np.add.outer(np.arange(90), np.arange(120))


def look(path: Path, **reading: Any) -> tuple[np.ndarray, np.ndarray]:
    """All of a raster, put together from windows."""
    pixels, valid = np.zeros((*SIZE, 3), np.uint8), np.zeros(SIZE, bool)
    with Raster(path, Reading(**reading), 64) as raster:
        for top in range(0, 90, 50):
            for left in range(0, 120, 50):
                tile = (top, left, min(top + 50, 90), min(left + 50, 120))
                where = np.s_[top : tile[2], left : tile[3]]
                pixels[where], valid[where] = raster.read(tile)
    return pixels, valid


def stack(count: int, dtype: Any = np.uint8) -> np.ndarray:
    return np.stack([(RAMP + 10 * i).astype(dtype) for i in range(count)])


def test_three_of_many_bands(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", stack(5))
    assert np.array_equal(look(path)[0], np.moveaxis(stack(5)[:3], 0, -1))
    assert np.array_equal(look(path, bands=(4, 3, 2))[0], np.moveaxis(stack(5)[[3, 2, 1]], 0, -1))
    assert np.array_equal(look(path, bands=(5,))[0], np.repeat(stack(5)[4, ..., None], 3, -1))


def test_bands_that_the_file_calls_colours(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", stack(4))
    with rasterio.open(path, "r+") as opened:
        opened.colorinterp = (
            rasterio.enums.ColorInterp.blue,
            rasterio.enums.ColorInterp.green,
            rasterio.enums.ColorInterp.red,
            rasterio.enums.ColorInterp.undefined,
        )
    assert np.array_equal(look(path)[0], np.moveaxis(stack(4)[[2, 1, 0]], 0, -1))


@pytest.mark.parametrize("count", [2, 4])
def test_alpha_is_a_mask(count: int, tmp_path: Path) -> None:
    bands = stack(count)
    bands[-1] = 255
    bands[-1, :, :40] = 0
    path = write(tmp_path / "a.tif", bands, photometric="rgb" if count == 4 else "minisblack", alpha="unspecified")
    with rasterio.open(path, "r+") as opened:
        opened.colorinterp = [*opened.colorinterp[:-1], rasterio.enums.ColorInterp.alpha]
    pixels, valid = look(path)
    assert np.array_equal(valid, bands[-1] > 0)
    assert not pixels[:, :40].any()
    assert np.array_equal(pixels[:, 40:, 0], bands[0][:, 40:])


def test_nodata_is_where_no_band_has_a_value(tmp_path: Path) -> None:
    bands = stack(3) + 1
    bands[:, 10:20] = 0
    bands[0, 30:40] = 0
    assert np.array_equal(look(write(tmp_path / "a.tif", bands, nodata=0))[1], (bands > 0).any(0))
    assert look(write(tmp_path / "b.tif", bands))[1].all()
    assert np.array_equal(look(tmp_path / "b.tif", nodata=0)[1], (bands > 0).any(0))


def test_a_mask_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        write(path, stack(3))
        with rasterio.open(path, "r+") as opened:
            opened.write_mask(RAMP > 50)
    assert np.array_equal(look(path)[1], RAMP > 50)


def test_palette(tmp_path: Path) -> None:
    values = (RAMP % 4).astype(np.uint8)[None]
    colours = {0: (10, 20, 30, 255), 1: (200, 0, 0, 255), 2: (0, 200, 0, 255), 3: (0, 0, 200, 255)}
    with rasterio.open(
        tmp_path / "a.tif", "w", driver="GTiff", width=120, height=90, count=1, dtype="uint8", photometric="palette"
    ) as out:
        out.write(values)
        out.write_colormap(1, colours)
    pixels, valid = look(tmp_path / "a.tif")
    assert valid.all()
    assert np.array_equal(pixels, np.array([colours[i][:3] for i in range(4)], np.uint8)[values[0]])


def test_16_bits_keep_their_high_byte_and_dark_ones_are_told_of(tmp_path: Path) -> None:
    bands = stack(3, np.uint16) * 256
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pixels, _ = look(write(tmp_path / "a.tif", bands))
    assert np.array_equal(pixels, np.moveaxis(bands >> 8, 0, -1))
    with pytest.warns(UserWarning, match="nearly all is dark"):
        look(write(tmp_path / "b.tif", stack(3, np.uint16) * 10))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        twelve = look(write(tmp_path / "c.tif", stack(3, np.uint16) * 16, nbits=12))[0]
    assert np.array_equal(twelve, np.moveaxis(stack(3), 0, -1))


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.float32, np.float64])
def test_stretched_by_one_rule_for_all_tiles(dtype: Any, tmp_path: Path) -> None:
    bands = stack(3, dtype) * 7 - (500 if dtype != np.uint16 else 0)
    bands[1] *= 3
    bands[:, 40:50] = 9999
    path = write(tmp_path / "a.tif", bands.astype(dtype), nodata=9999)
    pixels, valid = look(path, stretch=True)
    assert np.array_equal(valid, bands[0] != 9999)
    for i in range(3):
        low, high = np.percentile(bands[i][valid], (2, 98))
        wanted = np.clip((bands[i] - low) / (high - low) * 255, 0, 255)
        assert np.abs(pixels[..., i][valid] - wanted[valid]).max() <= 1
    assert np.array_equal(look(path, span=(0, 1000))[0][valid][:, 0] == 255, bands[0][valid] >= 1000)


@pytest.mark.parametrize(
    ("dtype", "code"), [("float32", "image_float"), ("int16", "image_depth"), ("uint32", "image_depth")]
)
def test_no_known_range(dtype: str, code: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", stack(1, dtype))
    with pytest.raises(ImageError, match="--range 0,3000") as error:
        look(path)
    assert error.value.code == code


def test_complex_values(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="cannot be shown"):
        look(write(tmp_path / "a.tif", stack(1, np.complex64)), stretch=True)


def test_floats_that_are_no_numbers(tmp_path: Path) -> None:
    bands = stack(3, np.float32)
    bands[:, 3] = np.nan
    bands[0, 4], bands[1, 5] = np.inf, np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pixels, valid = look(write(tmp_path / "a.tif", bands), span=(0, 255))
    assert np.flatnonzero(~valid.all(1)).tolist() == [3]
    assert np.array_equal(pixels[6], np.moveaxis(bands[:, 6], 0, -1).astype(np.uint8))
    assert not pixels[3].any()


@pytest.mark.parametrize(
    "form",
    [
        {"driver": "COG", "blocksize": 64, "overview_resampling": "average"},
        {"bigtiff": "YES"},
        {"tiled": True, "blockxsize": 16, "blockysize": 16, "interleave": "band"},
        {"compress": "lzw", "predictor": 2},
        {"driver": "PNG"},
    ],
)
def test_forms(form: dict[str, Any], tmp_path: Path) -> None:
    assert np.array_equal(look(write(tmp_path / "a.tif", stack(3), **form))[0], np.moveaxis(stack(3), 0, -1))
