"""Overlays for people: translucent masks with outlines, boxes, and labels in any script."""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from gsam.files import atomic_file
from gsam.results.draw.text_rendering import Colour, text_picture
from gsam.results.masks.rle import area, bounds, decode

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
FILL = 0.45
"""Opacity of a mask's colour."""
GOLDEN = 0.381966
"""The golden angle as a part of the circle of hues: each next number falls into a gap."""
Rectangle = tuple[int, int, int, int]


def colours(labels: Iterable[str]) -> dict[str, Colour]:
    """A colour for each of some labels, by its text alone unless another of them is too near.

    Hues are apart by at least 1/16 of the circle (fewer for many labels), so that what is asked for
    together can be told apart; the earlier label keeps its own.
    """
    names = list(dict.fromkeys(labels))
    apart = min(1 / 16, 0.5 / max(len(names), 1))
    taken: list[float] = []
    found = {}
    for name in names:
        digest = hashlib.sha256(name.casefold().encode("utf-8", "surrogatepass")).digest()
        hue = int.from_bytes(digest[:4], "big") / 2**32
        while any(min((hue - t) % 1, (t - hue) % 1) < apart for t in taken):
            hue = (hue + GOLDEN) % 1
        taken.append(hue)
        found[name] = shade((0.64, 0.71, 0.78)[digest[4] % 3], hue)
    return found


def numbered(i: int) -> Colour:
    """Return the colour of number ``i`` of a list or an identity: stable, and neighbours differ."""
    return shade((0.64, 0.71, 0.78)[i % 3], (i * GOLDEN) % 1)


@functools.cache
def shade(light: float, hue: float) -> Colour:
    """OKLCh, where equal steps look equal, in the most vivid colour that a screen can show."""
    for chroma in (0.22, 0.20, 0.18, 0.16, 0.14, 0.12, 0.10, 0.08):
        rgb = _from_oklch(light, chroma, 2 * math.pi * hue)
        if all(-0.002 <= v <= 1.002 for v in rgb):
            break
    r, g, b = (round(255 * _gamma(min(max(v, 0.0), 1.0))) for v in rgb)
    return r, g, b


def draw(
    pixels: NDArray[np.uint8],
    xyxy: NDArray[Any],
    labels: Sequence[str],
    scores: NDArray[Any],
    rles: Sequence[dict[str, Any]],
    queries: Sequence[str] = (),
) -> Image.Image:
    """Draw masks, boxes and labels over an image.

    Args:
        pixels: [H, W, 3] uint8 RGB.
        xyxy: [N, 4] float boxes x0 y0 x1 y1 in pixels, exclusive right and bottom.
        labels: [N] labels.
        scores: [N] float in 0..1; plates of the best are placed first.
        rles: [N] masks as COCO run lengths.
        queries: Names that keep their colours though nothing was found of them; by default the
            labels alone have colours.

    Returns:
        An RGB image of the size of the original.
    """
    height, width = pixels.shape[:2]
    size, line = measures(height, width)
    ink = colours([*queries, *labels])
    image = Image.fromarray(pixels)
    areas = [area(rle) for rle in rles]
    small_last = sorted(range(len(rles)), key=lambda i: -areas[i])
    for i in small_last:
        paint(image, rles[i], ink[labels[i]], line)
    pen = ImageDraw.Draw(image)
    for i in small_last:
        x0, y0, x1, y1 = (round(float(v)) for v in xyxy[i])
        box = (max(x0, 0), max(y0, 0), min(x1, width) - 1, min(y1, height) - 1)
        if box[2] >= box[0] and box[3] >= box[1]:
            pen.rectangle(box, outline=ink[labels[i]], width=line)
    order = np.argsort(-scores, kind="stable")
    name(
        image,
        [(labels[i], f"{scores[i]:.2f}") for i in order],
        [ink[labels[i]] for i in order],
        [tuple(round(float(v)) for v in xyxy[i]) for i in order],
        size,
    )
    return image


def measures(height: int, width: int) -> tuple[int, int]:
    """The height of letters and the width of lines in an image of this size, in pixels."""
    return int(np.clip(min(height, width) / 26, 11, 44)), max(1, round(min(height, width) / 240))


def name(
    image: Image.Image,
    texts: Sequence[tuple[str, str]],
    inks: Sequence[Colour],
    boxes: Sequence[Sequence[int]],
    size: int,
) -> None:
    """Put a plate with a word and a number to each box ``x0 y0 x1 y1``, in place.

    Earlier boxes choose their places first.
    """
    plates: list[Rectangle] = []
    for rank, ((word, number), ink) in enumerate(zip(texts, inks, strict=True)):
        plate = _plate(word, number, ink, size, image.width)
        x, y = _place(plate.size, boxes[rank], image.size, plates, [*boxes[:rank], *boxes[rank + 1 :]])
        plates.append((x, y, x + plate.width, y + plate.height))
        image.paste(plate, (x, y), plate)


def write(image: Image.Image, path: Path) -> None:
    """PNG, JPEG or WebP by the name of ``path``, whole or not at all."""
    kind = {".jpg": "JPEG", ".jpeg": "JPEG"}.get(path.suffix.lower(), path.suffix[1:].upper())
    with atomic_file(path) as file:
        image.save(file, kind, **({"quality": 95} if kind == "JPEG" else {}))


