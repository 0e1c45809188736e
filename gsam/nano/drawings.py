r"""Other drawings of the pictograms of nano: it is learnt and judged on more than one font.

A style is a package of the npm registry that holds SVG drawings of emoji, ``@iconify-json/STYLE``.
They are read from the folder that ``GSAM_DRAWINGS`` names, which holds one folder a style::

    npm install @iconify-json/twemoji @iconify-json/emojione @iconify-json/noto-v1 \
        @iconify-json/fxemoji @iconify-json/streamline-emojis @iconify-json/fluent-emoji-flat
    export GSAM_DRAWINGS=node_modules/@iconify-json

and drawn by resvg (``pip install resvg-py``).  Nothing of them is in this repository.
"""

from __future__ import annotations

import functools
import io
import json
import os
from pathlib import Path

from PIL import Image

from gsam.types import Json

FONT = "font"
"""The style that is a font: Noto Color Emoji (`gsam.nano.scenes.font_path`)."""
LEARNT: tuple[str, ...] = ("twemoji", "emojione", "noto-v1", "fxemoji", "streamline-emojis")
"""Styles that training scenes may have beside `FONT`: Twitter's, EmojiOne's and Streamline's (CC BY
4.0), Google's before 2017 and Mozilla's (Apache 2.0)."""
UNSEEN = "fluent-emoji-flat"
"""The style that no training scene has: Microsoft's (MIT)."""
NAMED_BY = "twemoji"
"""The style whose table of names serves all; some have none."""
OWN_NAMES: dict[str, dict[str, str]] = {
    "fxemoji": {
        "🐕": "dogside", "🐶": "dog", "🐈": "catside", "🐱": "cat", "🚗": "automobile", "🚙": "recreationalvehicle",
        "🚚": "deliverytruck", "🚛": "articulatedlorry", "🚆": "train", "🚂": "steamlocomotive", "🍎": "redapple",
        "🍏": "greenapple", "🍕": "sliceofpizza", "🎂": "birthdaycake", "🗝": "oldkey", "☔": "umbrellawithraindrops",
        "🌳": "deciduoustree", "🌲": "evergreen", "🌴": "palmtree", "🌸": "cherryblossom", "🐠": "tropicalfish",
        "🐎": "horse", "🐴": "horseface", "🐮": "cowface", "🐖": "pigside", "🐷": "pig", "🐑": "sheep", "🐰": "bunny",
        "⏰": "alarmclock", "🕰": "manltepiececlock", "✂": "blackscissors", "📱": "cellphone", "💻": "personalcomputer",
        "☕": "hotbeverage", "⚽": "soccerball", "🎩": "tophat",
        "🏠": "housebuilding", "📗": "greenbook", "📘": "bluebook", "❤": "redheart", "💛": "heartyellow",
        "💚": "heartgreen", "💜": "heartpurple", "🔴": "largeredcircle", "🔵": "largebluecircle",
    },
    "streamline-emojis": {"🏠": "house-with-garden", "🌲": "christmas-tree"},
}  # fmt: skip
"""Names that a style alone has, by glyph."""


def folder(style: str) -> Path:
    """Where the drawings of a style are.

    Raises FileNotFoundError if ``GSAM_DRAWINGS`` is not set or has no such style.
    """
    place = os.environ.get("GSAM_DRAWINGS")
    found = Path(place) / style if place else None
    if found is None or not (found / "icons.json").is_file():
        raise FileNotFoundError(
            f"no drawings of the style {style}: npm install @iconify-json/{style}, and set GSAM_DRAWINGS to the "
            "folder node_modules/@iconify-json"
        )
    return found


@functools.cache
def _icons(style: str) -> Json:
    found: Json = json.loads((folder(style) / "icons.json").read_text())
    return found


@functools.cache
def _names(style: str) -> dict[str, str]:
    """Code point in hexadecimal -> name of the drawing."""
    found: dict[str, str] = json.loads((folder(NAMED_BY) / "chars.json").read_text())
    return found | {f"{ord(glyph):x}": name for glyph, name in OWN_NAMES.get(style, {}).items()}


@functools.cache
def body(style: str, glyph: str) -> str | None:
    """The SVG elements of a glyph, or None where the style has no drawing of it."""
    icons = _icons(style)
    plain = _names(style).get(f"{ord(glyph):x}")
    for name in (plain, f"{plain}-1"):  # of several drawings the first
        while name in icons.get("aliases", {}):
            name = icons["aliases"][name]["parent"]
        if name in icons["icons"]:
            return str(icons["icons"][name]["body"])
    return None


def drawn(style: str, glyph: str, side: int) -> Image.Image:
    """A glyph on a transparent square of ``side`` pixels (mode RGBA).

    Raises ValueError if the style has no drawing of it.
    """
    import resvg_py

    inside = body(style, glyph)
    if inside is None:
        raise ValueError(f"the style {style} has no drawing of {glyph!r}")
    icons = _icons(style)
    w, h = icons.get("width", 16), icons.get("height", 16)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{side}" height="{side}" viewBox="0 0 {w} {h}">'
    png = resvg_py.svg_to_bytes(svg_string=f"{head}{inside}</svg>", skip_system_fonts=True)
    return Image.open(io.BytesIO(bytes(png))).convert("RGBA")
