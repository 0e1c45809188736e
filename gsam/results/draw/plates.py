"""Labels on plates: readable on anything, small in a crowd, with lines to what they name."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from gsam.results.draw.colours import Colour, letters_on
from gsam.results.draw.outline import Shape
from gsam.results.draw.placement import Ground, Place, Rectangle, arrange, gap
from gsam.results.draw.text_rendering import text_picture

SMALLEST = 8
"""Letters are at least so high, in pixels."""
MANY = 20
"""A picture of more things than this shows words only, no numbers."""
SHRINK = (1.0, 0.8, 0.64, 0.5)
"""Sizes of letters that are tried, as shares of the one that fits the image."""
HIDES, LIES_ON = 0.15, 0.02
"""A smaller size is tried where a plate hides more of a thing, or lies more on another plate."""
LED = 0.1
"""A smaller size is tried where a larger share of plates needs a line to its thing."""
TOO_MUCH = 0.4
"""A plate that would hide more than this of a thing, or of another plate, is left out."""
TOO_LARGE = 0.2
"""A plate is at most such a share of the image, or left out."""
WIDEST = 0.4
"""A plate is at most so wide, as a share of the image."""
SMALL = 15
"""A line ends at the edge of a thing that is less than so many dots wide."""
ZOOM = 4
"""Round corners and slanting lines are drawn so much larger and made small again."""


@dataclasses.dataclass(frozen=True)
class Caption:
    """The words of one plate."""

    word: str
    number: str
    """A score or an identity; left out of a crowd."""
    ink: Colour
    box: Rectangle
    """The thing's box."""
    shape: Shape
    """The thing itself."""


def letter_size(height: int, width: int) -> int:
    """The height of letters in an image of this size, in pixels: they grow with it as lines do."""
    return max(round(min(height, width) / 26), 11 if min(height, width) >= 120 else SMALLEST)


