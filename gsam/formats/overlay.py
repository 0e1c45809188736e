"""The picture people look at: translucent masks with outlines, boxes, and labels readable in any script."""

from __future__ import annotations

import colorsys
import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from gsam.formats.files import whole_file

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
Colour = tuple[int, int, int]
FONTS = (
    "/usr/share/fonts/truetype/dejavu/DejaVuSans-Bold.ttf",
    "/usr/share/fonts/opentype/noto/NotoSansCJK-Bold.ttc",
    "/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc",
    "/usr/share/fonts/truetype/noto/NotoSans-Bold.ttf",
    "/usr/share/fonts/truetype/nanum/NanumGothicBold.ttf",
    "/usr/share/fonts/truetype/unfonts-core/UnDotum.ttf",
    "/System/Library/Fonts/Supplemental/Arial Unicode.ttf",
    "C:/Windows/Fonts/malgunbd.ttf",
    "C:/Windows/Fonts/arialbd.ttf",
)


def colour(label: str) -> Colour:
    """One colour a label, the same in every picture: the hue comes from the text."""
    digest = hashlib.sha256(label.casefold().encode()).digest()
    hue = int.from_bytes(digest[:4], "big") / 2**32
    light = 0.50 + 0.12 * (digest[4] / 255)
    r, g, b = colorsys.hls_to_rgb(hue, light, 0.85)
    return round(255 * r), round(255 * g), round(255 * b)


def draw(
    pixels: NDArray[np.uint8],
    masks: NDArray[np.bool_],
    xyxy: NDArray[np.float32],
    labels: Sequence[str],
    scores: NDArray[np.float32],
) -> Image.Image:
    """[H, W, 3], [N, H, W], [N, 4], N labels and scores -> an RGB picture of the same size."""
    canvas = pixels.astype(np.float32)
    height, width = pixels.shape[:2]
    line = max(1, round(min(height, width) / 320))
    order = np.argsort([-int(m.sum()) for m in masks], kind="stable")  # small things over large ones
    for i in order:
        ink = np.array(colour(labels[i]), np.float32)
        canvas[masks[i]] = canvas[masks[i]] * 0.55 + ink * 0.45
        canvas[_outline(masks[i], line)] = ink
    image = Image.fromarray(np.clip(canvas, 0, 255).astype(np.uint8))
    pen = ImageDraw.Draw(image)
    for i in order:
        x0, y0, x1, y1 = (float(v) for v in xyxy[i])
        pen.rectangle((x0, y0, max(x0, x1 - 1), max(y0, y1 - 1)), outline=colour(labels[i]), width=line)
    size = int(np.clip(min(height, width) / 28, 11, 48))
    taken: list[tuple[float, float, float, float]] = []
    for i in np.argsort(-scores, kind="stable"):
        _plate(pen, (width, height), xyxy[i], f"{labels[i]} {scores[i]:.2f}", colour(labels[i]), size, taken)
    return image


def write(image: Image.Image, path: Path) -> None:
    """PNG, JPEG or WebP by the name of ``path``, whole or not at all."""
    kind = {".jpg": "JPEG", ".jpeg": "JPEG"}.get(path.suffix.lower(), path.suffix[1:].upper())
    with whole_file(path) as file:
        image.save(file, kind)


def _outline(mask: NDArray[np.bool_], line: int) -> NDArray[np.bool_]:
    grey = Image.fromarray(mask.astype(np.uint8) * 255)
    inner = np.asarray(grey.filter(ImageFilter.MinFilter(2 * line + 1))) > 0
    return mask & ~inner


def _plate(
    pen: ImageDraw.ImageDraw,
    limit: tuple[int, int],
    box: NDArray[np.float32],
    text: str,
    ink: Colour,
    size: int,
    taken: list[tuple[float, float, float, float]],
) -> None:
    """A label on a plate: above the box, or inside it or below where there is no room or another label."""
    font = _font(size, text)
    left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
    pad = max(2, size // 5)
    w, h = right - left + 2 * pad, bottom - top + 2 * pad
    x = float(np.clip(box[0], 0, max(limit[0] - w, 0)))
    places = [box[1] - h, box[1], box[3] - h, box[3]]
    places += [box[1] + k * h for k in range(1, 5)]
    options = [float(np.clip(y, 0, max(limit[1] - h, 0))) for y in places]
    free = (y for y in options if not any(x < c and a < x + w and y < d and b < y + h for a, b, c, d in taken))
    y = next(free, options[0])
    taken.append((x, y, x + w, y + h))
    pen.rounded_rectangle((x, y, x + w, y + h), radius=pad, fill=ink)
    bright = 0.299 * ink[0] + 0.587 * ink[1] + 0.114 * ink[2] > 140
    pen.text((x + pad - left, y + pad - top), text, font=font, fill=(20, 20, 20) if bright else (255, 255, 255))


@functools.lru_cache(maxsize=256)
def _font(size: int, text: str) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The first font at hand that has every letter of ``text``; Pillow's own covers Latin."""
    fonts = [ImageFont.load_default(size)]
    if not text.isascii():
        for path in FONTS:
            try:
                fonts.append(ImageFont.truetype(path, size))
            except OSError:
                continue
    return min(fonts, key=lambda f: _missing(f, text))


def _missing(font: ImageFont.FreeTypeFont | ImageFont.ImageFont, text: str) -> int:
    """How many letters look like the box a font shows for what it does not have."""
    blank = bytes(font.getmask("\U0010fffe"))
    return sum(bytes(font.getmask(c)) == blank for c in set(text) if not c.isspace())
