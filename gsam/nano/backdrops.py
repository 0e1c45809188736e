"""Backgrounds that training never saw: plaid, rays, terrain, lights out of focus, newsprint, a
valley in layers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from gsam.nano.backgrounds import Maker, Pixels, colour, stretch


def plaid(rng: np.random.Generator, h: int, w: int) -> Pixels:
    """Cloth: bands of the same colours along and across, woven by a fine diagonal."""
    scale = rng.uniform(0.15, 0.5) * min(h, w)
    sett = np.repeat(np.stack([colour(rng) for _ in range(6)]), rng.integers(1, 9, 6), 0)

    def thread(n: int) -> Pixels:
        return sett[(np.arange(n) / scale * len(sett)).astype(int) % len(sett)]

    y, x = np.mgrid[:h, :w]
    over = ((x + y) // 2 % 2)[..., None] * 0.3 + 0.35
    return (thread(w)[None] * over + thread(h)[:, None] * (1 - over)).astype(np.float32)


def rays(rng: np.random.Generator, h: int, w: int) -> Pixels:
    """Rays from one point, and darkness towards the corners."""
    y, x = np.mgrid[:h, :w].astype(np.float32)
    cy, cx = rng.uniform(0.1, 0.9) * h, rng.uniform(0.1, 0.9) * w
    wave = np.sin(np.arctan2(y - cy, x - cx) * int(rng.integers(5, 22)) + rng.uniform(0, 6.3))
    a, b = colour(rng), colour(rng)
    out = a + (b - a) * (0.5 + 0.5 * np.tanh(wave * rng.uniform(0.7, 6)))[..., None]
    far = np.hypot(y - h / 2, x - w / 2) / np.hypot(h / 2, w / 2)
    return (out * (1 - rng.uniform(0.2, 0.7) * far[..., None] ** 2)).astype(np.float32)


def terrain(rng: np.random.Generator, h: int, w: int) -> Pixels:
    """Mountains from above: a height map, coloured by height and lit from a side."""
    height = np.zeros((h, w), np.float32)
    for octave in range(1, 8):
        n = 2**octave + 2
        height += stretch(rng.normal(size=(n, n, 1)).astype(np.float32), h, w)[..., 0] * rng.uniform(0.4, 0.6) ** octave
    dy, dx = np.gradient(height)
    angle = rng.uniform(0, 6.3)
    light = np.clip(0.7 + (np.cos(angle) * dx + np.sin(angle) * dy) * rng.uniform(8, 25), 0.15, 1.4)
    steps = np.stack([colour(rng) for _ in range(4)])
    at = (height - height.min()) / max(float(np.ptp(height)), 1e-6) * 3
    low = np.minimum(at.astype(int), 2)
    part = (at - low)[..., None]
    return ((steps[low] * (1 - part) + steps[low + 1] * part) * light[..., None]).astype(np.float32)


def bokeh(rng: np.random.Generator, h: int, w: int) -> Pixels:
    """Lights out of focus over a dark gradient: translucent discs with bright rims."""
    out = stretch(np.stack([colour(rng) * 0.4 for _ in range(4)]).reshape(2, 2, 3), h, w)
    tint = colour(rng)
    for _ in range(int(rng.integers(12, 50))):
        r, x, y = rng.uniform(0.02, 0.14) * min(h, w), rng.uniform(0, w), rng.uniform(0, h)
        disc = Image.new("L", (w, h))
        draw = ImageDraw.Draw(disc)
        draw.ellipse(
            (x - r, y - r, x + r, y + r), fill=int(rng.uniform(40, 120)), outline=190, width=max(1, int(r / 9))
        )
        alpha = (
            np.asarray(disc.filter(ImageFilter.GaussianBlur(r * rng.uniform(0.02, 0.2))), np.float32)[..., None] / 255
        )
        ink = np.clip(tint + rng.normal(60, 50, 3), 0, 255)
        out = (out + (ink - out * 0.5) * alpha).astype(np.float32)
    return out


def newsprint(rng: np.random.Generator, h: int, w: int) -> Pixels:
    """A page: columns of lines of words, some headlines, a few framed grey images; a little
    askew.
    """
    big = int(1.5 * max(h, w))
    paper = np.clip(rng.uniform(170, 250) + rng.normal(0, 10, 3), 0, 255).astype(int)
    ink = np.clip(rng.uniform(10, 90) + rng.normal(0, 10, 3), 0, 255).astype(int)
    image = Image.new("RGB", (big, big), tuple(paper.tolist()))
    draw = ImageDraw.Draw(image)
    line, wide = max(3, int(rng.uniform(0.012, 0.035) * min(h, w))), int(rng.uniform(0.25, 0.6) * min(h, w))
    for left in range(0, big, wide + 2 * line):
        y = -int(rng.integers(0, 20))
        while y < big:
            event = rng.random()
            if event < 0.03:
                tall = int(rng.uniform(0.1, 0.3) * min(h, w))
                tone = int(rng.uniform(60, 200))
                draw.rectangle((left, y, left + wide, y + tall), fill=(tone, tone, tone), outline=tuple(ink.tolist()))
                y += tall + line
                continue
            size = line * 3 if event < 0.07 else line
            x = left + (2.0 * size if event > 0.9 else 0.0)
            end = left + wide * (float(rng.uniform(0.3, 0.9)) if event > 0.85 else 1.0)
            while x < end:
                word = size * rng.uniform(0.8, 4.5)
                draw.rectangle((x, y, min(x + word, end), y + size * 0.55), fill=tuple(ink.tolist()))
                x += word + size * 0.6
            y += int(size * 1.6)
    turned = image.rotate(float(rng.normal(0, 12)), Image.Resampling.BILINEAR, fillcolor=tuple(paper.tolist()))
    x0, y0 = (big - w) // 2, (big - h) // 2
    return np.asarray(turned.crop((x0, y0, x0 + w, y0 + h)), np.float32)


def valley(rng: np.random.Generator, h: int, w: int) -> Pixels:
    """A photograph-like view: sky with a sun, ridges behind one another in haze, rough ground in
    front.
    """
    sky, haze, near = colour(rng) * 0.4 + 140, colour(rng) * 0.3 + 150, colour(rng) * 0.6
    y, x = np.mgrid[:h, :w].astype(np.float32)
    fall = (y / h)[..., None]
    out = sky * (1 - fall) + haze * fall
    sun = np.hypot(y - rng.uniform(0.05, 0.35) * h, x - rng.uniform(0, 1) * w) / min(h, w)
    out = out + 110 * np.exp(-((sun / rng.uniform(0.05, 0.2)) ** 2))[..., None]
    layers = int(rng.integers(3, 6))
    for k in range(layers):
        line = np.zeros(w, np.float32)
        for octave in range(1, 7):
            points = rng.normal(size=2**octave + 2)
            line += np.interp(np.arange(w), np.linspace(0, w, len(points)), points).astype(np.float32) * 0.55**octave
        depth = (k + 1) / layers
        top = h * (0.25 + 0.5 * depth) + line * h * 0.1
        grit = stretch(rng.normal(size=(max(4, h // 6), max(4, w // 6), 1)).astype(np.float32), h, w)
        ridge = haze * (1 - depth) + near * depth + grit * 22 * depth
        out = np.where((y > top)[..., None], ridge, out)
    return np.asarray(out, np.float32)


BACKDROPS: dict[str, Maker] = {f.__name__: f for f in (plaid, rays, terrain, bokeh, newsprint, valley)}


def backdrop(rng: np.random.Generator, h: int, w: int) -> NDArray[np.uint8]:
    """One of the kinds above, [h, w, 3]."""
    maker = BACKDROPS[list(BACKDROPS)[int(rng.integers(len(BACKDROPS)))]]
    return np.clip(maker(rng, h, w), 0, 255).astype(np.uint8)
