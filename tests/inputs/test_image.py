"""The door for pictures: the geometry of views against Pillow and scipy.

Bad pictures are in tests/bad.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import struct
import time
import tracemalloc

import numpy as np
import pytest
import tifffile
from PIL import Image
from scipy import ndimage

from gsam.errors import ImageError
from gsam.inputs.image import content, make_view, open_image
from gsam.types import View

RNG = np.random.default_rng(0)


def picture(h: int, w: int) -> np.ndarray:
    return RNG.integers(0, 256, (h, w, 3), dtype=np.uint8)


def gaussian_by_scipy(pixels: np.ndarray, size: int, pad: float) -> np.ndarray:
    """What skimage.transform.resize(order=1, anti_aliasing=True) is made of, on the picture padded
    to a square.
    """
    h, w = pixels.shape[:2]
    side = max(h, w)
    padded = np.full((side, side, 3), pad)
    padded[:h, :w] = pixels
    sigma = max(0.0, (side / size - 1) / 2)
    if sigma:
        padded = ndimage.gaussian_filter(padded, (sigma, sigma, 0), mode="mirror", truncate=4.0)
    return ndimage.zoom(padded, (size / side, size / side, 1), order=1, mode="mirror", grid_mode=True)


@pytest.mark.parametrize(
    ("h", "w", "size"), [(150, 200, 96), (200, 90, 33), (50, 40, 96), (64, 64, 64), (7, 1, 32), (1, 1, 8)]
)
def test_gaussian_is_scipy(h: int, w: int, size: int) -> None:
    pixels = picture(h, w)
    ours = make_view(pixels, View(size, "square", "gaussian", 127.5))
    assert ours.dtype == np.float32
    assert np.abs(ours - gaussian_by_scipy(pixels, size, 127.5)).max() < 1e-3  # of 255


def test_gaussian_is_fast() -> None:
    pixels, view = picture(1500, 2000), View(960, "square", "gaussian", 127.5)
    seconds = []
    for _ in range(4):
        start = time.process_time()
        make_view(pixels, view)
        seconds.append(time.process_time() - start)
    assert min(seconds) < 1.0  # 0.15 on an idle machine; on a busy one, BLAS threads that wait for each other count too


@pytest.mark.parametrize(("h", "w"), [(333, 500), (500, 333), (37, 500), (64, 64), (5000, 1), (1, 5000), (31, 77)])
def test_longest_is_sam_s(h: int, w: int) -> None:
    pixels = picture(h, w)
    scale = 64 / max(h, w)
    rows, columns = max(int(h * scale + 0.5), 1), max(int(w * scale + 0.5), 1)
    view = make_view(pixels, View(64, "longest", pad=7))
    assert view.shape == (64, 64, 3)
    assert view.dtype == np.uint8
    expected = np.asarray(Image.fromarray(pixels).resize((columns, rows), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(view[:rows, :columns], expected)
    assert (view[rows:] == 7).all()
    assert (view[:, columns:] == 7).all()
    assert content(View(64), (h, w)) == (rows, columns)


def test_squash_ignores_the_aspect() -> None:
    pixels = picture(30, 90)
    view = make_view(pixels, View(48, "squash", "bicubic"))
    np.testing.assert_array_equal(view, np.asarray(Image.fromarray(pixels).resize((48, 48), Image.Resampling.BICUBIC)))
    assert content(View(48, "squash"), (30, 90)) == (48, 48)


def test_at_most_never_enlarges() -> None:
    small = picture(20, 30)
    view = make_view(small, View(64, "at_most"))
    np.testing.assert_array_equal(view[:20, :30], small)
    assert not view[20:].any()
    assert not view[:, 30:].any()
    assert content(View(64, "at_most"), (20, 30)) == (20, 30)
    large = picture(180, 90)
    assert content(View(64, "at_most"), (180, 90)) == (64, 32)
    np.testing.assert_array_equal(make_view(large, View(64, "at_most")), make_view(large, View(64, "longest")))


@pytest.mark.parametrize("size", [(333, 500), (500, 333), (17, 64)])
def test_content_of_a_square_view(size: tuple[int, int]) -> None:
    assert content(View(100, "square", "gaussian"), size) == content(View(100, "longest"), size)


@pytest.mark.parametrize(("h", "w"), [(90, 120), (30, 200), (64, 64), (7, 1), (1, 1), (400, 300)])
def test_antialias_is_torch_s(h: int, w: int) -> None:
    """Of floats, which are not rounded between the axes, and whatever the aspect."""
    torch = pytest.importorskip("torch")
    pixels = picture(h, w)
    view = make_view(pixels, View(64, "squash", "antialias"))
    given = torch.tensor(pixels.transpose(2, 0, 1).copy())[None].float()
    theirs = torch.nn.functional.interpolate(given, (64, 64), mode="bilinear", antialias=True, align_corners=False)
    assert view.dtype == np.float32
    assert np.abs(view - theirs[0].numpy().transpose(1, 2, 0)).max() < 1e-3  # of 255
    if h > 64:
        assert np.abs(view - make_view(pixels, View(64, "squash", "linear"))).max() > 10


@pytest.mark.parametrize(("h", "w"), [(90, 120), (30, 200), (64, 64), (7, 1), (1, 1)])
def test_linear_is_torch_s(h: int, w: int) -> None:
    """Not anti-aliased, also when shrinking, and whatever the aspect."""
    torch = pytest.importorskip("torch")
    pixels = picture(h, w)
    view = make_view(pixels, View(64, "squash", "linear"))
    assert (view.dtype, View(64, "squash", "linear").dtype) == (np.float32, "float32")
    given = torch.tensor(pixels.transpose(2, 0, 1))[None].float()
    expected = torch.nn.functional.interpolate(given, (64, 64), mode="bilinear", align_corners=False)[0]
    np.testing.assert_allclose(view, expected.numpy().transpose(1, 2, 0), atol=1e-4)
    padded = make_view(pixels, View(64, "longest", "linear", 9.0))
    rows, columns = content(View(64), (h, w))
    expected = torch.nn.functional.interpolate(given, (rows, columns), mode="bilinear", align_corners=False)[0]
    np.testing.assert_allclose(padded[:rows, :columns], expected.numpy().transpose(1, 2, 0), atol=1e-4)
    assert (padded[rows:] == 9).all()
    assert (padded[:, columns:] == 9).all()


SPLINES = {  # red of skimage.transform.resize(order=3, preserve_range=True, anti_aliasing=True).astype(uint8), skimage 0.26
    (9, 14, 6): [
        [81, 131, 111, 106, 148, 133],
        [155, 121, 102, 174, 131, 117],
        [60, 155, 158, 92, 176, 145],
        [160, 103, 111, 106, 133, 97],
        [96, 113, 156, 141, 94, 132],
        [188, 160, 130, 89, 184, 143],
    ],
    (5, 3, 8): [
        [21, 5, 35, 90, 147, 189, 209, 199],
        [45, 24, 63, 124, 163, 169, 165, 168],
        [113, 88, 132, 183, 172, 101, 48, 78],
        [121, 132, 112, 83, 69, 74, 82, 77],
        [165, 205, 132, 39, 33, 117, 185, 147],
        [216, 246, 190, 113, 105, 169, 221, 192],
        [145, 135, 152, 169, 161, 129, 105, 118],
        [113, 90, 130, 178, 170, 108, 61, 87],
    ],
}


@pytest.mark.parametrize("case", SPLINES)
def test_spline_is_skimage_s_to_the_bit(case: tuple[int, int, int]) -> None:
    h, w, size = case
    pixels = (np.arange(h * w * 3).reshape(h, w, 3) * 37 % 251).astype(np.uint8)
    view = make_view(pixels, View(size, "squash", "spline"))
    assert (view.dtype, View(size, "squash", "spline").dtype) == (np.uint8, "uint8")
    assert view[..., 0].tolist() == SPLINES[case]
    assert int(view.sum()) == {6: 13547, 8: 22533}[size]


def test_a_spline_of_one_pixel_is_that_pixel() -> None:
    pixel = np.array([[[7, 130, 255]]], np.uint8)
    np.testing.assert_array_equal(make_view(pixel, View(8, "squash", "spline")), np.tile(pixel, (8, 8, 1)))


def test_all_sources_give_the_same(tmp_path) -> None:
    pixels = picture(12, 17)
    image = Image.fromarray(pixels)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    path = tmp_path / "a.png"
    path.write_bytes(buffer.getvalue())
    for source in (pixels, image, buffer.getvalue(), memoryview(buffer.getvalue()), path, str(path)):
        opened = open_image(source)
        np.testing.assert_array_equal(opened.pixels, pixels)
        assert opened.name == ("a.png" if isinstance(source, str | type(path)) else None)


def test_a_phone_s_second_picture_is_no_animation(recwarn) -> None:
    buffer = io.BytesIO()
    Image.fromarray(picture(16, 16)).save(
        buffer, "MPO", save_all=True, append_images=[Image.fromarray(picture(16, 16))]
    )
    assert open_image(buffer.getvalue()).pixels.shape == (16, 16, 3)
    assert not list(recwarn)


def test_a_damaged_orientation_is_no_orientation() -> None:
    buffer = io.BytesIO()
    Image.fromarray(picture(8, 12)).save(buffer, "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01")
    assert open_image(buffer.getvalue()).pixels.shape == (8, 12, 3)


@pytest.mark.filterwarnings("ignore::UserWarning")  # what Pillow says about damaged tags
def test_no_damage_gives_anything_but_an_image_error() -> None:
    """Every byte of the header and many later ones, turned over one at a time, in every format we
    open.
    """
    for kind in ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM"):
        buffer = io.BytesIO()
        Image.fromarray(picture(16, 16)).save(buffer, kind)
        data = bytearray(buffer.getvalue())
        for at in [*range(min(len(data), 64)), *RNG.integers(0, len(data), 60)]:
            broken = bytearray(data)
            broken[at] ^= 0xFF
            with contextlib.suppress(ImageError):
                assert open_image(bytes(broken), max_pixels=10_000).pixels.ndim == 3


@pytest.mark.long
def test_pillow_s_own_limit_is_not_ours() -> None:
    """Pillow's is one for the process; ours is an argument, whatever Pillow's is."""
    with pytest.raises(ImageError, match="200,000,000 pixels; max_pixels"):
        open_image(b"P6 30000 30000 255\n", max_pixels=2 * 10**8)
    data = io.BytesIO()
    Image.new("1", (20_000, 9_500)).save(data, "PNG")  # more than Pillow's 178,956,970
    assert open_image(data, max_pixels=2 * 10**8).pixels.shape == (9_500, 20_000, 3)


def test_content_rounds_as_sam_over_many_sizes() -> None:
    """``int(side * scale + 0.5)`` with the scale in double precision, never less than a pixel."""
    rng = np.random.default_rng(3)
    for h, w in rng.integers(1, 4000, (400, 2)).tolist():
        scale = 1024 / max(h, w)
        assert content(View(1024), (h, w)) == (max(int(h * scale + 0.5), 1), max(int(w * scale + 0.5), 1))


def test_large_images_lie_in_a_file_and_give_the_same_pixels_and_views(monkeypatch: pytest.MonkeyPatch) -> None:
    from gsam.inputs import image, levels

    pixels = np.kron(picture(40, 60), np.ones((10, 10, 1), np.uint8))  # 400 x 600
    view = View(64, "longest")
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG")
    before = make_view(pixels, view)
    monkeypatch.setattr(levels, "IN_MEMORY", 100_000)
    monkeypatch.setattr(levels, "STRIP", 5_000)
    monkeypatch.setattr(image, "MAX_PIXELS", 60_000)
    opened = open_image(data, max_pixels=10**6)
    assert isinstance(opened.pixels, np.memmap)
    np.testing.assert_array_equal(opened.pixels, pixels)
    after = make_view(opened.pixels, view)
    assert after.shape == before.shape
    assert np.abs(after.astype(int) - before).mean() < 4  # of a smaller copy, made of means


@pytest.mark.parametrize("compression", [None, "zlib", "lzma"])
@pytest.mark.parametrize("tile", [None, (32, 16)])
def test_tiff_is_read_piece_by_piece(compression: str | None, tile: tuple[int, int] | None) -> None:
    values = RNG.integers(0, 65536, (75, 91, 4)).astype(np.uint16)
    for planes in ("contig", "separate"):
        data = io.BytesIO()
        stored = values if planes == "contig" else np.moveaxis(values, -1, 0)
        options = {"photometric": "rgb", "extrasamples": ["unassalpha"], "planarconfig": planes}
        pieces = {"tile": tile} if tile else {"rowsperstrip": 13}
        tifffile.imwrite(data, stored, compression=compression, predictor=compression == "zlib", **options, **pieces)
        np.testing.assert_array_equal(open_image(data).pixels, values[..., :3] >> 8)


@pytest.mark.parametrize("compression", ["tiff_lzw", "packbits"])
@pytest.mark.parametrize("kind", [np.uint16, np.float32])
def test_what_libtiff_wrote_is_read(compression: str, kind: type) -> None:
    values = RNG.integers(0, 65536, (75, 91)).astype(kind)
    data = io.BytesIO()
    Image.fromarray(values).save(data, "TIFF", compression=compression)
    low, high = float(values.min()), float(values.max())
    expected = ((values.astype(float) - low) / (high - low) * 255).astype(np.uint8)
    np.testing.assert_array_equal(open_image(data, stretch=True).pixels[..., 1], expected)


def test_a_strip_that_inflates_to_more_than_it_should_is_cut() -> None:
    import zlib

    data = io.BytesIO()
    tifffile.imwrite(data, np.zeros((8, 8, 3), np.uint16), photometric="rgb", compression="zlib", rowsperstrip=8)
    file = bytearray(data.getvalue())
    with tifffile.TiffFile(io.BytesIO(file)) as tif:
        page = tif.pages[0]
        places = [page.tags[code].valueoffset for code in (273, 279)]
    bomb = zlib.compress(bytes(1 << 28))
    for place, value in zip(places, (len(file), len(bomb)), strict=True):
        file[place : place + 4] = value.to_bytes(4, "little")
    tracemalloc.start()
    assert open_image(bytes(file) + bomb).pixels.max() == 0
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000_000


def test_copies_of_a_page_are_no_pages() -> None:
    """As in cloud-optimised GeoTIFF."""
    data = io.BytesIO()
    pixels = picture(64, 64)
    with tifffile.TiffWriter(data) as tif:
        tif.write(pixels, photometric="rgb", subfiletype=0)
        tif.write(pixels[::2, ::2], photometric="rgb", subfiletype=1)
        tif.write(pixels[::4, ::4], photometric="rgb", subfiletype=1)
    np.testing.assert_array_equal(open_image(data).pixels, pixels)  # a warning would be an error


def test_a_deep_page_of_a_pil_image_is_that_page() -> None:
    pages = RNG.integers(0, 65536, (3, 10, 12, 3)).astype(np.uint16)
    data = io.BytesIO()
    tifffile.imwrite(data, np.moveaxis(pages, -1, 1), photometric="rgb", planarconfig="separate")
    with Image.open(data) as image:
        for k in (2, 0, 1):
            image.seek(k)
            np.testing.assert_array_equal(open_image(image).pixels, pages[k] >> 8)
            assert image.tell() == k
        image.load()
        with contextlib.suppress(ImageError):
            np.testing.assert_array_equal(open_image(image).pixels, pages[1] >> 8)


@pytest.mark.skipif(importlib.util.find_spec("imagecodecs") is not None, reason="imagecodecs reads it")
@pytest.mark.parametrize(("code", "name"), [(34887, "LERC"), (34934, "JPEGXR"), (34712, "JPEG2000")])
def test_a_compression_that_needs_the_extra_names_it(code: int, name: str) -> None:
    data = io.BytesIO()
    tifffile.imwrite(data, np.zeros((8, 8), np.float32))
    file = data.getvalue().replace(struct.pack("<HHII", 259, 3, 1, 1), struct.pack("<HHII", 259, 3, 1, code))
    with pytest.raises(ImageError, match=rf"{name} needs imagecodecs: pip install 'gsam-jax\[tiff\]'") as caught:
        open_image(file, stretch=True)
    assert caught.value.code == "image_codec_missing"
