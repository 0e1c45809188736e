"""Scenes of pictograms with exact truth: what nano learns from and is measured on.

Glyphs come from Noto Color Emoji (Debian: ``fonts-noto-color-emoji``), and from other styles
(`gsam.nano.drawings`) where they are asked for.  They are scaled, turned, mirrored, lit, shadowed
and placed over one another on a drawn background; what is hidden too far keeps its pixels and loses
its label.
"""

from __future__ import annotations

import dataclasses
import functools
import io
import os
from collections.abc import Collection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from gsam.nano import drawings
from gsam.nano.backgrounds import KINDS, background
from gsam.nano.names import GLYPHS, any_names
from gsam.nano.restyled import restyled
from gsam.ops.bounds import bounds

FONTS = (
    "/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf",
    "/usr/share/fonts/noto/NotoColorEmoji.ttf",
    "/usr/share/fonts/google-noto-emoji/NotoColorEmoji.ttf",
)
NEGATIVES = (
    "🎁🧸🪣🧯🦞🦑🍄🌶🥑🍩🧀🥨🛒🧲💎🎲🎯🪁🧩🛼🎺🥁🏆🛋🚿🧻🧭🔦🕯🗿"
    "🐙🦓🦒🦘🐊🦔🦚🦩🍍🥝🌽🥦🍆🚁🛵🚜⚓🛸🎠🗽🎃🤖👻😀🧦🧤👑💍👜📺🔬"
)
"""Glyphs of things nano has no word for: hard negatives."""
OBJECTS = 8
"""Things that a scene has at most, and that a row of a pool has room for."""
IGNORE = 255
"""In `Drawn.instances`: too little is visible to learn from, or to judge."""
CELL = 136  # the font's own size
LEAST_AREA, LEAST_PART = 40 / 160**2, 0.3


@dataclasses.dataclass(frozen=True)
class Drawn:
    """A scene and its truth."""

    rgb: NDArray[np.uint8]
    """[h, w, 3]."""
    instances: NDArray[np.uint8]
    """[h, w]: 0 background, k + 1 object k, `IGNORE` an object too hidden to have a label."""
    names: list[str]
    boxes: NDArray[np.float32]
    """[N, 4] pixels, tight around what is visible, exclusive right and bottom."""


@functools.cache
def font_path() -> Path:
    """The pictogram font: ``GSAM_EMOJI_FONT`` or where Debian, Arch and Fedora put it."""
    for place in (os.environ.get("GSAM_EMOJI_FONT"), *FONTS):
        if place and Path(place).is_file():
            return Path(place)
    raise FileNotFoundError(
        "no Noto Color Emoji font: install Debian's package fonts-noto-color-emoji, or set GSAM_EMOJI_FONT to the .ttf"
    )


