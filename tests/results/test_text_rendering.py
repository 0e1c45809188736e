"""Letters of any script become ink."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from gsam.results.draw import fonts as font_files
from gsam.results.draw import text_rendering
from gsam.results.draw.text_rendering import drawable, text_picture

WORDS = [
    "cat",
    "naïve café",
    "кот",
    "γάτα",
    "חתול",
    "قطة",
    "猫",
    "ねこ",
    "고양이",
    "แมว",
    "a 고양이 猫 b",
    "½ × 2",
]
INK = (10, 20, 30)


def alpha(text: str, size: int = 20) -> np.ndarray:
    return np.asarray(text_picture(text, size, INK))[..., 3]


@pytest.fixture(params=["installed fonts", "no fonts installed"])
def fonts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if request.param == "no fonts installed":
        monkeypatch.setattr(text_rendering, "_installed", lambda: ())
    text_rendering._font_file.cache_clear()
    yield
    text_rendering._font_file.cache_clear()


@pytest.mark.usefixtures("fonts")
@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("size", [11, 20, 44])
@pytest.mark.long
def test_any_script_is_drawn(word: str, size: int) -> None:
    assert drawable(word)
    ink = alpha(word, size)
    assert (ink > 100).sum() > size
    assert ink.shape[0] < 1.6 * size
    assert not np.array_equal(ink, alpha(word[::-1], size)) or len(word) == 1


@pytest.mark.usefixtures("fonts")
def test_letters_are_not_the_box_of_what_is_missing() -> None:
    """Different words of one length look different: a row of boxes would not."""
    for a, b in (("고양", "강아"), ("猫", "犬"), ("кот", "пёс"), ("ねこ", "いぬ")):
        first, second = alpha(a), alpha(b)
        assert first.shape != second.shape or not np.array_equal(first, second)


def test_what_no_font_has_is_spelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_rendering, "_installed", lambda: ())
    text_rendering._font_file.cache_clear()
    try:
        assert not drawable("🐱 here")
        assert text_rendering._spelled("🐱 here") == "cat face here"
        np.testing.assert_array_equal(alpha("🐱 here"), alpha("cat face here"))
    finally:
        text_rendering._font_file.cache_clear()


SHAPED = {"बिल्ली": "DEVANAGARI", "বিড়াল": "BENGALI", "பூனை": "TAMIL", "పిల్లి": "TELUGU", "ឆ្មា": "KHMER", "ܩܛܐ": "SYRIAC"}


@pytest.mark.usefixtures("fonts")
@pytest.mark.parametrize(("word", "script"), SHAPED.items())
def test_a_script_that_must_be_shaped_is_promised_where_it_is(word: str, script: str) -> None:
    shaped = any(font_files.shapes(file, script) for file in (*text_rendering._installed(), font_files.UNIFONT))
    assert drawable(word) == shaped
    assert (alpha(word) > 100).sum() > 20, "drawn all the same"


def test_unifont_shapes_arabic_but_no_clusters() -> None:
    found = {s for s in (*font_files.JOINED, *font_files.CLUSTERED) if font_files.shapes(font_files.UNIFONT, s)}
    assert "ARABIC" in found
    assert not found & set(font_files.CLUSTERED)


@pytest.mark.parametrize("label", ["café", "yellow café", "naïve", "Żółw", "đèn giao thông", "jalapeño 2"])
@pytest.mark.usefixtures("fonts")
def test_one_font_for_one_word(label: str) -> None:
    runs = [run for run, _ in text_rendering._runs(label, 20)]
    assert "".join(runs) == label
    assert all(run.endswith(" ") for run in runs[:-1])
    if text_rendering._installed():
        assert runs == [label]


def test_fonts_are_not_bold() -> None:
    if any("DejaVuSans.ttf" in file for file in font_files.installed()):
        [(_, font)] = text_rendering._runs("кот", 20)
        assert font is not None
        assert font.getname()[1] == "Book"


EMOJI = {
    "\U0001f469\u200d\U0001f680": "woman rocket",
    "\U0001f44d\U0001f3fd thumb": "thumbs up sign thumb",
    "\u2764\ufe0f\u200d\U0001f525": None,
    "\U0001f1f0\U0001f1f7": "flag KR",
    "3\ufe0f\u20e3": "3",
    "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f": "waving black flag GBENG",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467": "man woman girl",
}


@pytest.mark.parametrize("emoji", EMOJI, ids=ascii)
def test_no_emoji_leaves_a_box(emoji: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_rendering, "_installed", lambda: ())
    text_rendering._font_file.cache_clear()
    try:
        spelled = text_rendering._spelled(emoji)
        assert EMOJI[emoji] in (spelled, None)
        assert not set(spelled) & set("\u200d\u200c\ufe0f\u20e3")
        for run, font in text_rendering._runs(spelled, 20):
            file = font_files.UNIFONT if font is None else font_files.OWN
            assert all(letter.isspace() or font_files.has(file, letter) for letter in run)
    finally:
        text_rendering._font_file.cache_clear()


@pytest.mark.parametrize("text", ["", " ", "\u0301", "\u200d", "a\nb", "\u202eabc"])
def test_odd_text_does_no_harm(text: str) -> None:
    assert alpha(text).ndim == 2


def test_ink_has_its_colour() -> None:
    picture = np.asarray(text_picture("cat", 30, INK))
    assert (picture[picture[..., 3] == 255][:, :3] == INK).all()
