"""Queries in sentences and with negatives beside them, as CLIP and SigLIP read them."""

from __future__ import annotations

import dataclasses
import string
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from gsam.text.cleaning import clean
from gsam.text.packed import RegionText
from gsam.text.processor import Axes, Encode
from gsam.text.templates import Template, allowed, fill, templates
from gsam.text.tokenizer import Tokenizer

END, BEGIN = 1, 2
"""SigLIP's end mark, of both versions, and SigLIP 2's begin mark, which it was trained without."""


class Marks(Protocol):
    @property
    def version(self) -> int: ...
    @property
    def pad(self) -> int: ...


@dataclasses.dataclass(frozen=True)
class Sentences:
    """Each query in one sentence or several, and negatives beside the queries.

    See `gsam.text.processor.TextProcessor`.
    """

    tokenizer: Tokenizer | None
    context: int
    """Number of tokens that the model reads."""
    template: Template = "{}"
    negatives: tuple[str, ...] = ()

    @property
    def axes(self) -> Axes:
        """Axes of each leaf of a batch's text that vary, see `gsam.export.programs`."""
        return ("b", "c"), ("b",), ("b",)

    @property
    def token_axes(self) -> tuple[str, ...]:
        """Axes of the tokens that vary."""
        return ("c",)

    def tokenize(self, texts: Sequence[str]) -> np.ndarray:
        """Token ids of each text in each of the K templates, [C, K, T]."""
        if self.tokenizer is None:
            raise ValueError("this classifier was loaded without a tokenizer, so it cannot read text")
        ids = self.token_ids(self.tokenizer, fill(self.template, texts))
        return ids.reshape(len(texts), len(templates(self.template)), self.context)

    def token_ids(self, tokenizer: Tokenizer, sentences: Sequence[str]) -> np.ndarray:
        """Token ids of sentences, cleaned as CLIP's were in training, [n, T]."""
        return tokenizer.encode([clean(s) for s in sentences], self.context)

    def pack_text(self, queries: Sequence[str], encode: Encode) -> RegionText[np.ndarray]:
        """Pack the unit vectors of the queries of one image and of the negatives."""
        both = encode([*queries, *self.negatives])
        return RegionText(both[: len(queries)], both[len(queries) :], allowed(self.negatives, queries))


@dataclasses.dataclass(frozen=True)
class SigLipText(Sentences):
    """Sentences of SigLIP's: texts are made plain first, and end in exactly one mark."""

    version: int = 1
    pad: int = 1

    def token_ids(self, tokenizer: Tokenizer, sentences: Sequence[str]) -> np.ndarray:
        """Token ids of sentences, [n, T]."""
        plain = [canonical(s, self.version) for s in sentences]
        return finished(tokenizer.encode(plain, self.context, pad=self.pad), self)


def canonical(text: str, version: int) -> str:
    """Write a text as in training: in lower case, and for SigLIP without punctuation."""
    text = text.lower()
    if version == 1:
        text = text.translate(str.maketrans("", "", string.punctuation))
    return " ".join(text.split())


def finished(ids: np.ndarray, marks: Marks) -> np.ndarray:
    """End token ids [n, T] in exactly one end mark, which a text that is cut keeps, and pad them.

    Whether a ``tokenizer.json`` adds the marks depends on who wrote it.
    """
    out = np.full_like(ids, marks.pad)
    for row, found in zip(out, ids, strict=True):
        words = found[~np.isin(found, (END,) if marks.version == 1 else (0, END, BEGIN))][: len(row) - 1]
        row[: len(words)] = words
        row[len(words)] = END
    return out
