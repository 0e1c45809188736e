"""Drawings as other hands might have made them: a drawing's shape, colours and lines are varied, so
that a model learns what a thing looks like and not what one artist made of it.

The hue of a thing whose name tells its colour stays.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from gsam.nano.names import LEAVES

COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "black")
COLOURED = frozenset(leaf for leaf in LEAVES if leaf.split()[0] in COLOURS)
"""Leaves that are told from others by their colour."""
Floats = NDArray[np.float32]


def restyled(rng: np.random.Generator, sprite: Image.Image, name: str | None) -> Image.Image:
    """A variation of ``sprite`` (square, mode RGBa) of the leaf ``name``; None: a thing without
    one.
    """
    if rng.random() < 0.6:
        sprite = warped(rng, sprite)
    if rng.random() < 0.25:
        sprite = outlined(rng, sprite)
    alpha = np.asarray(sprite, np.float32)[..., 3:] / np.float32(255)
    colour = np.asarray(sprite, np.float32)[..., :3] / np.maximum(alpha, np.float32(1 / 255))
    colour = recoloured(rng, np.minimum(colour, np.float32(255)), name in COLOURED)
    if rng.random() < 0.25:
        colour = colour * gradient(rng, sprite.width)
    done = np.concatenate([np.clip(colour, 0, 255) * alpha, alpha * np.float32(255)], -1)
    return Image.fromarray((done + np.float32(0.5)).astype(np.uint8), "RGBa")


def warped(rng: np.random.Generator, sprite: Image.Image, cells: int = 4) -> Image.Image:
    """Bend it within its square: the corners of a mesh move by up to a tenth of its side."""
    side = sprite.width
    ticks = np.linspace(0, side, cells + 1)
    grid = np.stack(np.meshgrid(ticks, ticks, indexing="xy"), -1)
    moved = (
        side / 2
        + 1.12 * (grid - side / 2)
        + rng.normal(0, rng.uniform(0.01, 0.045) * side, grid.shape).clip(-0.1 * side, 0.1 * side)
    )
    mesh = []
    for r in range(cells):
        for c in range(cells):
            target = tuple(int(v) for v in (*np.round(grid[r, c]), *np.round(grid[r + 1, c + 1])))
            corners = (moved[r, c], moved[r + 1, c], moved[r + 1, c + 1], moved[r, c + 1])
            mesh.append((target, tuple(float(v) for v in np.concatenate(corners))))
    return sprite.transform(sprite.size, Image.Transform.MESH, mesh, Image.Resampling.BILINEAR)


def outlined(rng: np.random.Generator, sprite: Image.Image) -> Image.Image:
    """Draw a line around it, dark or, as stickers have it, white."""
    side = sprite.width
    reach = int(rng.integers(1, max(2, side // 22) + 1))
    small = sprite.resize((side - 2 * reach,) * 2, Image.Resampling.BILINEAR)
    inner = Image.new("RGBa", sprite.size)
    inner.paste(small, (reach, reach))
    alpha = inner.getchannel("a").filter(ImageFilter.MaxFilter(2 * reach + 1))
    shade = rng.uniform(0, 60, 3) if rng.random() < 0.7 else np.full(3, 250.0)
    line = np.asarray(alpha.filter(ImageFilter.BoxBlur(0.5)), np.float32)[..., None] / np.float32(255)
    ink = np.concatenate([shade.astype(np.float32) * line, np.float32(255) * line], -1)
    over = np.asarray(inner, np.float32)
    done = over + ink * (1 - over[..., 3:] / np.float32(255))
    return Image.fromarray((done + np.float32(0.5)).clip(0, 255).astype(np.uint8), "RGBa")


def recoloured(rng: np.random.Generator, rgb: Floats, keep_hue: bool) -> Floats:
    """Vary hue, saturation, contrast and the number of shades of ``rgb`` [h, w, 3], 0..255."""
    turn = rng.normal(0, 0.02) if keep_hue else rng.normal(0, 0.06) if rng.random() < 0.7 else rng.uniform(-0.5, 0.5)
    c, s = np.cos(2 * np.pi * turn), np.sin(2 * np.pi * turn)
    grey = np.full((3, 3), 1 / 3)
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    # A rotation about the axis of greys, which also draws colours towards it or away.
    vivid = rng.uniform(0.75, 1.3) if keep_hue else rng.uniform(0.35, 1.35)
    matrix = grey + vivid * (c * (np.eye(3) - grey) + s * cross)
    mixed = rgb @ matrix.T.astype(np.float32)
    mixed = (mixed - 128) * np.float32(rng.uniform(0.75, 1.25)) + np.float32(128 + rng.uniform(-25, 25))
    if rng.random() < 0.2:
        step = np.float32(256 / rng.integers(4, 9))
        mixed = (np.floor(mixed / step) + np.float32(0.5)) * step
    return mixed.clip(0, 255).astype(np.float32)


def gradient(rng: np.random.Generator, side: int) -> Floats:
    """Light that falls off to one side, [side, side, 1]."""
    angle = rng.uniform(0, 2 * np.pi)
    line = np.linspace(-1, 1, side, dtype=np.float32)
    along = line[None] * np.float32(np.cos(angle)) + line[:, None] * np.float32(np.sin(angle))
    return (1 + np.float32(rng.uniform(0.1, 0.3)) * along)[..., None]
