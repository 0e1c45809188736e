"""Fonts: which one has a letter, and which one can shape a script.

Pillow's own font, which is everywhere, is taken for what it has; then those that are installed; at
last GNU Unifont, which is shipped: plain, but it has every script of Unicode's first plane.
"""

from __future__ import annotations

import functools
import itertools
import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from PIL import ImageFont

Font = ImageFont.FreeTypeFont
OWN, UNIFONT = "pillow", ""
"""Names of Pillow's own font and of Unifont; all others are files."""
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
AVOIDED = ("bold", "mono", "serif", "italic", "oblique", "condensed", "light", "thin", "black", "emoji")
JOINED = {"ARABIC": "ببب", "SYRIAC": "ܒܒܒ", "MONGOLIAN": "ᠠᠠᠠ", "NKO": "ߊߊߊ"}
"""Scripts whose letters look otherwise in a word, with a word that shows it."""
CLUSTERED = {
    "DEVANAGARI": "क्ष", "BENGALI": "ক্ষ", "GURMUKHI": "ਪ੍ਰ", "GUJARATI": "ક્ષ", "ORIYA": "କ୍ଷ", "TAMIL": "க்ஷ",
    "TELUGU": "క్ష", "KANNADA": "ಕ್ಷ", "MALAYALAM": "ക്ഷ", "SINHALA": "ක්‍ෂ", "MYANMAR": "က္က", "KHMER": "ក្ក",
    "TIBETAN": "ཀྱ", "JAVANESE": "ꦏ꧀ꦏ", "BALINESE": "ᬓ᭄ᬓ",
}  # fmt: skip
"""Scripts whose letters grow together, with some that become narrower."""


def script(letter: str) -> str:
    """Name a letter's script, if it is one that has to be shaped; "" for all others."""
    name = unicodedata.name(letter, "").split(" ", 1)[0]
    return name if name in JOINED or name in CLUSTERED else ""


@functools.lru_cache(maxsize=256)
def shapes(file: str, script: str) -> bool:
    """Tell whether a font, with the layout engine that is here, shapes a script."""
    probe = JOINED.get(script) or CLUSTERED[script]
    if file == UNIFONT and script in CLUSTERED:  # a picture for every letter, and none for clusters
        return False
    if not all(has(file, letter) for letter in probe if letter != "\u200d"):
        return False
    plain, laid = (_sized(file, 24, engine) for engine in (ImageFont.Layout.BASIC, ImageFont.Layout.RAQM))
    if plain is None or laid is None:
        return False
    if script in JOINED:
        first, second = plain.getmask(probe), laid.getmask(probe)
        return (first.size, bytes(first)) != (second.size, bytes(second))
    return laid.getlength(probe) < 0.95 * plain.getlength(probe.replace("\u200d", ""))


@functools.lru_cache(maxsize=1 << 16)
def has(file: str, letter: str) -> bool:
    """Return True if a font has a letter: it differs from the font's sign for missing ones."""
    try:
        shown = (sized(file, 24) or unifont()).getmask(letter)
        return shown.getbbox() is not None and (shown.size, bytes(shown)) != _absent(file)
    except OSError:
        return False


@functools.lru_cache(maxsize=512)
def _absent(file: str) -> tuple[tuple[int, int], bytes]:
    """The sign of a font for letters that it does not have."""
    shown = (sized(file, 24) or unifont()).getmask("\U0010fffe")
    return shown.size, bytes(shown)


@functools.cache
def unifont() -> Font:
    """Open Unifont, which takes a while: it is packed."""
    return ImageFont.truetype(str(PLAIN), PLAIN_SIZE)


def sized(file: str, size: int) -> Font | None:
    """Open a font with letters ``size`` pixels high; None for Unifont, which has one size."""
    return _sized(file, size, None) if file != UNIFONT else None


@functools.lru_cache(maxsize=128)
def _sized(file: str, size: int, engine: ImageFont.Layout | None) -> Font | None:
    if file == OWN:
        font = ImageFont.load_default(size)
        return font if isinstance(font, ImageFont.FreeTypeFont) else None
    place, high = (file, size) if file != UNIFONT else (str(PLAIN), PLAIN_SIZE)
    return ImageFont.truetype(place, high, layout_engine=engine)


@functools.cache
def installed() -> tuple[str, ...]:
    """Font files of this machine, the readable ones first; at most a few hundred are looked at."""
    found = sorted(itertools.islice(_files(), 2000), key=_rank)
    return tuple(str(path) for path in found[:300])


def _files() -> Iterator[Path]:
    for folder in FOLDERS:
        for place, _, names in os.walk(Path(folder).expanduser()):
            yield from (Path(place, n) for n in names if n.lower().endswith((".ttf", ".otf", ".ttc")))


def _rank(path: Path) -> tuple[int, int, str]:
    name = path.name.lower().replace("-", "").replace("_", "")
    family = next((i for i, start in enumerate(PREFERRED) if name.startswith(start)), len(PREFERRED))
    return (sum(word in name for word in AVOIDED), family, name)
