"""CLIP and OWL read texts as the original does: mended, unescaped, with single blanks."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from gsam.text.cleaning import clean
from gsam.text.sentences import Sentences
from gsam.text.single_queries import SingleQueries
from gsam.text.tokenizer import load_tokenizer
from tests.text import clip_reference
from tests.text.test_queries import byte_letters

AWKWARD = [
    "dog",
    "  Dogs\t and \n dogs  ",
    "the dog’s “bone”",
    "dog‘s",
    "cafÃ©",
    "schÃ¶n â€” dogs",
    "lâ€™oiseau",
    "dogs &amp; phones",
    "dogs &amp;amp; phones",
    "dogs &amp;amp;amp; phones",
    "&lt;dog&gt;",
    "<b>dog &quot;a&quot;</b> &#39;s",
    "&#x1F415; dog",
    "ﬁre ﬂy oﬀice",
    "ＤＯＧ　ｄｏｇ",
    "do\u200bg",
    "dog\ufeff",
    "do\u00adg",
    "dog\u00a0and\u2003dog",
    "Ǆ ǆ ĳ",
    "e\u0301 and \u00e9",
    "ΟΔΟΣ",
    "İstanbul",
    "STRASSE straße",
    "\x1b[31mdog\x1b[0m",
    "dog\r\nand\rdog",
    "dog\x85and",
    "dog\x00",
    "日本語 の 犬",
    "🐕‍🦺 dog!!",
    "it's, they're, I'd; DOG'S",
    "12 dogs 3½",
    "…",
    "&nbsp;",
    "",
    "dog <|endoftext|> dog",
    "per&shy;son",
    "&unknown; dog &",
    "naÃ¯ve &eacute;",
    "\U0001d51c dog",
]


@pytest.fixture(scope="module")
def letters() -> list[str]:
    """The letter of each byte, by its number."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    order = [*kept, *(b for b in range(256) if b not in kept)]
    return [letter for _, letter in sorted(zip(order, byte_letters(), strict=True))]


@pytest.fixture(scope="module")
def vocabulary(letters: list[str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, int], list]:
    folder = tmp_path_factory.mktemp("clip")
    merges = [("d", "o"), ("do", "g</w>"), ("do", "g"), ("dog", "s</w>"), ("t", "h"), ("th", "e</w>"), ("a", "n")]
    merges += [("an", "d</w>"), ("'", "s</w>"), ("c", "a"), ("ca", "f"), ("f", "i"), ("o", "f"), ("!", "!</w>")]
    merges += [(letters[0xC3], letters[0xA9] + "</w>"), ("an", "d")]
    words = [
        *letters,
        *(c + "</w>" for c in letters),
        *("".join(m) for m in merges),
        "<|startoftext|>",
        "<|endoftext|>",
    ]
    ids = {w: i for i, w in enumerate(words)}
    (folder / "vocab.json").write_text(json.dumps(ids), encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(m) for m in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder, ids, merges


@pytest.mark.parametrize("text", AWKWARD)
def test_awkward_texts_are_read_as_the_original_reads_them(
    text: str, letters: list[str], vocabulary: tuple[Path, dict[str, int], list]
) -> None:
    folder, ids, merges = vocabulary
    tokenizer = load_tokenizer(folder)
    expected = clip_reference.encode(text, letters, ids, merges)
    owl = SingleQueries(tokenizer, 77).tokenize([text])[0]
    assert owl[: len(expected)].tolist() == expected
    assert not owl[len(expected) :].any()
    expected = clip_reference.encode(f"a photo of a {text}.", letters, ids, merges)
    clip = Sentences(tokenizer, 77, "a photo of a {}.").tokenize([text])[0, 0]
    assert clip[: len(expected)].tolist() == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cafÃ©", "café"),
        ("the dog’s", "the dog's"),
        ("a &amp;amp; b", "a & b"),
        ("ﬁsh", "fish"),
        ("ＤＯＧ", "dog"),
        ("\ufeffdog", "dog"),
        ("a \u00a0 b", "a b"),
        ("ΟΔΟΣ", "οδος"),
    ],
)
def test_what_is_mended(text: str, expected: str) -> None:
    assert clean(text) == expected


def test_a_plain_text_loads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ftfy", None)
    assert clean("A yellow  school-bus!") == "a yellow school-bus!"
    with pytest.raises(ImportError):
        clean("a caf\u00e9")


def test_every_plain_character_is_left_alone() -> None:
    """What is not given to ftfy would come back from it as it is."""
    import ftfy

    plain = "".join(map(chr, range(32, 127))).replace("&", "")
    for text in (plain, plain[::-1], *(f"a{c}b{c}" for c in plain)):
        assert ftfy.fix_text(text) == text
