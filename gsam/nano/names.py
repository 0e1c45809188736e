"""The vocabulary of nano: everyday names, the pictograms that show them, and which words answer for
which.

A leaf is one kind of thing that is drawn; a query is a word one may ask for.  A leaf whose name has
a colour or a kind in front ("red apple", "palm tree") also answers the plain noun, so "apple" finds
both apples.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

GLYPHS: dict[str, str] = {
    "dog": "🐕🐶🐩", "cat": "🐈🐱", "car": "🚗🚙", "bus": "🚌🚍", "truck": "🚚🚛", "train": "🚆🚂", "bicycle": "🚲",
    "airplane": "✈🛩", "boat": "⛵🚤", "red apple": "🍎", "green apple": "🍏", "banana": "🍌", "pizza": "🍕", "lemon": "🍋",
    "grapes": "🍇", "strawberry": "🍓", "watermelon": "🍉", "carrot": "🥕", "hamburger": "🍔",
    "cake": "🎂🍰", "key": "🔑🗝", "umbrella": "☂☔", "tree": "🌳🌲", "palm tree": "🌴", "flower": "🌻🌸🌹",
    "cactus": "🌵", "fish": "🐟🐠", "bird": "🐦🦜", "duck": "🦆", "penguin": "🐧", "horse": "🐎🐴", "elephant": "🐘",
    "cow": "🐄🐮", "pig": "🐖🐷", "sheep": "🐑", "rabbit": "🐇🐰", "bear": "🐻", "frog": "🐸", "turtle": "🐢",
    "butterfly": "🦋", "bee": "🐝", "clock": "⏰🕰", "guitar": "🎸", "hammer": "🔨", "scissors": "✂", "chair": "🪑",
    "camera": "📷📸", "bell": "🔔", "phone": "📱", "laptop": "💻", "cup": "☕", "football": "⚽", "basketball": "🏀",
    "shoe": "👟👞", "hat": "🎩👒", "house": "🏠", "star": "⭐", "balloon": "🎈", "rocket": "🚀",
    "red book": "📕", "green book": "📗", "blue book": "📘", "orange book": "📙",
    "red heart": "❤", "orange heart": "🧡", "yellow heart": "💛", "green heart": "💚", "blue heart": "💙",
    "purple heart": "💜", "black heart": "🖤",
    "red circle": "🔴", "orange circle": "🟠", "yellow circle": "🟡", "green circle": "🟢", "blue circle": "🔵",
    "purple circle": "🟣",
    "red square": "🟥", "orange square": "🟧", "yellow square": "🟨", "green square": "🟩", "blue square": "🟦",
    "purple square": "🟪",
}  # fmt: skip
"""Leaf -> its glyphs.  The first is the one the name stands for, and is drawn at least half of the
time."""

LEAVES: tuple[str, ...] = tuple(GLYPHS)
GENERICS: tuple[str, ...] = tuple(sorted({leaf.split()[-1] for leaf in LEAVES if " " in leaf}))
QUERIES: tuple[str, ...] = LEAVES + tuple(g for g in GENERICS if g not in LEAVES)


def answers(leaf: str, query: str) -> bool:
    """Whether a thing drawn as ``leaf`` is right for ``query``."""
    return query == leaf or query == leaf.split()[-1]


ANSWERS: np.ndarray = np.array([[answers(leaf, q) for q in QUERIES] for leaf in LEAVES])
"""[leaf, query] bool."""

TIMES = 3.0
"""Factor by which names come more often than others that are to come often."""


def any_names(rng: np.random.Generator, count: int, often: Collection[str] = ()) -> list[str]:
    """Draw ``count`` leaves; those in ``often`` come `TIMES` as often as others.

    Raises ValueError if ``often`` has what is no leaf.
    """
    if not often:
        return [LEAVES[i] for i in rng.integers(0, len(LEAVES), count)]
    if unknown := sorted(set(often) - set(LEAVES)):
        raise ValueError(f"nano draws no {', '.join(unknown)}")
    weights = np.array([TIMES if leaf in often else 1.0 for leaf in LEAVES])
    return [LEAVES[i] for i in rng.choice(len(LEAVES), count, p=weights / weights.sum())]


PROMPTS: tuple[str, ...] = ("{}", "a {}", "the {}", "a photo of a {}", "{}s")
SPECIAL = ("[PAD]", "[BOS]", "[UNK]")
SMALL_WORDS = ("a", "an", "the", "photo", "picture", "of", "one", "background", "##s", "##es")
CONTEXT = 8


def words() -> list[str]:
    """The vocabulary by id; the end of a sentence has the highest, because the text towers are read
    there.
    """
    known = sorted({w for q in QUERIES for w in q.split()})
    return [*SPECIAL, *SMALL_WORDS, *known, "[EOS]"]


def write_tokenizer(path: Path) -> None:
    """``tokenizer.json`` of the `tokenizers` library: whole words, lower case, plurals as word +
    ``##s``.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    vocabulary = {w: i for i, w in enumerate(words())}
    model: Any = models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=40)
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase(), normalizers.Strip()])
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[BOS] $A [EOS]", special_tokens=[("[BOS]", 1), ("[EOS]", vocabulary["[EOS]"])]
    )
    path.write_text(json.dumps(json.loads(tokenizer.to_str()), indent=1, ensure_ascii=False) + "\n")