def put(image: Image.Image, captions: Sequence[Caption], line: int, *, keep_numbers: bool = False) -> None:
    """Put a plate to each thing, in place; earlier captions choose first.

    Args:
        image: RGB.
        captions: One per thing.
        line: Width of the lines from plates that lie apart to what they name, in pixels.
        keep_numbers: Whether a crowd keeps its numbers, because they are identities.
    """
    if not captions:
        return
    ground = Ground(image.size, [c.shape for c in captions])
    largest = letter_size(image.height, image.width)
    for share in SHRINK:
        size = max(round(largest * share), min(largest, SMALLEST if share < 0.6 else 10))
        plates = [
            _plate(c, size, image.width, keep_numbers or (len(captions) <= MANY and size > SMALLEST)) for c in captions
        ]
        places = arrange([p.size for p in plates], [c.box for c in captions], ground)
        led = sum(_apart(_rectangle(p, plate), c.box) for p, plate, c in zip(places, plates, captions, strict=True))
        if led <= LED * len(captions) and all(p.hidden <= HIDES and p.overlap <= LIES_ON for p in places):
            break
    shown = [(c, plate, p) for c, plate, p in zip(captions, plates, places, strict=True) if _fits(p, plate, image)]
    for caption, plate, place in shown:
        if _apart(spot := _rectangle(place, plate), caption.box):
            _lead(image, caption, spot, max(1, line // 2))
    for _, plate, place in shown:
        image.paste(plate, (place.x, place.y), plate)


def _rectangle(place: Place, plate: Image.Image) -> Rectangle:
    return place.x, place.y, place.x + plate.width, place.y + plate.height


def _apart(plate: Rectangle, box: Rectangle) -> bool:
    """Whether a plate lies so far from its thing that a line has to say whose it is."""
    return gap(plate, box) > max(2, (plate[3] - plate[1]) / 4)


def _fits(place: Place, plate: Image.Image, image: Image.Image) -> bool:
    small = plate.width * plate.height <= TOO_LARGE * image.width * image.height
    return small and place.hidden <= TOO_MUCH and place.overlap <= TOO_MUCH


def _plate(caption: Caption, size: int, room: int, numbered: bool) -> Image.Image:
    """A rounded RGBA plate.  Long words shrink first, then they are cut."""
    limit = min(room, max(round(room * WIDEST), 8 * size))
    text, ink = caption.word, letters_on(caption.ink)
    number = caption.number if numbered or not text else ""
    floor = max(SMALLEST, round(size * 0.75))
    while True:
        pad, gap_ = max(2, round(size * 0.32)), round(size * 0.4) if text and number else 0
        word = text_picture(text, size, ink)
        small = text_picture(number, max(SMALLEST, round(size * 0.8)), ink)
        wide = word.width * bool(text) + (gap_ + small.width) * bool(number) + 2 * pad
        if wide <= limit or len(text) <= 2:
            break
        if size > floor:
            size = max(floor, int(size * 0.85))
        elif number and numbered and len(text) <= 8:
            number = ""
        else:
            text = text[: max(1, min(len(text) - 1, int(len(text) * limit / wide)) - 1)].rstrip() + "…"
    high = word.height + max(1, pad // 2)
    plate = Image.new("RGBA", (wide, high), (*caption.ink, 255))
    shape = Image.new("L", (wide * ZOOM, high * ZOOM))
    ImageDraw.Draw(shape).rounded_rectangle((0, 0, wide * ZOOM - 1, high * ZOOM - 1), radius=pad * ZOOM, fill=255)
    plate.putalpha(shape.resize((wide, high), Image.Resampling.BOX))
    top = max(1, pad // 2) // 2
    if text:
        plate.alpha_composite(word, (pad, top))
    if number:
        base = top + word.height - small.height - round((word.height - small.height) * 0.25)
        plate.alpha_composite(small, (pad + word.width * bool(text) + gap_, max(0, base)))
    return plate.crop((0, 0, min(wide, room), high))


def _lead(image: Image.Image, caption: Caption, plate: Rectangle, line: int) -> None:
    """Draw a line from a plate to its thing, with a dot on it."""
    dot = line + 1
    x, y = _end(caption, plate, SMALL * dot)
    start = (min(max(x, plate[0] + 2), plate[2] - 2), min(max(y, plate[1] + 2), plate[3] - 2))
    x0, y0 = (math.floor(min(a, b)) - dot - line - 1 for a, b in zip(start, (x, y), strict=True))
    x1, y1 = (math.ceil(max(a, b)) + dot + line + 2 for a, b in zip(start, (x, y), strict=True))
    for grow, ink, opacity in ((1, (0, 0, 0), 120), (0, caption.ink, 255)):
        drawn = Image.new("L", ((x1 - x0) * ZOOM, (y1 - y0) * ZOOM))
        pen = ImageDraw.Draw(drawn)
        ends = [((px - x0 + 0.5) * ZOOM, (py - y0 + 0.5) * ZOOM) for px, py in (start, (x, y))]
        pen.line(ends, fill=opacity, width=(line + 2 * grow) * ZOOM)
        radius = (dot + grow) * ZOOM
        pen.ellipse((ends[1][0] - radius, ends[1][1] - radius, ends[1][0] + radius, ends[1][1] + radius), fill=opacity)
        image.paste(ink, (x0, y0), drawn.resize((x1 - x0, y1 - y0), Image.Resampling.BOX))


def _end(caption: Caption, plate: Rectangle, small: int) -> tuple[int, int]:
    """The pixel of a thing that a line leads to: its middle, or the edge of a small one.

    Of a thing without pixels, the middle of its box.
    """
    rows, columns = np.nonzero(caption.shape.inside)
    if not len(rows):
        return (caption.box[0] + caption.box[2]) // 2, (caption.box[1] + caption.box[3]) // 2
    rows, columns = rows + caption.shape.y, columns + caption.shape.x
    if min(caption.shape.inside.shape) >= small:
        away = (rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2
    else:
        away = np.maximum(plate[1] - rows, rows - plate[3] + 1).clip(0) ** 2
        away += np.maximum(plate[0] - columns, columns - plate[2] + 1).clip(0) ** 2
    k = int(np.argmin(away))
    return int(columns[k]), int(rows[k])
