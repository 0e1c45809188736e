"""Backgrounds of the pictograms: as many kinds of image as can be drawn without a photograph."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Pixels = NDArray[np.float32]
Maker = Callable[[np.random.Generator, int, int], Pixels]


def colour(rng: np.random.Generator) -> NDArray[np.float32]:
    """A colour of everyday images: mostly muted, sometimes strong, sometimes near black or
    white.
    """
    level = rng.uniform(10, 245)
    return np.clip(level + rng.normal(0, rng.choice([8, 25, 70]), 3), 0, 255).astype(np.float32)


def stretch(field: NDArray[np.float32], h: int, w: int) -> Pixels:
    """A small field [a, b, C] enlarged smoothly to [h, w, C]."""
    bands = [
        np.asarray(Image.fromarray(field[..., c]).resize((w, h), Image.Resampling.BICUBIC))
        for c in range(field.shape[2])
    ]
    return np.stack(bands, -1)


def flat(rng: np.random.Generator, h: int, w: int) -> Pixels:
    return np.broadcast_to(colour(rng), (h, w, 3)).copy()


def gradient(rng: np.random.Generator, h: int, w: int) -> Pixels:
    corners = np.stack([colour(rng) for _ in range(4)]).reshape(2, 2, 3)
    return stretch(corners, h, w)


def clouds(rng: np.random.Generator, h: int, w: int) -> Pixels:
    """Noise whose power falls with frequency, as in natural images; bands share most of their
    light.
    """
    out = np.broadcast_to(colour(rng), (h, w, 3)).copy()
    fall = rng.uniform(0.45, 0.8)
    strength = rng.uniform(20, 70)
    for octave in range(6):
        n = 2 << octave
        common = rng.normal(size=(n, n, 1))
        own = rng.normal(size=(n, n, 3)) * rng.uniform(0, 0.7)
        out += stretch((strength * (common + own)).astype(np.float32), h, w)
        strength *= fall
    return out


def leaves(rng: np.random.Generator, h: int, w: int) -> Pixels:
    """Dead leaves: discs and rectangles of power-law sizes over one another, each with a little
    texture.
    """
    image = Image.new("RGB", (w, h), _ink(colour(rng)))
    draw = ImageDraw.Draw(image)
    palette = [colour(rng) for _ in range(int(rng.integers(3, 9)))]
    round_ones = rng.random()
    for _ in range(int(rng.integers(30, 160))):
        r = min(0.03 * min(h, w) / rng.uniform(0.05, 1) ** 1.0, 0.6 * min(h, w))
        x, y = rng.uniform(0, w), rng.uniform(0, h)
        ink = _ink(palette[int(rng.integers(len(palette)))] + rng.normal(0, 12, 3).astype(np.float32))
        if rng.random() < round_ones:
            draw.ellipse((x - r, y - r * 0.8, x + r, y + r * 0.8), fill=ink)
        else:
            angle = rng.uniform(0, 6.3)
            c, s = np.cos(angle), np.sin(angle)
            corners = [(x + r * (c * a - s * b * 0.6), y + r * (s * a + c * b * 0.6)) for a, b in _SQUARE]
            draw.polygon(corners, fill=ink)
    return np.asarray(image, np.float32)


def stripes(rng: np.random.Generator, h: int, w: int) -> Pixels:
    """Stripes, checks or waves at any angle."""
    y, x = np.mgrid[:h, :w].astype(np.float32)
    angle, period = rng.uniform(0, 6.3), rng.uniform(0.03, 0.25) * min(h, w)
    u, v = np.cos(angle) * x + np.sin(angle) * y, -np.sin(angle) * x + np.cos(angle) * y
    wave = np.sin(u * 2 * np.pi / period)
    if rng.random() < 0.5:
        wave = wave * np.sin(v * 2 * np.pi / period)
    if rng.random() < 0.6:
        wave = np.sign(wave)
    a, b = colour(rng), colour(rng)
    return (a + (b - a) * (wave[..., None] * rng.uniform(0.2, 0.5) + 0.5)).astype(np.float32)


def bricks(rng: np.random.Generator, h: int, w: int) -> Pixels:
    """Rows of tiles with joints, every tile a little different."""
    tall = max(4, int(rng.uniform(0.04, 0.2) * h))
    wide = max(4, int(tall * rng.uniform(0.8, 3)))
    y, x = np.mgrid[:h, :w]
    row = y // tall
    shifted = x + (row % 2) * (wide // 2 if rng.random() < 0.7 else 0)
    tone = rng.normal(0, rng.uniform(4, 25), (h // tall + 2, (w + wide) // wide + 2)).astype(np.float32)
    out = colour(rng) + tone[row, shifted // wide][..., None]
    joint = max(1, tall // 8)
    out[(y % tall < joint) | (shifted % wide < joint)] = colour(rng)
    return out.astype(np.float32)


def cells(rng: np.random.Generator, h: int, w: int) -> Pixels:
    """Voronoi cells, as plaster, stones or stained glass."""
    count = int(rng.integers(5, 40))
    points = rng.uniform(0, 1, (count, 2)) * (h, w)
    y, x = np.mgrid[:h:2, :w:2]
    distance = (y[..., None] - points[:, 0]) ** 2 + (x[..., None] - points[:, 1]) ** 2
    base, spread = colour(rng), rng.uniform(5, 60)
    tones = base + rng.normal(0, spread, (count, 3))
    small = tones[distance.argmin(-1)].astype(np.float32)
    return np.repeat(np.repeat(small, 2, 0), 2, 1)[:h, :w]


def grain(rng: np.random.Generator, h: int, w: int) -> Pixels:
    """Wood or marble: waves bent by smooth noise."""
    y, x = np.mgrid[:h, :w].astype(np.float32)
    bend = stretch(rng.normal(size=(5, 5, 1)).astype(np.float32), h, w)[..., 0]
    u = x if rng.random() < 0.5 else y
    wave = np.sin(u * rng.uniform(0.02, 0.3) + bend * rng.uniform(1, 5))
    a, b = colour(rng), colour(rng)
    return (a + (b - a) * (0.5 + 0.3 * wave[..., None])).astype(np.float32)


def landscape(rng: np.random.Generator, h: int, w: int) -> Pixels:
    """Sky over ground with an uneven horizon."""
    sky, ground = gradient(rng, h, w), clouds(rng, h, w)
    line = rng.uniform(0.25, 0.8) * h + np.cumsum(rng.normal(0, rng.uniform(0, 1.2), w))
    below = np.arange(h)[:, None] > line[None]
    return np.where(below[..., None], ground, sky)


def shapes(rng: np.random.Generator, h: int, w: int) -> Pixels:
    """Blurred polygons, as furniture out of focus."""
    image = Image.new("RGB", (w, h), _ink(colour(rng)))
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(3, 14))):
        centre, reach = rng.uniform(0, 1, 2) * (w, h), rng.uniform(0.1, 0.6) * min(h, w)
        corners = centre + rng.normal(0, reach, (int(rng.integers(3, 7)), 2))
        draw.polygon([(float(a), float(b)) for a, b in corners], fill=_ink(colour(rng)))
    blur = float(rng.choice([0.0, 1.0, 3.0, 6.0])) * min(h, w) / 160
    return np.asarray(image.filter(ImageFilter.GaussianBlur(blur)), np.float32)


KINDS: dict[str, Maker] = {
    f.__name__: f for f in (flat, gradient, clouds, leaves, stripes, bricks, cells, grain, landscape, shapes)
}


def background(rng: np.random.Generator, h: int, w: int, kinds: tuple[str, ...] = tuple(KINDS)) -> Pixels:
    """An image [h, w, 3] float32 of about 0..255: one kind, often with another shining through or
    beside it.
    """
    first = KINDS[kinds[int(rng.integers(len(kinds)))]](rng, h, w)
    if rng.random() < 0.45:
        second = KINDS[kinds[int(rng.integers(len(kinds)))]](rng, h, w)
        if rng.random() < 0.5:
            mix: Pixels = np.full((1, 1, 1), rng.uniform(0.2, 0.8), np.float32)
        else:
            soft = stretch(rng.normal(0, 2, (4, 4, 1)).astype(np.float32), h, w)
            mix = (1 / (1 + np.exp(-4 * soft))).astype(np.float32)
        first = first * mix + second * (1 - mix)
    return first.astype(np.float32)


def _ink(rgb: NDArray[np.float32]) -> tuple[int, int, int]:
    r, g, b = np.clip(rgb, 0, 255).astype(int).tolist()
    return r, g, b


_SQUARE = ((-1, -1), (1, -1), (1, 1), (-1, 1))
