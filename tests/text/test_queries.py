"""Text in: separators, labels, and the two tokenizers."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest

from gsam.errors import CheckpointError, QueryError
from gsam.nano.names import words, write_tokenizer
from gsam.text.queries import join_queries, parse_queries
from gsam.text.tokenizer import Tokenizer, load_tokenizer

TRICKY = [
    "It's 3 dogs!!",
    "UPPER Case",
    "two  spaces\tand tab",
    "naïve café",
    "개와 고양이",
    "🐶 and 🚌",
    "they'll we've I'm he'd don't you're",
    "a,b;c.d",
    "route 66b",
    "<|endoftext|>",
    "x_y-z/w",
    "don’t",
    "ﬁne",
    "a photo of a dog",
    "",
    " dog ",
    "İstanbul",
    "e\u0301te\u0301",
]


@pytest.mark.parametrize(
    "text", ["dog. yellow bus", "dog, yellow bus", "dog\nyellow bus.", " dog .,. yellow   bus\r\n"]
)
def test_separators(text: str) -> None:
    queries = parse_queries(text)
    assert queries.names == queries.prompts == queries.labels == ["dog", "yellow bus"]


def test_a_list_is_not_split_and_labels_are_verbatim() -> None:
    assert parse_queries(["dog, big", "Bus."]).labels == ["dog, big", "Bus."]
    assert parse_queries(["dog, big", "Bus."]).prompts == ["dog, big", "Bus"]
    assert parse_queries("2.5 inch disk, 1,000 coins").labels == ["2.5 inch disk", "1,000 coins"]
    found = parse_queries({"a dog": "Hund", "car": "Auto, rot", "tree": ""})
    assert (found.names, found.labels) == (["a dog", "car", "tree"], ["Hund", "Auto, rot", "tree"])


def test_what_differs_in_case_only_is_asked_once() -> None:
    found = parse_queries({"Dog": "first", "dOG": "second", "STRASSE": "a", "straße": "b"})
    assert found.prompts == ["Dog", "", "STRASSE", ""]
    assert found.categories == ["first", "a"]
    assert parse_queries("Dog. dog, DOG").names == ["Dog"]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("0,1,2,3", ["0", "1", "2", "3"]),
        ("100,120", ["100", "120"]),
        ("speed limit 30,50", ["speed limit 30", "50"]),
        ("number 7,number 9", ["number 7", "number 9"]),
        ("1,000,000 coins. 3.5 inch disk", ["1,000,000 coins", "3.5 inch disk"]),
        ("猫、犬。鳥，馬", ["猫", "犬", "鳥", "馬"]),
        ("قط، كلب", ["قط", "كلب"]),
        ('"St. Bernard", cat', ["St. Bernard", "cat"]),
        ('“dog, cat”. "10,5 inch"', ["dog, cat", "10,5 inch"]),
        ('3.5" disk, 2" nail', ['3.5" disk', '2" nail']),
        ("people; astronaut | rope", ["people; astronaut | rope"]),
    ],
)
def test_what_separates_and_what_does_not(text: str, names: list[str]) -> None:
    assert parse_queries(text).names == names


def test_numbers_are_places_in_the_list_that_was_given() -> None:
    classes = ["", "dog", "N/A", "Dog", "cat", "N/A", "--", "pizza"]
    found = parse_queries(classes)
    assert found.names == classes
    assert [classes[i] for i, prompt in enumerate(found.prompts) if prompt] == ["dog", "N/A", "cat", "pizza"]
    joined = join_queries([found, parse_queries(["", "cat", "bee"])])
    assert joined.names == [*classes, "bee"]
    assert joined.prompts[-1] == "bee"


def test_groups_are_the_queries_of_one_label() -> None:
    found = parse_queries({"apple": "fruit", "dog": "animal", "pear": "fruit", "": "background"})
    assert found.groups == [0, 1, 0, 3]
    assert found.categories == ["fruit", "animal", "background"]


def test_errors_are_value_errors_with_a_code() -> None:
    with pytest.raises(QueryError) as caught:
        parse_queries("...")
    assert caught.value.code == "query_empty"
    assert isinstance(caught.value, ValueError)


@pytest.fixture
def nano(tmp_path: Path) -> Tokenizer:
    write_tokenizer(tmp_path / "tokenizer.json")
    return load_tokenizer(tmp_path)


def test_nano_reads_plurals_and_ignores_case(nano: Tokenizer) -> None:
    known = words()
    ids = nano.encode(["dogs", "A DOG"], 8)
    assert (ids.dtype, ids.shape) == (np.int32, (2, 8))
    assert [known[i] for i in ids[0] if i] == ["[BOS]", "dog", "##s", "[EOS]"]
    assert [known[i] for i in ids[1] if i] == ["[BOS]", "a", "dog", "[EOS]"]
    assert ids[0].argmax() == 3, "the end has the highest id"


def test_nano_tells_of_an_unknown_word_once(nano: Tokenizer) -> None:
    with pytest.warns(UserWarning, match="'zeppelin'") as told:
        nano.encode(["a zeppelin", "zeppelin"], 8)
    assert len(told) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nano.encode(["the zeppelin", "dog"], 8)


def test_a_long_text_keeps_its_end(nano: Tokenizer) -> None:
    with pytest.warns(UserWarning, match="longer than 8 tokens"):
        ids = nano.encode(["dog " * 20], 8)
    known = words()
    assert [known[i] for i in ids[0]] == ["[BOS]", *["dog"] * 6, "[EOS]"]


def byte_letters() -> list[str]:
    """CLIP's (GPT-2's) printable letter for each byte."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in kept]
    table = {**{b: chr(b) for b in kept}, **{b: chr(256 + n) for n, b in enumerate(rest)}}
    return [table[b] for b in [*kept, *rest]]


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    merges = [
        "d o",
        "do g</w>",
        "do g",
        "dog s</w>",
        "t h",
        "th e",
        "a n",
        "an d</w>",
        "' s</w>",
        "i t</w>",
        "! !</w>",
        "p h",
        "ph o",
    ]
    letters = byte_letters()
    vocabulary = [*letters, *(c + "</w>" for c in letters), *("".join(m.split()) for m in merges)]
    vocabulary += ["<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({w: i for i, w in enumerate(vocabulary)}), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n", encoding="utf-8")
    return folder


def test_clip_reads_as_transformers_does(clip_folder: Path) -> None:
    transformers = pytest.importorskip("transformers")
    oracle = transformers.CLIPTokenizer.from_pretrained(str(clip_folder))
    ours = load_tokenizer(clip_folder)
    for text in TRICKY:
        expected = oracle(text)["input_ids"]
        found = ours.encode([text], 77)[0]
        assert found[: len(expected)].tolist() == expected, text
        assert not found[len(expected) :].any()


def test_clip_cuts_before_the_end_mark(clip_folder: Path) -> None:
    with pytest.warns(UserWarning, match="longer"):
        ids = load_tokenizer(clip_folder).encode(["dog " * 50], 16)[0]
    assert ids.argmax() == 15


def test_no_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError) as caught:
        load_tokenizer(tmp_path)
    assert caught.value.code == "tokenizer_missing"
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(CheckpointError) as caught:
        load_tokenizer(tmp_path)
    assert caught.value.code == "tokenizer_invalid"
