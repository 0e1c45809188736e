"""Rows 1 to 19: pictures."""

from __future__ import annotations

import io
import os
import resource
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gsam.inputs.image import Picture, make_view, open_image
from gsam.types import View
from tests.bad.sending import Sendable, png_of, uploaded
from tests.bad.table import Row, Run, error

RNG = np.random.default_rng(0)
SMALL = RNG.integers(0, 256, (12, 20, 3), dtype=np.uint8)
SMOOTH = np.stack(np.broadcast_arrays(np.arange(48)[:, None] * 5, np.arange(64)[None] * 3, 90), -1).astype(np.uint8)


def encoded(image: Image.Image | np.ndarray, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, kind, **options)
    return buffer.getvalue()


def opens(data: bytes, name: str = "a.jpg", **options: Any) -> Callable[[Path], Run]:
    """Open a file that holds ``data``."""

    def make(folder: Path) -> Run:
        (folder / name).write_bytes(data)
        return lambda: open_image(folder / name, **options)

    return make if options else Sendable(make, uploaded(data))


def array(values: np.ndarray, **options: Any) -> Callable[[Path], Run]:
    def make(_: Path) -> Run:
        return lambda: open_image(values, **options)

    plain = values.dtype == np.uint8 and values.shape[2:] == (3,) and values.size and not options
    return Sendable(make, uploaded(png_of(values))) if plain else make


def equals(expected: np.ndarray, tolerance: int = 0) -> Callable[[Picture], None]:
    def check(picture: Picture) -> None:
        assert picture.pixels.dtype == np.uint8
        assert picture.pixels.flags.c_contiguous
        assert picture.pixels.shape == expected.shape
        assert np.abs(picture.pixels.astype(int) - expected.astype(int)).max() <= tolerance

    return check


def shaped(*shape: int) -> Callable[[Picture], None]:
    def check(picture: Picture) -> None:
        assert picture.pixels.shape == (*shape, 3)
        for fit in ("longest", "square", "squash", "at_most"):
            assert make_view(picture.pixels, View(16, fit)).shape == (16, 16, 3)
        assert make_view(picture.pixels[:64, :64], View(16, "square", "gaussian")).shape == (16, 16, 3)

    return check