@functools.cache
def sprite(glyph: str, shrink: int = 0, style: str = drawings.FONT) -> Image.Image:
    """A glyph centred on a transparent square, premultiplied (mode RGBa), halved ``shrink`` times.

    Pillow's resampling of straight RGBA leaves light dots along edges, which a network would learn.
    """
    if shrink:
        large = sprite(glyph, shrink - 1, style)
        side = large.width // 2
        return large.resize((side, side), Image.Resampling.BOX)
    image = _from_font(glyph) if style == drawings.FONT else drawings.drawn(style, glyph, CELL)
    box = image.getbbox()
    if box is None:
        raise ValueError(f"the {style} has no glyph for {glyph!r}")
    image = image.crop(box)
    square = Image.new("RGBA", (CELL, CELL))
    image.thumbnail((CELL - 4, CELL - 4), Image.Resampling.LANCZOS)
    square.paste(image, ((CELL - image.width) // 2, (CELL - image.height) // 2))
    return square.convert("RGBa")


def _from_font(glyph: str) -> Image.Image:
    font = ImageFont.truetype(str(font_path()), 109)
    image = Image.new("RGBA", (220, 220))
    ImageDraw.Draw(image).text((40, 40), glyph, font=font, embedded_color=True)
    return image


def draw_scene(
    rng: np.random.Generator,
    size: tuple[int, int],
    *,
    names: list[str] | None = None,
    kinds: tuple[str, ...] = tuple(KINDS),
    backdrop: NDArray[np.uint8] | None = None,
    most: int = OBJECTS,
    crowding: float = 0.09,
    styles: tuple[str, ...] = (drawings.FONT,),
    restyle: float = 0.0,
    often: Collection[str] = (),
) -> Drawn:
    """A scene of ``size`` (h, w) with up to ``most`` things, 0.14 to 0.75 of the short side large.

    ``names`` fixes what is in it, ``backdrop`` [h, w, 3] what is behind it.  ``crowding``: how much
    smaller each further thing makes all of them, so that many find room.  ``styles``: each thing is
    drawn in one of them (repeat one to have it more often); what a style lacks, the font draws.
    ``restyle``: how likely a thing is varied (`gsam.nano.restyled`).  ``often``: names that come
    more often than others (`gsam.nano.names.any_names`).
    """
    h, w = size
    rgb = background(rng, h, w, kinds) if backdrop is None else backdrop.astype(np.float32)
    instances = np.zeros((h, w), np.uint8)
    if names is None:
        count = int(rng.integers(1, most + 1))
        names = any_names(rng, count, often)
        if count > 1 and rng.random() < 0.3:
            names[1] = names[0]
    crowd = 1.0 / (1.0 + crowding * len(names))
    negatives = [None] * int(rng.integers(1, 4) if rng.random() < 0.35 else 0)
    order: list[str | None] = [*names, *negatives]
    order = [order[i] for i in rng.permutation(len(order))]
    labels: list[str] = []
    whole: list[int] = []
    for name in order:
        glyph = pick(rng, name)
        style = pick_style(rng, styles, glyph)
        if name is None:
            _place(rng, rgb, instances, (glyph, style), None, crowd, None, restyle)
        else:
            labels.append(name)
            whole.append(_place(rng, rgb, instances, (glyph, style), len(labels), crowd, name, restyle))
    kept_names, kept_boxes = [], []
    truth = np.zeros_like(instances)
    for k, (name, area) in enumerate(zip(labels, whole, strict=True), 1):
        visible = instances == k
        seen = int(visible.sum())
        if seen < LEAST_AREA * max(h, w) ** 2 or seen < LEAST_PART * area:
            truth[visible] = IGNORE
            continue
        kept_names.append(name)
        truth[visible] = len(kept_names)
        kept_boxes.append(bounds(visible))
    return Drawn(_develop(rng, rgb), truth, kept_names, np.array(kept_boxes, np.float32).reshape(-1, 4))


def pick(rng: np.random.Generator, name: str | None) -> str:
    """A glyph for a name, or one of `NEGATIVES`."""
    if name is None:
        return NEGATIVES[int(rng.integers(len(NEGATIVES)))]
    glyphs = GLYPHS[name]
    return glyphs[0] if len(glyphs) == 1 or rng.random() < 0.5 else glyphs[int(rng.integers(1, len(glyphs)))]


def pick_style(rng: np.random.Generator, styles: tuple[str, ...], glyph: str) -> str:
    """One of ``styles`` that has a drawing of ``glyph``; the font if the one chosen has none."""
    style = styles[0] if len(styles) == 1 else styles[int(rng.integers(len(styles)))]
    return style if style == drawings.FONT or drawings.body(style, glyph) is not None else drawings.FONT


def _place(
    rng: np.random.Generator,
    rgb: NDArray[np.float32],
    instances: NDArray[np.uint8],
    drawing: tuple[str, str],
    k: int | None,
    crowd: float,
    name: str | None = None,
    restyle: float = 0.0,
) -> int:
    """Draw one pictogram where it hides little; returns the area it would have alone.

    ``drawing``: the glyph and its style.  ``k`` and ``name`` None: a negative.
    """
    h, w = instances.shape
    side = min(h, w) * float(np.exp(rng.uniform(np.log(0.14), np.log(0.75)))) * crowd
    shrink = 0 if side > 85 else 1 if side > 42 else 2
    source = sprite(drawing[0], shrink, drawing[1])
    if restyle and rng.random() < restyle:
        source = restyled(rng, source, name)
    turn = np.deg2rad(rng.normal(0, 18) if rng.random() < 0.85 else rng.uniform(-180, 180))
    mirror = -1.0 if rng.random() < 0.5 else 1.0
    aspect = float(np.exp(rng.uniform(-0.15, 0.15)))
    reach = int(side * 1.5) + 2
    zoom = source.width / side
    c, s = float(np.cos(turn)) * zoom, float(np.sin(turn)) * zoom
    matrix = np.array([[c * mirror * aspect, s * mirror * aspect], [-s / aspect, c / aspect]])
    shift = np.full(2, source.width / 2) - matrix @ np.full(2, reach / 2)
    data = (matrix[0, 0], matrix[0, 1], shift[0], matrix[1, 0], matrix[1, 1], shift[1])
    turned = source.transform((reach, reach), Image.Transform.AFFINE, data, Image.Resampling.BILINEAR)
    drawn = np.asarray(turned, np.float32)
    solid = drawn[..., 3] > 127

    best: tuple[float, int, int] | None = None
    for _ in range(5):
        x, y = (int(rng.uniform(0.3 * side, max(n - 0.3 * side, 0.31 * side)) - reach / 2) for n in (w, h))
        view = instances[max(y, 0) : y + reach, max(x, 0) : x + reach]
        hidden = float((view > 0).mean()) if view.size else 1.0
        if best is None or hidden < best[0]:
            best = (hidden, x, y)
        if hidden < 0.12:
            break
    assert best is not None
    _, x, y = best
    x0, y0, x1, y1 = max(x, 0), max(y, 0), min(x + reach, w), min(y + reach, h)
    if x1 <= x0 or y1 <= y0:
        return int(solid.sum())
    cut = (slice(y0 - y, y1 - y), slice(x0 - x, x1 - x))
    part, alpha = drawn[cut], drawn[cut][..., 3:] / np.float32(255)
    if rng.random() < 0.35:
        _shadow(rng, rgb, alpha[..., 0], x0, y0, side)
    light = np.float32(rng.uniform(0.7, 1.2)) * rng.uniform(0.92, 1.08, 3).astype(np.float32)
    where = (slice(y0, y1), slice(x0, x1))
    rgb[where] = rgb[where] * (1 - alpha) + np.minimum(part[..., :3] * light, 255 * alpha)
    instances[where][solid[cut]] = 0 if k is None else k
    return int(solid.sum())


def _shadow(
    rng: np.random.Generator, rgb: NDArray[np.float32], alpha: NDArray[np.float32], x: int, y: int, side: float
) -> None:
    dx, dy = (int(side * v) for v in rng.uniform(-0.1, 0.12, 2))
    soft = Image.fromarray((alpha * 255).astype(np.uint8)).filter(ImageFilter.BoxBlur(max(1.0, side * 0.03)))
    dark = np.asarray(soft, np.float32)[..., None] * np.float32(rng.uniform(0.2, 0.55) / 255)
    h, w = rgb.shape[:2]
    y0, x0 = max(y + dy, 0), max(x + dx, 0)
    y1, x1 = min(y + dy + alpha.shape[0], h), min(x + dx + alpha.shape[1], w)
    if y1 > y0 and x1 > x0:
        rgb[y0:y1, x0:x1] *= 1 - dark[y0 - y - dy : y1 - y - dy, x0 - x - dx : x1 - x - dx]


def _develop(rng: np.random.Generator, rgb: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Exposure, noise, softness, compression."""
    rgb = rgb * np.float32(rng.uniform(0.75, 1.15)) + np.float32(rng.uniform(-12, 12))
    if rng.random() < 0.5:
        rgb = rgb + rng.normal(0, rng.uniform(1, 10), rgb.shape).astype(np.float32)
    pixels = np.clip(rgb, 0, 255).astype(np.uint8)
    if rng.random() < 0.2:
        soft = Image.fromarray(pixels).filter(
            ImageFilter.GaussianBlur(float(rng.uniform(0.3, 0.9)) * max(rgb.shape) / 160)
        )
        pixels = np.asarray(soft)
    if rng.random() < 0.25:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=int(rng.integers(35, 95)))
        pixels = np.asarray(Image.open(buffer))
    return pixels
