"""Text in any script as an image.

A label is drawn with one font if one has all of it, else a word is. Letters that no font has are
spelled by their Unicode names, so a label is never a row of boxes. Scripts whose letters change in
a word are shaped where a font for them is installed; where none is, they are drawn letter by
letter, and `drawable` says that this is not how they are written.
"""

from __future__ import annotations

import functools
import itertools
import re
import unicodedata
from collections.abc import Iterator

from PIL import Image, ImageDraw

from gsam.results.draw import fonts
from gsam.results.draw.colours import Colour
from gsam.results.draw.fonts import OWN, PLAIN_SIZE, UNIFONT, Font

JOINERS = "\u200c\u200d"
"""Zero-width signs that a shaped script needs."""
FLAG, TAG = 0x1F1E6, 0xE0020
"""The first regional indicator, and the first of the tags that follow a black flag."""
DROPPED = re.compile("[\U0001f3fb-\U0001f3ff\ufe00-\ufe0f\u20e3]")
"""Tones of skin, variants and keycaps: they change the letter before them, and are no letters."""


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
    """Return True if text is drawn as it is written: every letter by a font, shaped if need be."""
    letters = [letter for letter in _clean(text) if not _joins(letter)]
    return _spelled(text) == _clean(text) and all(
        any(fonts.shapes(file, script) for file in (*_installed(), UNIFONT))
        for script in {fonts.script(letter) for letter in letters} - {""}
    )


def _clean(text: str) -> str:
    """Text in one line without what has no shape: controls, marks of direction, tones of skin."""
    text = unicodedata.normalize("NFC", DROPPED.sub("", "".join(_flags(text))))
    kept = []
    for i, letter in enumerate(text):
        if letter in JOINERS:
            if not (i and i + 1 < len(text) and fonts.script(text[i - 1])):
                continue
        elif not letter.isspace() and unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Co", "Cn"):
            continue
        kept.append(letter)
    return " ".join("".join(kept).split())


def _flags(text: str) -> Iterator[str]:
    """Letters of countries and regions, which stand for flags, as letters."""
    for kind, part in itertools.groupby(text, _kind_of_letter):
        if kind == "country":
            yield f" flag {''.join(chr(ord(c) - FLAG + ord('A')) for c in part)} "
        elif kind == "region":
            yield f" {''.join(chr(ord(c) - TAG + ord(' ')) for c in part if ord(c) < TAG + 95).upper()} "
        else:
            yield "".join(part)


def _kind_of_letter(letter: str) -> str:
    if FLAG <= ord(letter) < FLAG + 26:
        return "country"
    return "region" if TAG <= ord(letter) < TAG + 96 else ""


def _spelled(text: str) -> str:
    """Spell letters that no font has by their names: a cat's face becomes ``cat face``."""
    out = []
    for letter in _clean(text):
        if _joins(letter) or _font_file(letter) is not None:
            out.append(letter)
        else:
            out.append(" " + unicodedata.name(letter, f"U+{ord(letter):04X}").lower() + " ")
    return " ".join("".join(out).split())


def _runs(text: str, size: int) -> list[tuple[str, Font | None]]:
    """Pieces of text with a font each; None is the plain font."""
    whole = _common(text, (OWN, *_installed()))
    keys: list[str] = []
    for word in re.findall(r"\s*\S+\s*", text):
        one = whole if whole is not None else _common(word, (OWN, *_installed(), UNIFONT))
        for letter in word:
            same = _joins(letter) and bool(keys)
            keys.append(one if one is not None else keys[-1] if same else _font_file(letter) or UNIFONT)
    grouped = itertools.groupby(zip(keys, text, strict=True), key=lambda pair: pair[0])
    return [("".join(c for _, c in group), fonts.sized(key, size)) for key, group in grouped]


def _common(text: str, files: tuple[str, ...]) -> str | None:
    """The first font that has all letters of a text, if possible one that shapes them; or None."""
    letters = list(dict.fromkeys(letter for letter in text if not letter.isspace() and letter not in JOINERS))
    scripts = {fonts.script(letter) for letter in letters} - {""}
    having = [file for file in files if all(fonts.has(file, letter) for letter in letters)]
    return next((file for file in having if all(fonts.shapes(file, s) for s in scripts)), having[0] if having else None)


def _width(run: str, font: Font | None, size: int) -> int:
    if font is None:
        return _plain_run(run, size).width
    return round(max(font.getlength(run), font.getbbox(run, anchor="ls")[2]))


def _plain_run(run: str, size: int) -> Image.Image:
    """Draw with Unifont's bitmap, in the grey of its coverage.

    Its size is an exact multiple of the bitmap's where that is near.
    """
    font = fonts.unifont()
    mask = Image.new("L", (max(1, round(font.getlength(run))), PLAIN_SIZE))
    ImageDraw.Draw(mask).text((0, 0), run, font=font, fill=255)
    scale = max(0.75, size * 1.15 / PLAIN_SIZE)
    whole = max(1, round(scale))
    if abs(whole - scale) > 0.25:
        mask = mask.resize((mask.width * 4, mask.height * 4), Image.Resampling.NEAREST)
        return mask.resize((round(mask.width * scale / 4), round(mask.height * scale / 4)), Image.Resampling.BOX)
    return mask.resize((mask.width * whole, mask.height * whole), Image.Resampling.NEAREST)


def _joins(letter: str) -> bool:
    """Spaces, combining marks and joiners go with the letter before them."""
    return letter.isspace() or letter in JOINERS or unicodedata.category(letter) in ("Mn", "Mc", "Me")


@functools.lru_cache(maxsize=4096)
def _font_file(letter: str) -> str | None:
    """Find a letter's font: a file, Pillow's own, "" for the plain font; None if none has it."""
    script = fonts.script(letter)
    files = [file for file in (OWN, *_installed(), UNIFONT) if fonts.has(file, letter)]
    return next((file for file in files if script and fonts.shapes(file, script)), files[0] if files else None)


def _installed() -> tuple[str, ...]:
    return fonts.installed()