def png(width: int, height: int, depth: int, colour: int, data: bytes) -> bytes:
    """A PNG with this header, whatever the data."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data, 9)) + chunk(b"IEND", b"")


# Exif tag 274: how to turn the stored rows to see the picture upright, and so how to store an
# upright picture.
STORED: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.swapaxes(0, 1),
    6: lambda p: p.swapaxes(0, 1)[::-1],
    7: lambda p: p[::-1, ::-1].swapaxes(0, 1),
    8: lambda p: p.swapaxes(0, 1)[:, ::-1],
}


def turned(orientation: int, stored: np.ndarray, kind: str = "PNG") -> bytes:
    exif = Image.Exif()
    exif[274] = orientation
    return encoded(np.ascontiguousarray(stored), kind, exif=exif)


BOMB = png(20000, 20000, 1, 0, bytes(2501 * 20000))
LARGE = png(12000, 10000, 1, 0, bytes(1501 * 10000))


def bomb(folder: Path) -> Run:
    assert len(BOMB) < 100_000
    (folder / "bomb.png").write_bytes(BOMB)

    def run() -> Any:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        try:
            return open_image(folder / "bomb.png")
        finally:
            assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000, "decoded before it was refused"

    return run


def within_pillow_s_limit(folder: Path) -> Run:
    """Pillow itself would decode this one."""
    (folder / "large.png").write_bytes(LARGE)
    return lambda: open_image(folder / "large.png")


def fifo(folder: Path) -> Run:
    if not hasattr(os, "mkfifo"):
        pytest.skip("no named pipes here")
    os.mkfifo(folder / "pipe.png")
    return lambda: open_image(folder / "pipe.png")


def forbidden(folder: Path) -> Run:
    if not hasattr(os, "geteuid") or os.geteuid() == 0:
        pytest.skip("root may read everything")
    (folder / "a.png").write_bytes(encoded(SMALL, "PNG"))
    (folder / "a.png").chmod(0)
    return lambda: open_image(folder / "a.png")


def link_to_nothing(folder: Path) -> Run:
    (folder / "a.png").symlink_to(folder / "gone.png")
    return lambda: open_image(folder / "a.png")


def lazily_truncated(folder: Path) -> Run:
    (folder / "a.jpg").write_bytes(HALF)
    return lambda: open_image(Image.open(folder / "a.jpg"))


def named(name: str) -> Row:
    def make(folder: Path) -> Run:
        (folder / name).write_bytes(encoded(SMALL, "PNG"))
        return lambda: open_image(folder / name)

    def check(picture: Picture) -> None:
        assert picture.name == name
        equals(SMALL)(picture)

    shown = {"a\nb.png": "a line break", "개와 🐶.png": "Korean and emoji", "x" * 251 + ".png": "255 bytes"}[name]
    letter = {"a line break": "e", "Korean and emoji": "f", "255 bytes": "g"}[shown]
    sent = uploaded(encoded(SMALL, "PNG"), name)
    return Row(f"16{letter}", f"a file name with {shown}", Sendable(make, sent), check=check)


JPEG = encoded(SMOOTH, "JPEG", quality=95)
NOISE = encoded(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8), "JPEG")
RANDOM = RNG.bytes(99)
HALF = NOISE[: len(NOISE) // 2]
DEEP = (RNG.integers(0, 65536, (10, 14))).astype(np.uint16)
GREY_ALPHA = np.stack([SMALL[..., 0], SMALL[..., 1]], -1)
CLEAR = np.concatenate([SMALL, np.zeros((12, 20, 1), np.uint8)], -1)
CLEAR[:6, :, 3] = 255
WHITE = np.where(CLEAR[..., 3:] > 0, SMALL, 255).astype(np.uint8)


def palette() -> Image.Image:
    image = Image.new("P", (4, 2))
    image.putpalette([0, 0, 0, 255, 0, 0, 0, 0, 255])
    image.putdata([0, 1, 2, 1, 1, 1, 2, 2])
    return image


PALETTE_RGB = np.asarray(palette().convert("RGB"))
OVER = np.zeros((11, 10, 3), np.uint8)

ROWS: list[Row] = [
    error("1a", "a JPEG cut in half", opens(HALF), "ImageError image_truncated", "truncated"),
    error(
        "1b", "a PNG cut in half", opens(encoded(SMALL, "PNG")[:400], "a.png"), "ImageError image_truncated", "trunc"
    ),
    error("1c", "a PIL image whose file is cut", lazily_truncated, "ImageError image_truncated", "trunc", None, None),
    error("2a", "an empty file", opens(b""), "ImageError image_unreadable", "empty file"),
    error("2b", "a web page called .jpg", opens(b"\n<!DOCTYPE html><p>404"), "ImageError image_unreadable", "web page"),
    error("2c", "random bytes", opens(RNG.bytes(4000)), "ImageError image_unreadable", "known format"),
    error(
        "2d",
        "random bytes, not in a file",
        Sendable(lambda _: lambda: open_image(RANDOM), uploaded(RANDOM)),
        "ImageError image_unreadable",
        "these bytes: ",
    ),
    error("2e", "a number for a picture", lambda _: lambda: open_image(3), "TypeError", "not int", None, None),  # type: ignore[arg-type]
    Row("3", "a JPEG with zeros after its end", opens(JPEG + bytes(4000)), check=equals(SMOOTH, 8)),
    *(
        Row(
            f"4{'abcdefgh'[k - 1]}",
            f"EXIF orientation {k}",
            opens(turned(k, STORED[k](SMALL)), "a.png"),
            check=equals(SMALL),
        )
        for k in STORED
    ),
    Row("4i", "EXIF orientation 99, ignored", opens(turned(99, SMALL), "a.png"), check=equals(SMALL)),
    Row("4j", "EXIF orientation 6 in a JPEG", opens(turned(6, STORED[6](SMOOTH), "JPEG")), check=equals(SMOOTH, 24)),
    Row(
        "5a",
        "a 16-bit grey PNG: its high byte",
        opens(encoded(DEEP, "PNG"), "a.png"),
        check=equals(np.repeat((DEEP >> 8).astype(np.uint8)[..., None], 3, -1)),
        says="16 bits",
        warns=True,
    ),
    Row(
        "5b",
        "a 16-bit grey PNG, stretched",
        opens(encoded(DEEP, "PNG"), "a.png", stretch=True),
        check=lambda p: (_ for _ in ()).throw(AssertionError) if (p.pixels.min(), p.pixels.max()) != (0, 255) else None,
    ),
    Row(
        "6",
        "a 16-bit RGB PNG: its high byte",
        opens(png(2, 1, 16, 2, b"\0" + struct.pack(">6H", 40000, 0, 65535, 256, 255, 511)), "a.png"),
        check=equals(np.array([[[156, 0, 255], [1, 0, 1]]], np.uint8)),
    ),
    error(
        "7a",
        "a floating-point TIFF",
        opens(encoded(Image.fromarray(np.float32(SMALL[..., 0] / 80)), "TIFF"), "a.tif"),
        "ImageError image_float",
        "stretch",
    ),
    Row(
        "7b",
        "a floating-point TIFF with NaN, stretched",
        opens(
            encoded(Image.fromarray(np.array([[np.nan, 0.0], [0.5, 1.0]], np.float32)), "TIFF"), "a.tif", stretch=True
        ),
        check=equals(np.repeat(np.array([[0, 0], [127, 255]], np.uint8)[..., None], 3, -1)),
    ),
    Row(
        "8",
        "a CMYK JPEG",
        opens(encoded(Image.fromarray(SMOOTH).convert("CMYK"), "JPEG", quality=95)),
        check=equals(SMOOTH, 12),
    ),
    Row(
        "9a",
        "a palette with a transparent colour",
        opens(encoded(palette(), "PNG", transparency=0), "a.png"),
        check=equals(PALETTE_RGB),
    ),
    Row(
        "9b",
        "the same, put on white",
        opens(encoded(palette(), "PNG", transparency=0), "a.png", alpha="composite"),
        check=equals(np.where((PALETTE_RGB == 0).all(-1, keepdims=True), 255, PALETTE_RGB).astype(np.uint8)),
    ),
    Row(
        "9c",
        "grey with transparency: dropped",
        opens(encoded(GREY_ALPHA, "PNG"), "a.png"),
        check=equals(np.repeat(SMALL[..., :1], 3, -1)),
    ),
    Row(
        "9d", "transparent RGB: the colours below are kept", opens(encoded(CLEAR, "PNG"), "a.png"), check=equals(SMALL)
    ),
    Row(
        "9e",
        "transparent RGB, put on white",
        opens(encoded(CLEAR, "PNG"), "a.png", alpha="composite"),
        check=equals(WHITE),
    ),
    Row(
        "10a",
        "an animated GIF: its first frame",
        opens(
            encoded(
                Image.new("RGB", (8, 6), (255, 0, 0)),
                "GIF",
                save_all=True,
                append_images=[Image.new("RGB", (8, 6), "blue")],
            ),
            "a.gif",
        ),
        check=equals(np.full((6, 8, 3), (255, 0, 0), np.uint8)),
        says="first of 2",
        warns=True,
    ),
    Row(
        "10b",
        "a TIFF of two pages: the first",
        opens(encoded(SMALL, "TIFF", save_all=True, append_images=[Image.new("RGB", (3, 3))]), "a.tif"),
        check=equals(SMALL),
        says="first of 2",
        warns=True,
    ),
    Row(
        "11a",
        "a 1-bit picture",
        opens(encoded(Image.fromarray(SMALL[..., 0] > 99), "PNG"), "a.png"),
        check=equals(np.repeat((SMALL[..., :1] > 99) * np.uint8(255), 3, -1)),
    ),
    Row("11b", "one pixel", array(SMALL[:1, :1]), check=shaped(1, 1)),
    Row("11c", "5000 x 1", array(np.zeros((1, 5000, 3), np.uint8)), check=shaped(1, 5000)),
    Row("11d", "1 x 5000", array(np.zeros((5000, 1, 3), np.uint8)), check=shaped(5000, 1)),
    error(
        "12",
        "48 kB that claim 20000 x 20000",
        Sendable(bomb, uploaded(BOMB)),
        "ImageError image_too_large",
        "pixels",
        3,
        413,
    ),
    error(
        "13a",
        "120 megapixels, which Pillow would take",
        Sendable(within_pillow_s_limit, uploaded(LARGE)),
        "ImageError image_too_large",
        "100,000,000",
        3,
        413,
    ),
    error(
        "13b",
        "an array over the limit",
        array(OVER, max_pixels=100),
        "ImageError image_too_large",
        "10 x 11",
        None,
        None,
    ),
    Row("13c", "an array at the limit", array(OVER, max_pixels=110), check=equals(OVER)),
    error(
        "14a",
        "EPS",
        opens(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "a.eps"),
        "ImageError image_unreadable",
        "PostScript",
    ),
    error("14b", "EPS called .png", opens(encoded(SMALL, "EPS"), "a.png"), "ImageError image_unreadable", "PostScript"),
    error("14c", "PDF", opens(encoded(SMALL, "PDF"), "a.pdf"), "ImageError image_unreadable", "a PDF"),
    error(
        "14d",
        "SVG",
        opens(b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "a.svg"),
        "ImageError image_unreadable",
        "an SVG",
    ),
    error(
        "15",
        "HEIC",
        opens(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99), "a.heic"),
        "ImageError image_unreadable",
        "pillow-heif",
    ),
    error(
        "16a",
        "a file that is not there",
        lambda f: lambda: open_image(f / "no.png"),
        "ImageError image_missing",
        "no such file",
    ),
    error("16b", "a folder", lambda f: lambda: open_image(f), "ImageError image_not_a_file", "is a folder"),
    error("16c", "a named pipe: no hang", fifo, "ImageError image_not_a_file", "not a regular file"),
    error("16d", "a file one may not read", forbidden, "ImageError image_forbidden", "permission"),
    *(named(name) for name in ("a\nb.png", "개와 🐶.png", "x" * 251 + ".png")),
    error(
        "16h",
        "a name that is too long",
        lambda f: lambda: open_image(f / ("x" * 300)),
        "ImageError image_missing",
        "too long",
    ),
    error("16i", "a name with NUL", lambda _: lambda: open_image("a\0b.png"), "ImageError image_missing", "null"),
    error("16j", "a link to nothing", link_to_nothing, "ImageError image_missing", "no such file"),
    error(
        "16k",
        "a missing file whose name has a line break",
        lambda f: lambda: open_image(f / "a\nb"),
        "ImageError image_missing",
        r"a\\nb",
    ),
]
