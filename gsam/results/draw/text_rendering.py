"""Text in any script as an image.

Latin is drawn with Pillow's own font, everything else with the first installed font that has the
letters, and where none has, with GNU Unifont, which is shipped: plain, but it has every script of
Unicode's first plane.  What no font has is spelled by its Unicode name, so a label is never a row
of boxes.
"""

from __future__ import annotations

import functools
import itertools
import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]
Font = ImageFont.FreeTypeFont
PLAIN = Path(__file__).parent / "unifont" / "unifont-15.0.01.pcf.gz"
PLAIN_SIZE = 16
FOLDERS = (
    "/usr/share/fonts",
    "/usr/local/share/fonts",
    "~/.local/share/fonts",
    "~/.fonts",
    "/Library/Fonts",
    "/System/Library/Fonts",
    "C:/Windows/Fonts",
)
PREFERRED = ("notosans", "dejavusans", "nanumgothic", "malgun", "wqy", "unifont", "arial")
AVOIDED = ("mono", "serif", "italic", "oblique", "condensed", "light", "thin", "black", "emoji")


def text_picture(text: str, size: int, ink: Colour) -> Image.Image:
    """Draw text as RGBA, cropped to its width and line height; letters ``size`` pixels high."""
    runs = _runs(_spelled(text), size)
    widths = [_width(run, font, size) for run, font in runs]
    up, down = round(size * 1.0), round(size * 0.32)
    picture = Image.new("RGBA", (max(1, sum(widths)), up + down), (*ink, 0))
    x = 0
    for (run, font), width in zip(runs, widths, strict=True):
        if font is None:
            drawn = _plain_run(run, size)
            top = up - round(drawn.height * 14 / PLAIN_SIZE)
            picture.paste(Image.new("RGBA", drawn.size, (*ink, 255)), (x, max(0, top)), drawn)
        else:
            ImageDraw.Draw(picture).text((x, up), run, font=font, fill=(*ink, 255), anchor="ls")
        x += width
    return picture


def drawable(text: str) -> bool:
    """Return True if every letter is in some font."""
    return _spelled(text) == text


def _spelled(text: str) -> str:
    """Spell letters that no font has by their names: a cat's face becomes ``cat face``."""
    out = []
    for letter in text:
        if _joins(letter) or _font_file(letter) is not None:
            out.append(letter)
        else:
            out.append(" " + unicodedata.name(letter, f"U+{ord(letter):04X}").lower() + " ")
    return " ".join("".join(out).split()) if len(out) != len("".join(out)) else text


def _runs(text: str, size: int) -> list[tuple[str, Font | None]]:
    """Pieces of text with a font each; None is the plain font."""
    keys: list[str] = []
    for letter in text:
        same = _joins(letter) and bool(keys)
        keys.append(keys[-1] if same else _font_file(letter) or "")
    grouped = itertools.groupby(zip(keys, text, strict=True), key=lambda pair: pair[0])
    return [("".join(c for _, c in group), _open(key, size)) for key, group in grouped]


def _width(run: str, font: Font | None, size: int) -> int:
    if font is None:
        return _plain_run(run, size).width
    return round(max(font.getlength(run), font.getbbox(run, anchor="ls")[2]))


def _plain_run(run: str, size: int) -> Image.Image:
    """Draw with Unifont's bitmap, in the grey of its coverage.

    Its size is an exact multiple of the bitmap's where that is near.
    """
    font = ImageFont.truetype(str(PLAIN), PLAIN_SIZE)
    mask = Image.new("L", (max(1, round(font.getlength(run))), PLAIN_SIZE))
    ImageDraw.Draw(mask).text((0, 0), run, font=font, fill=255)
    scale = max(1.0, size * 1.15 / PLAIN_SIZE)
    whole = max(1, round(scale))
    if abs(whole - scale) > 0.25:
        mask = mask.resize((mask.width * 4, mask.height * 4), Image.Resampling.NEAREST)
        return mask.resize((round(mask.width * scale / 4), round(mask.height * scale / 4)), Image.Resampling.BOX)
    return mask.resize((mask.width * whole, mask.height * whole), Image.Resampling.NEAREST)


def _joins(letter: str) -> bool:
    """Spaces, combining marks and joiners go with the letter before them."""
    return letter.isspace() or unicodedata.category(letter) in ("Mn", "Mc", "Me", "Cf")


_OWN = "pillow"


@functools.lru_cache(maxsize=4096)
def _font_file(letter: str) -> str | None:
    """Find a letter's font: a file, `_OWN` for Pillow's font, "" for the plain font; else None."""
    if letter.isascii() or (unicodedata.name(letter, "").startswith("LATIN") and _has(_OWN, letter)):
        return _OWN
    return next((file for file in (*_installed(), _OWN, "") if _has(file, letter)), None)


def _has(file: str, letter: str) -> bool:
    """Return True if a font has a letter: it differs from the font's sign for missing ones."""
    try:
        font = _open(file, 24) or ImageFont.truetype(str(PLAIN), PLAIN_SIZE)
        shown, absent = font.getmask(letter), font.getmask("\U0010fffe")
    except OSError:
        return False
    return shown.getbbox() is not None and (shown.size, bytes(shown)) != (absent.size, bytes(absent))


@functools.lru_cache(maxsize=64)
def _open(file: str, size: int) -> Font | None:
    if file == _OWN:
        font = ImageFont.load_default(size)
        return font if isinstance(font, ImageFont.FreeTypeFont) else None
    return ImageFont.truetype(file, size) if file else None


@functools.cache
def _installed() -> tuple[str, ...]:
    """Font files of this machine, the readable ones first; at most a few hundred are looked at."""
    found = sorted(itertools.islice(_files(), 2000), key=_rank)
    return tuple(str(path) for path in found[:300])


def _files() -> Iterator[Path]:
    for folder in FOLDERS:
        for place, _, names in os.walk(Path(folder).expanduser()):
            yield from (Path(place, n) for n in names if n.lower().endswith((".ttf", ".otf", ".ttc")))


def _rank(path: Path) -> tuple[int, int, bool, str]:
    name = path.name.lower().replace("-", "").replace("_", "")
    family = next((i for i, start in enumerate(PREFERRED) if name.startswith(start)), len(PREFERRED))
    return (sum(word in name for word in AVOIDED), family, "bold" not in name, name)
