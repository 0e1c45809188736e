"""The texts that a step learns from: every query in some wording, and negatives, which nothing
answers to."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gsam.nano import names

Encode = Callable[[Sequence[str]], NDArray[np.int32]]
"""Texts -> token ids [C, context]."""


@dataclasses.dataclass(frozen=True, eq=False)
class TextPrompts:
    """Token ids of the vocabulary's queries, and of queries that answer to nothing."""

    queries: NDArray[np.int32]
    """[W, C, T]: each of the C queries in each of the W `names.PROMPTS`; the first is the bare
    name."""
    negatives: NDArray[np.int32]
    """[K, T]: words the scenes do not know, and colours that a thing never has."""

    def sample(self, rng: np.random.Generator, negatives: int) -> NDArray[np.int32]:
        """[C + negatives, T]: every query in some wording (half of the time the bare name), then
        negatives.
        """
        wordings, count = self.queries.shape[:2]
        pick = np.where(rng.random(count) < 0.5, 0, rng.integers(0, wordings, count))
        known = self.queries[pick, np.arange(count)]
        return np.concatenate([known, self.negatives[rng.integers(0, len(self.negatives), negatives)]])


def read(tokenizer: Path, context: int) -> TextPrompts:
    """The prompts of `names`, in the ids of a ``tokenizer.json``."""
    encode = encoder(tokenizer, context)
    queries = np.stack([encode([w.format(q) for q in names.QUERIES]) for w in names.PROMPTS])
    return TextPrompts(queries, encode(_negatives()))


def encoder(tokenizer: Path, context: int) -> Encode:
    """A function from texts to ids [C, context], int32, padded with 0; longer texts keep their end
    mark.
    """
    from tokenizers import Tokenizer

    reader = Tokenizer.from_file(str(tokenizer))

    def encode(texts: Sequence[str]) -> NDArray[np.int32]:
        ids = np.zeros((len(texts), context), np.int32)
        for row, text in zip(ids, texts, strict=True):
            found = reader.encode(text).ids
            found = found if len(found) <= context else [*found[: context - 1], found[-1]]
            row[: len(found)] = found
        return ids

    return encode


def _negatives() -> list[str]:
    nouns = [g for g in names.GENERICS if g not in names.LEAVES]
    colours = sorted({q.split()[0] for q in names.LEAVES if q.split()[-1] in nouns})
    never = [f"{c} {n}" for c in colours for n in nouns if f"{c} {n}" not in names.QUERIES]
    return [*never, "zyxg", "qwv", "photo", "a photo", "thing zz", "xylo"]
