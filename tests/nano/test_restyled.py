"""Varied drawings stay whole drawings, and keep the colour that their name tells."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest
from PIL import Image, ImageDraw

from gsam.nano.names import LEAVES
from gsam.nano.restyled import COLOURED, outlined, restyled, warped

SIDE = 68


def disc(colour: tuple[int, int, int] = (220, 30, 40)) -> Image.Image:
    image = Image.new("RGBA", (SIDE, SIDE))
    ImageDraw.Draw(image).ellipse((4, 4, SIDE - 5, SIDE - 5), fill=(*colour, 255))
    return image.convert("RGBa")


def pixels(image: Image.Image) -> np.ndarray:
    assert image.mode == "RGBa"
    return np.asarray(image).astype(int)


def hue(image: Image.Image) -> float:
    rgb = pixels(image)[SIDE // 2 - 4 : SIDE // 2 + 4, SIDE // 2 - 4 : SIDE // 2 + 4, :3].mean((0, 1)) / 255
    return colorsys.rgb_to_hsv(*rgb)[0]


def apart(a: float, b: float) -> float:
    return min(abs(a - b), 1 - abs(a - b))


@pytest.mark.parametrize("name", ["dog", "red heart", None])
def test_a_variation_is_a_premultiplied_sprite_of_its_size(name: str | None) -> None:
    seen = set()
    for seed in range(30):
        made = restyled(np.random.default_rng(seed), disc(), name)
        assert made.size == (SIDE, SIDE)
        values = pixels(made)
        assert (values[..., :3] <= values[..., 3:] + 1).all()
        assert 0.4 < (values[..., 3] > 127).mean() < 0.95
        seen.add(made.tobytes())
    assert len(seen) == 30
    again = restyled(np.random.default_rng(3), disc(), name)
    assert again.tobytes() == restyled(np.random.default_rng(3), disc(), name).tobytes()


def test_a_colour_in_the_name_stays_and_others_change() -> None:
    told = [hue(restyled(np.random.default_rng(s), disc(), "red heart")) for s in range(40)]
    free = [hue(restyled(np.random.default_rng(s), disc(), "car")) for s in range(40)]
    assert max(apart(h, hue(disc())) for h in told) < 0.1
    assert max(apart(h, hue(disc())) for h in free) > 0.2
    assert {"red apple", "black heart", "green square"} <= COLOURED <= set(LEAVES)
    assert not {"dog", "palm tree"} & COLOURED


def test_nothing_of_a_warped_drawing_is_cut_off() -> None:
    full = Image.new("RGBa", (SIDE, SIDE), (90, 90, 90, 255))
    edges = []
    for seed in range(20):
        alpha = pixels(warped(np.random.default_rng(seed), full))[..., 3]
        edges.append(np.concatenate([alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1]]).mean())
    assert np.mean(edges) < 40  # of 255: what filled the square keeps clear of its border


def test_a_line_goes_around_and_the_drawing_stays_within() -> None:
    for seed in range(10):
        made = pixels(outlined(np.random.default_rng(seed), disc()))
        middle = made[SIDE // 2, SIDE // 2]
        assert abs(middle - [220, 30, 40, 255]).max() <= 2
        row = made[SIDE // 2]
        first = int(np.flatnonzero(row[:, 3] > 250)[0])
        assert abs(row[first, :3] - [220, 30, 40]).max() > 40  # the line, not the disc
