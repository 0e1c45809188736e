"""Letterboxed views: OpenCV's arithmetic, the original's rectangle, and that few canvases are
enough.
"""

from __future__ import annotations

import itertools
import zlib

import jax.numpy as jnp
import numpy as np
import pytest

from gsam.inputs import letterbox
from gsam.inputs.image import Picture, canvas, content, make_view
from gsam.ops.views import corner, from_view, inside, rectangle, scale, to_view
from gsam.runtime.batch import gather
from gsam.types import View

VIEW = View(1024, "letterbox", "bilinear", 114.0)
OPENCV = [  # what opencv-python-headless 4.8.1 and 5.0.0 make of `drawn`: size, wanted size, CRC-32 of the pixels
    ((48, 64), (70, 93), 2225387036),
    ((70, 93), (48, 64), 2176071747),
    ((37, 50), (47, 64), 1283093532),
    ((100, 100), (32, 64), 3637689944),
    ((64, 48), (32, 24), 3034531473),
    ((1, 7), (9, 64), 3324366617),
    ((9, 1), (64, 7), 528346108),
    ((333, 500), (64, 96), 3995678455),
    ((5, 5), (5, 5), 2016651462),
]


def drawn(h: int, w: int) -> np.ndarray:
    y, x, c = np.mgrid[:h, :w, :3]
    return ((y * 37 + x * 91 + c * 53 + (y * x) % 251 * 7) % 256).astype(np.uint8)


@pytest.mark.parametrize(("size", "wanted", "crc"), OPENCV, ids=str)
def test_resize_is_opencv_s_to_the_bit(size: tuple[int, int], wanted: tuple[int, int], crc: int) -> None:
    ours = letterbox.resize(drawn(*size), *wanted)
    assert (ours.shape, ours.dtype) == ((*wanted, 3), np.uint8)
    assert zlib.crc32(ours.tobytes()) == crc


@pytest.mark.parametrize(
    ("size", "rows", "frame"),
    [
        ((1200, 1800), (683, 1024), (704, 1024)),
        ((1800, 1200), (1024, 683), (1024, 704)),
        ((480, 640), (768, 1024), (768, 1024)),  # pictures grow
        ((1, 1), (1024, 1024), (1024, 1024)),
        ((5000, 1), (1024, 1), (1024, 32)),
        ((2048, 1025), (1024, 512), (1024, 512)),  # 512.5: half to even
        ((2048, 1027), (1024, 514), (1024, 544)),  # 513.5
    ],
)
def test_content_and_rectangle(size: tuple[int, int], rows: tuple[int, int], frame: tuple[int, int]) -> None:
    assert content(VIEW, size) == rows
    assert letterbox.rectangle(*rows) == frame


@pytest.mark.parametrize("size", [320, 640, 1024])
def test_few_canvases(size: int) -> None:
    rng = np.random.default_rng(0)
    view = View(size, "letterbox", "bilinear", 114.0)
    sizes = [tuple(s) for s in rng.integers(1, 3000, (2000, 2)).tolist()]
    found = {canvas(view, [s]) for s in sizes} | {canvas(view, pair) for pair in itertools.pairwise(sizes)}
    assert len(found) <= 2 * -(-size // 128) - 1
    for s in sizes[:200]:
        assert all(a >= b for a, b in zip(canvas(view, [s]), letterbox.rectangle(*content(view, s)), strict=True))


def test_the_picture_is_in_the_middle_the_odd_pixel_after_it() -> None:
    pixels = drawn(120, 180)
    view = View(192, "letterbox", "bilinear", 114.0)
    assert content(view, (119, 180)) == (127, 192)
    seen = make_view(pixels[:119], view)
    assert seen.shape == (128, 192, 3)
    np.testing.assert_array_equal(seen[:127], letterbox.resize(pixels[:119], 127, 192))
    assert (seen[127] == 114).all()
    tall = make_view(pixels[:, :101], view, (192, 192))  # 192 x 162 in 192 x 192: 15 and 15
    assert (tall[:, :15] == 114).all()
    assert (tall[:, 177:] == 114).all()
    np.testing.assert_array_equal(tall[:, 15:177], letterbox.resize(pixels[:, :101], 192, 162))


def test_a_batch_has_every_picture_in_a_rectangle_of_its_own() -> None:
    wide, tall = Picture(drawn(60, 120)), Picture(drawn(120, 77))
    view = View(256, "letterbox", "bilinear", 114.0)
    images = gather([wide, tall], [view])
    assert images.view(view).shape == (2, 256, 256, 3)
    np.testing.assert_array_equal(rectangle(images, view), [[128, 256], [256, 192]])
    for seen, one in zip(np.asarray(images.view(view)), (wide, tall), strict=True):
        alone = make_view(one.pixels, view)
        np.testing.assert_array_equal(seen[: alone.shape[0], : alone.shape[1]], alone)
    mask = np.asarray(inside(images, view))[..., 0]
    assert [int(m.sum()) for m in mask] == [128 * 256, 256 * 164]
    assert mask[1, 0].nonzero()[0].tolist() == list(range(14, 178))


def test_boxes_go_to_the_view_and_back() -> None:
    view = View(256, "letterbox", "bilinear", 114.0)
    images = gather([Picture(drawn(60, 117)), Picture(drawn(120, 77))], [view])
    boxes = jnp.asarray([[[0, 0, 117, 60], [10.5, 3, 50, 44]], [[0, 0, 77, 120], [1, 2, 3, 4]]], jnp.float32)
    there = to_view(boxes, images, view)
    np.testing.assert_allclose(from_view(there, images, view), boxes, atol=1e-4)
    ratio = np.array([256 / 117, 256 / 120])
    np.testing.assert_allclose(scale(images, view), ratio[:, None].repeat(2, 1), rtol=1e-6)
    spare = [[0, (160 - 60 * ratio[0]) / 2], [(192 - 77 * ratio[1]) / 2, 0]]
    np.testing.assert_allclose(corner(images, view), spare, atol=1e-4)
    assert corner(images, view)[0, 0] == corner(images, view)[1, 1] == 0
    np.testing.assert_allclose(there[0, 0], [0, spare[0][1], 256, 160 - spare[0][1]], atol=1e-3)
