"""What is said of words that a small model does not know: once, and with a way on."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import gsam
from gsam.errors import Hint
from gsam.text.vocabulary import Told


def test_many_unknown_words_are_one_warning() -> None:
    told = Told(small=True, things=("dog", "pizza", "umbrella"))
    with warnings.catch_warnings(record=True) as seen, told.together():
        warnings.simplefilter("always")
        for number in range(300):
            told.unknown([f"word{number}"])
    assert len(seen) == 1
    text = str(seen[0].message)
    assert "'word0'" in text
    assert "and 295 more" in text
    assert "3 things: dog, pizza, umbrella" in text
    assert "-p grounded_sam" in text


def test_a_word_is_told_once_and_its_neighbour_is_named() -> None:
    told = Told(small=True, things=("dog", "pizza"))
    with pytest.warns(UserWarning, match="did you mean 'pizza'"):
        told.unknown(["piza"])
    with pytest.warns(UserWarning, match="'wheel'") as seen:
        told.unknown(["piza", "wheel"])
    assert "drawings" not in str(seen[0].message)  # that was said
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        told.unknown(["piza", "wheel"])


def test_a_large_vocabulary_gives_no_hint() -> None:
    told = Told()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        told.nothing()
    with pytest.warns(UserWarning, match="wheel") as seen:
        told.unknown(["wheel"])
    assert str(seen[0].message) == "this model does not know the word 'wheel'"


@pytest.mark.long
def test_nano_says_once_what_it_knows_where_it_finds_nothing() -> None:
    pipe = gsam.load("nano")
    grey = np.full((64, 64, 3), 90, np.uint8)
    with pytest.warns(Hint, match="drawings, not photographs.*dog.*grounded_sam"):
        found = pipe(grey, "dog")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = pipe(grey, "pizza")
    assert (len(found), len(again)) == (0, 0)


@pytest.mark.long
def test_nano_tells_of_a_word_once_for_all_its_models() -> None:
    pipe = gsam.load("nano")
    with pytest.warns(UserWarning, match="does not know the word 'wheel'") as seen:
        pipe("notebooks/scene.png", "dog. wheel")
    assert len(seen) == 1
