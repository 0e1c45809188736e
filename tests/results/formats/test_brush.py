"""Label Studio's brushes, beside a packer and an unpacker that go bit by bit."""

from __future__ import annotations

import time

import numpy as np
import pytest

from gsam.results.masks import brush
from tests.results.formats.small import SIZE, independently_packed, independently_unpacked, masks


@pytest.mark.parametrize("name", masks())
def test_a_brush_is_what_its_format_says(name: str) -> None:
    mask = masks()[name]
    data = brush.pack(mask)
    np.testing.assert_array_equal(independently_unpacked(data), np.repeat(mask.ravel(), 4) * 255)
    np.testing.assert_array_equal(brush.unpack(data, SIZE), mask)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (300, 301), (257, 256)])
def test_runs_of_any_length(shape: tuple[int, int]) -> None:
    random = np.random.default_rng(1)
    for mask in (np.ones(shape, bool), np.cumsum(random.random(shape) < 0.01).reshape(shape) % 2 > 0):
        data = brush.pack(mask)
        np.testing.assert_array_equal(independently_unpacked(data), np.repeat(mask.ravel(), 4) * 255)
        np.testing.assert_array_equal(brush.unpack(data, shape), mask)


def test_large_masks_take_about_a_second() -> None:
    y, x = np.ogrid[:3000, :4000]
    mask = ((x - 2000) ** 2 + (y - 1500) ** 2 < 1400**2) & ((x // 40 + y // 40) % 5 > 0)
    began = time.process_time()
    np.testing.assert_array_equal(brush.unpack(brush.pack(mask), (3000, 4000)), mask)
    assert time.process_time() - began < 5


def test_brushes_of_the_page_are_spelled_in_part_and_half_opaque() -> None:
    colours = [9, 8, 7, 127, 9, 8, 7, 128, 0, 0, 0, 255]  # red green blue opacity
    pieces = [(True, [0] * 4), (False, colours), (True, [200] * 8), (False, [255, 255, 255, 0]), (True, [0] * 36)]
    for widths in ((3, 4, 8, 16), (1, 2, 5, 7)):
        data = bytes(independently_packed(pieces, widths))
        expected = np.array([0, 0, 1, 1, 1, 1, 0, *[0] * 9], bool).reshape(2, 8)
        np.testing.assert_array_equal(brush.unpack(data, (2, 8)), expected)
