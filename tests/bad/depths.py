"""More of rows 5, 7, 10, 13 to 16 and 18: depths, bands, pages, formats and arrays."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import tifffile
from PIL import Image

from gsam.inputs.image import Picture, open_image
from tests.bad.images import CLEAR, SMALL, WHITE, array, encoded, equals, opens, png
from tests.bad.table import Row, Run, error

DEEP = np.random.default_rng(3).integers(0, 65536, (12, 20, 3)).astype(np.uint16)
DIM = (DEEP // 22).astype(np.uint16)  # 0..2978, as reflectance
HIGH = (DEEP >> 8).astype(np.uint8)


def tiff(values: np.ndarray, **options: Any) -> bytes:
    data = io.BytesIO()
    tifffile.imwrite(data, values, **options)
    return data.getvalue()


def grey(values: np.ndarray) -> np.ndarray:
    return np.repeat(values[..., None], 3, -1).astype(np.uint8)


def stretched(values: np.ndarray) -> np.ndarray:
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    known = np.nan_to_num(values.astype(float), nan=low)
    out = ((known - low) / (high - low) * 255).astype(np.uint8)
    return out if out.ndim == 3 else grey(out)


def twelve_bits(values: np.ndarray) -> bytes:
    """Grey of 12 bits packed as TIFF packs them, two values in three bytes."""
    height, width = values.shape
    bits = (values[..., None] >> np.arange(11, -1, -1)) & 1
    data = np.packbits(bits.reshape(height, -1).astype(np.uint8), axis=1).tobytes()
    tags = (
        (256, width),
        (257, height),
        (258, 12),
        (259, 1),
        (262, 1),
        (273, 8),
        (277, 1),
        (278, height),
        (279, len(data)),
    )
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", t, 4, 1, v) for t, v in tags) + bytes(4)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + directory


def png16(values: np.ndarray) -> bytes:
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[values.shape[-1]]
    return png(values.shape[1], values.shape[0], 16, kind, rows)


def frames(kind: str, *colours: str) -> bytes:
    first, *rest = [Image.new("RGB", (8, 6), c) for c in colours]
    return encoded(first, kind, save_all=True, append_images=rest)


def on_frame(kind: str, k: int) -> Callable[[Path], Run]:
    image = Image.open(io.BytesIO(frames(kind, "red", "lime", "blue")))
    image.seek(k)

    def run() -> Picture:
        found = open_image(image)
        assert image.tell() == k
        return found

    return lambda _: run


def as_home(folder: Path) -> Run:
    """A file in the home folder, which is another folder for once."""
    (folder / "a.png").write_bytes(encoded(SMALL, "PNG"))

    def run() -> Picture:
        import os
        from unittest import mock

        with mock.patch.dict(os.environ, HOME=str(folder)):
            return open_image("~/a.png")

    return run


def open_file(folder: Path) -> Run:
    (folder / "a.png").write_bytes(encoded(SMALL, "PNG"))

    def run() -> Picture:
        with (folder / "a.png").open("rb") as file:
            file.seek(7)
            found = open_image(file)
            assert file.tell() == 7
            assert found.name == "a.png"
            return found

    return run


def as_text(folder: Path) -> Run:
    (folder / "a.txt").write_text("words")

    def run() -> Picture:
        with (folder / "a.txt").open() as file:
            return open_image(file)  # type: ignore[arg-type]

    return run


def api(id: str, what: str, make: Callable[[Path], Run], expected: np.ndarray) -> Row:
    """A row of Python alone."""
    return Row(id, what, make, check=equals(expected), exit=None, http=None)


LIME, BLUE = np.full((6, 8, 3), (0, 255, 0), np.uint8), np.full((6, 8, 3), (0, 0, 255), np.uint8)
BANDS = np.concatenate([DEEP, DEEP[..., :2] // 2], -1)
TWELVE = DEEP[..., 0] >> 4
FLOAT = np.float32(DEEP[..., 0]) / 7 - 1000
HOLES = FLOAT.copy()
HOLES[:3] = -9999.0
FILLED = HOLES.copy()
FILLED[:3] = np.nan
FILLED = np.where(np.isnan(FILLED)[..., None], 0, stretched(FILLED)).astype(np.uint8)
INFRARED = np.concatenate([SMALL, SMALL[..., :1]], -1)

ROWS: list[Row] = [
    Row(
        "5c",
        "a 16-bit RGB TIFF, planes apart",
        opens(tiff(np.moveaxis(DEEP, -1, 0), photometric="rgb", planarconfig="separate"), "a.tif"),
        check=equals(HIGH),
    ),
    Row(
        "5d",
        "the same, big-endian, deflated",
        opens(
            tiff(
                np.moveaxis(DEEP, -1, 0),
                photometric="rgb",
                planarconfig="separate",
                byteorder=">",
                compression="zlib",
                predictor=True,
            ),
            "a.tif",
        ),
        check=equals(HIGH),
    ),
    Row(
        "5e",
        "16-bit RGB of which little is used",
        opens(png16(DIM), "a.png"),
        check=equals((DIM >> 8).astype(np.uint8)),
        says="nearly all is dark",
        warns=True,
    ),
    Row("5f", "the same, stretched", opens(png16(DIM), "a.png", stretch=True), check=equals(stretched(DIM))),
    Row(
        "5g",
        "the same as TIFF",
        opens(tiff(DIM, photometric="rgb"), "a.tif"),
        check=equals((DIM >> 8).astype(np.uint8)),
        says="nearly all is dark",
        warns=True,
    ),
    Row(
        "5h",
        "the same as TIFF, stretched",
        opens(tiff(DIM, photometric="rgb"), "a.tif", stretch=True),
        check=equals(stretched(DIM)),
    ),
    Row(
        "5i",
        "12-bit grey TIFF",
        opens(twelve_bits(TWELVE), "a.tif"),
        check=equals(grey(TWELVE >> 4)),
        says="12 bits",
        warns=True,
    ),
    Row(
        "5j",
        "16-bit grey TIFF where 0 is white",
        opens(tiff(DEEP[..., 0], photometric="miniswhite"), "a.tif"),
        check=equals(grey(255 - HIGH[..., 0])),
        says="16 bits",
        warns=True,
    ),
    error(
        "5k",
        "16-bit grey with values below 0",
        opens(tiff(DEEP[..., 0].astype(np.int16)), "a.tif"),
        "ImageError image_depth",
        "signed 16-bit .* stretch",
    ),
    Row(
        "5l",
        "the same, stretched",
        opens(tiff(DEEP[..., 0].astype(np.int16)), "a.tif", stretch=True),
        check=equals(stretched(DEEP[..., 0].astype(np.int16))),
    ),
    Row(
        "5m",
        "16-bit RGBA of little range, stretched",
        opens(png16(np.concatenate([DIM, DEEP[..., :1]], -1)), "a.png", stretch=True),
        check=equals(stretched(DIM)),
    ),
    Row(
        "5n",
        "a TIFF of five 16-bit bands: the first three",
        opens(tiff(BANDS, planarconfig="contig", photometric="minisblack"), "a.tif"),
        check=equals(HIGH),
        says="5 bands",
        warns=True,
    ),
    Row(
        "5o",
        "two 16-bit bands: the first",
        opens(
            tiff(np.moveaxis(BANDS[..., :2], -1, 0), planarconfig="separate", photometric="minisblack"),
            "a.tif",
            stretch=True,
        ),
        check=equals(stretched(DEEP[..., 0])),
        says="2 bands",
        warns=True,
    ),
    error(
        "5p",
        "32-bit grey",
        opens(tiff(DEEP[..., 0].astype(np.uint32) << 8), "a.tif"),
        "ImageError image_depth",
        "32-bit pixels .* stretch",
    ),
    Row(
        "5q",
        "red, green, blue and infrared, 8 bits",
        opens(tiff(INFRARED, photometric="rgb", extrasamples=["unspecified"]), "a.tif"),
        check=equals(SMALL),
    ),
    api(
        "5r",
        "16-bit RGB as a PIL image, stretched",
        lambda _: lambda: open_image(Image.open(io.BytesIO(png16(DIM))), stretch=True),
        stretched(DIM),
    ),
    Row(
        "7c",
        "a float TIFF in tiles with predictor, stretched",
        opens(tiff(np.pad(FLOAT, 20), tile=(16, 16), compression="zlib"), "a.tif", stretch=True),
        check=equals(stretched(np.pad(FLOAT, 20))),
    ),
    Row(
        "7d",
        "a float TIFF with values not measured, stretched",
        opens(tiff(HOLES, extratags=[(42113, 2, 6, "-9999", True)]), "a.tif", stretch=True),
        check=equals(FILLED),
    ),
    Row(
        "7e",
        "64-bit floats, three bands, stretched",
        opens(tiff(DEEP / 7.0, photometric="rgb"), "a.tif", stretch=True),
        check=equals(stretched(DEEP / 7.0)),
    ),
    error(
        "7f", "complex numbers", opens(tiff(FLOAT.astype(np.complex64)), "a.tif"), "ImageError image_depth", "complex"
    ),
    api("10c", "a PIL image on page 1 of a TIFF: that page", on_frame("TIFF", 1), LIME),
    api("10d", "a PIL image on frame 2 of a GIF: that frame", on_frame("GIF", 2), BLUE),
    Row(
        "10e",
        "a page that is asked for",
        opens(frames("TIFF", "red", "lime", "blue"), "a.tif", frame=2),
        check=equals(BLUE),
    ),
    error(
        "10f",
        "a page that is not there",
        opens(frames("TIFF", "red", "lime"), "a.tif", frame=2),
        "ImageError image_no_frame",
        "has no page 2, it has 2",
    ),
    error(
        "10g",
        "a frame that is not there",
        opens(frames("GIF", "red", "lime"), "a.gif", frame=2),
        "ImageError image_no_frame",
        "has no frame 2",
    ),
    error(
        "14e", "a DICOM file", opens(bytes(128) + b"DICM" + bytes(99)), "ImageError image_unreadable", r"gsam\.medical"
    ),
    error("14f", "JPEG XL", opens(b"\xff\x0a" + bytes(99)), "ImageError image_unreadable", "JPEG XL"),
    error(
        "14g",
        "a video given for an image",
        opens(b"\0\0\0\x18ftypisom" + bytes(99)),
        "ImageError image_unreadable",
        "gsam track",
    ),
    error(
        "14h",
        "a camera's raw data in a TIFF",
        opens(
            tiff(
                DEEP[..., 0],
                photometric=32803,
                extratags=[(33421, 3, 2, (2, 2), True), (33422, 1, 4, b"\0\1\1\2", True)],
            ),
            "a.dng",
        ),
        "ImageError image_unreadable",
        "CFA",
    ),
    error(
        "14i",
        "a TIFF of a compression that is unknown",
        opens(tiff(DEEP).replace(struct.pack("<HHII", 259, 3, 1, 1), struct.pack("<HHII", 259, 3, 1, 50_999)), "a.tif"),
        "ImageError image_codec_missing",
        "compressed by 50999",
    ),
    error(
        "14k",
        "a TIFF whose directory is nowhere",
        opens(b"II*\0" + bytes(200), "a.tif"),
        "ImageError image_unreadable",
        "directory is damaged",
    ),
    error(
        "14j",
        "a 16-bit TIFF cut in half",
        opens(tiff(DEEP)[: 200 + DEEP.nbytes // 2], "a.tif"),
        "ImageError image_truncated",
        "truncated",
    ),
    Row("16l", "a path that begins with ~", as_home, check=equals(SMALL)),
    error("16m", "an empty path", lambda _: lambda: open_image(""), "ImageError image_missing", "empty text"),
    api("16n", "a file that is open, left where it was", open_file, SMALL),
    api("16o", "BytesIO", lambda _: lambda: open_image(io.BytesIO(encoded(SMALL, "PNG"))), SMALL),
    error("16p", "a file opened as text", as_text, "TypeError", "binary mode", None, None),
    api("18j", "a JAX array", lambda _: lambda: open_image(jnp.asarray(SMALL)), SMALL),
    api("18k", "a grey array [H, W, 1]", array(SMALL[..., :1]), grey(SMALL[..., 0])),
    api("18l", "an RGBA array, put on white", array(CLEAR, alpha="composite"), WHITE),
    api("18m", "a 16-bit array, stretched", array(DIM, stretch=True), stretched(DIM)),
    error("18n", "a batch [1, H, W, 3]", array(SMALL[None]), "ValueError", r"pipe\.stream", None, None),
    error(
        "18o",
        "a list of images",
        lambda _: lambda: open_image([SMALL, SMALL]),
        "TypeError",
        r"pipe\.stream",
        None,
        None,
    ),  # type: ignore[arg-type]
    error("18p", "floats from 0 to 255", array(SMALL.astype(float)), "TypeError", r"array\.round\(\)", None, None),
    error("18q", "a 16-bit array", array(DEEP), "TypeError", "stretch=True", None, None),
    error("18r", "a mask", array(SMALL > 9), "TypeError", "255", None, None),
    error("18s", "five bands", array(np.zeros((8, 9, 5), np.uint8)), "ValueError", "choose three", None, None),
]