def paint(image: Image.Image, rle: dict[str, Any], ink: Colour, line: int) -> None:
    """Tint a mask and draw its outline, in place.

    Full colour inside and a dark hair outside, so that it shows on anything.
    """
    x0, y0, x1, y1 = bounds(rle)
    if x1 <= x0 or y1 <= y0:
        return
    x0, y0, x1, y1 = max(x0 - 1, 0), max(y0 - 1, 0), min(x1 + 1, image.width), min(y1 + 1, image.height)
    inside = decode(rle)[y0:y1, x0:x1]
    rim = inside & _spread(~inside, line, True)  # beyond the image is outside: outlines close along its border
    hair = ~inside & _spread(inside, 1, False)
    image.paste((0, 0, 0), (x0, y0), Image.fromarray(hair * np.uint8(115)))
    image.paste(ink, (x0, y0), Image.fromarray(inside * np.uint8(255 * FILL) + rim * np.uint8(230 - 255 * FILL)))


def _spread(region: NDArray[np.bool_], by: int, beyond: bool) -> NDArray[np.bool_]:
    """Grow a region by ``by`` pixels in both axes; ``beyond``: outside the array is inside it."""
    for _ in range(2):
        padded = np.pad(region, ((by, by), (0, 0)), constant_values=beyond)
        height = len(region)
        region = functools.reduce(np.logical_or, (padded[k : k + height] for k in range(2 * by + 1))).T
    return region


def _plate(label: str, score: str, ink: Colour, size: int, limit: int) -> Image.Image:
    """Draw a rounded RGBA plate with label and score, at most ``limit`` wide.

    The letters shrink first, then the text is cut.
    """
    red, green, blue = ink
    bright = 0.299 * red + 0.587 * green + 0.114 * blue > 120
    text_ink = (24, 24, 27) if bright else (255, 255, 255)
    pad = max(2, round(size * 0.32))
    while True:
        name, number = text_picture(label, size, text_ink), text_picture(score, max(8, round(size * 0.8)), text_ink)
        gap = round(size * 0.4)
        wide = name.width + gap + number.width + 2 * pad
        if wide <= limit or (size <= 9 and len(label) <= 1):
            break
        if size > 9:
            size = max(9, int(size * 0.85))
            pad = max(2, round(size * 0.32))
        else:
            label = label[: max(1, min(len(label) - 1, int(len(label) * limit / wide)) - 1)].rstrip() + "…"
            if len(label) <= 2:
                break
    high = name.height + max(1, pad // 2)
    zoom = 4  # round corners, smooth
    shape = Image.new("L", (wide * zoom, high * zoom))
    ImageDraw.Draw(shape).rounded_rectangle((0, 0, wide * zoom - 1, high * zoom - 1), radius=pad * zoom, fill=255)
    plate = Image.new("RGBA", (wide, high), (*ink, 255))
    plate.putalpha(shape.resize((wide, high), Image.Resampling.BOX).point(lambda a: round(a * 0.94)))
    top = max(1, pad // 2) // 2
    plate.alpha_composite(name, (pad, top))
    base = top + round(size * 1.0) - round(max(8, round(size * 0.8)) * 1.0)
    number.putalpha(number.getchannel("A").point(lambda a: round(a * 0.75)))
    plate.alpha_composite(number, (pad + name.width + gap, max(0, base)))
    return plate.crop((0, 0, min(wide, limit), high))


def _place(
    size: tuple[int, int],
    box: Sequence[int],
    limit: tuple[int, int],
    plates: Sequence[Sequence[int]],
    others: Sequence[Sequence[int]],
) -> tuple[int, int]:
    """Place a plate over its box, else inside or under it.

    It stays within the image, off other plates, then off other things.
    """
    w, h = size
    x0, y0, x1, y1 = box
    tries = [(x0, y0 - h), (x1 - w, y0 - h), (x0, y0), (x0, y1), (x1 - w, y1), (x0, y1 - h)]
    tries += [(x0, y0 + k * h) for k in range(1, 6)] + [(x0 + w, y0 - h), (x0 - w, y0 - h)]
    places = [(_within(x, limit[0] - w), _within(y, limit[1] - h)) for x, y in tries]

    def cost(place: tuple[int, int]) -> float:
        here = (*place, place[0] + w, place[1] + h)
        return sum(_overlap(here, p) for p in plates) + 0.2 * sum(_overlap(here, o) for o in others)

    return min(places, key=cost)


def _overlap(a: Sequence[int], b: Sequence[int]) -> int:
    return max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))


def _within(value: float, most: int) -> int:
    return round(min(max(value, 0), max(most, 0)))


def _from_oklch(light: float, chroma: float, hue: float) -> tuple[float, float, float]:
    """Linear sRGB (Ottosson 2020, "A perceptual color space for image processing")."""
    a, b = chroma * math.cos(hue), chroma * math.sin(hue)
    l3 = (light + 0.3963377774 * a + 0.2158037573 * b) ** 3
    m3 = (light - 0.1055613458 * a - 0.0638541728 * b) ** 3
    s3 = (light - 0.0894841775 * a - 1.2914855480 * b) ** 3
    return (
        4.0767416621 * l3 - 3.3077115913 * m3 + 0.2309699292 * s3,
        -1.2684380046 * l3 + 2.6097574011 * m3 - 0.3413193965 * s3,
        -0.0041960863 * l3 - 0.7034186147 * m3 + 1.7076147010 * s3,
    )


def _gamma(value: float) -> float:
    return 12.92 * value if value <= 0.0031308 else 1.055 * value ** (1 / 2.4) - 0.055
