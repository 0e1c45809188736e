"""`read_header`: the size that `open_image` gives, without decoding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gsam.errors import ImageError
from gsam.inputs.header import read_header
from gsam.inputs.image import open_image

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 31, 3), np.uint8)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "tif", "gif", "ppm"])
def test_every_kind_has_the_size_of_its_pixels(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(PIXELS).save(path)
    found = read_header(path)
    assert (found.height, found.width, found.orientation) == (20, 31, 1)
    assert found.upright == open_image(path).pixels.shape[:2]


@pytest.mark.parametrize("orientation", [1, 2, 3, 4, 5, 6, 7, 8, 0, 99])
@pytest.mark.parametrize("suffix", ["jpg", "tif"])
def test_orientation(tmp_path: Path, orientation: int, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(PIXELS).save(path, exif=exif)
    found = read_header(path)
    assert found.orientation == (orientation if 1 <= orientation <= 8 else 1)
    assert found.upright == open_image(path).pixels.shape[:2]


def test_a_tiff_that_pillow_does_not_read(tmp_path: Path) -> None:
    import tifffile

    path = tmp_path / "a.tif"
    bands = np.random.default_rng(0).integers(0, 60000, (20, 31, 5), np.uint16)
    tifffile.imwrite(path, bands, photometric="minisblack", planarconfig="contig", extratags=[(274, "H", 1, 6, True)])
    found = read_header(path)
    with pytest.warns(UserWarning, match="5 bands"):
        assert found.upright == open_image(path, stretch=True).pixels.shape[:2] == (31, 20)


def test_a_head_is_enough(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(PIXELS).save(path)
    path.write_bytes(path.read_bytes()[:200])
    assert read_header(path).upright == (20, 31)


def test_what_is_no_image(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"<html>")
    for name, code in (
        ("a.png", "image_unreadable"),
        ("none.png", "image_missing"),
        ("", "image_not_a_file"),
        ("a" * 300, "image_missing"),
    ):
        with pytest.raises(ImageError) as caught:
            read_header(tmp_path / name)
        assert caught.value.code == code
