"""Letters of any script become ink."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from gsam.results.draw import text_rendering
from gsam.results.draw.text_rendering import drawable, text_picture

WORDS = [
    "cat",
    "naïve café",
    "кот",
    "γάτα",
    "חתול",
    "قطة",
    "बिल्ली",
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


@pytest.mark.parametrize("text", ["", " ", "\u0301", "\u200d", "a\nb", "\u202eabc"])
def test_odd_text_does_no_harm(text: str) -> None:
    assert alpha(text).ndim == 2


def test_ink_has_its_colour() -> None:
    picture = np.asarray(text_picture("cat", 30, INK))
    assert (picture[picture[..., 3] == 255][:, :3] == INK).all()
