"""Colours by name and by number, and letters that can be read on them."""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Iterable

Colour = tuple[int, int, int]
"""sRGB, 0 to 255."""
GOLDEN = 0.381966
"""The golden angle as a part of the circle of hues: each next number falls into a gap."""
DARK, WHITE = (24, 24, 27), (255, 255, 255)


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


def letters_on(ground: Colour) -> Colour:
    """Dark or white letters, whichever can be read better on a ground; always 4.5 : 1 at least."""
    return max((DARK, WHITE), key=lambda ink: contrast(ink, ground))


def contrast(a: Colour, b: Colour) -> float:
    """The contrast of two colours by WCAG 2.2, 1 to 21; 4.5 is enough for text."""
    low, high = sorted((_luminance(a), _luminance(b)))
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: Colour) -> float:
    linear = [v / 255 / 12.92 if v <= 10 else ((v / 255 + 0.055) / 1.055) ** 2.4 for v in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


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
